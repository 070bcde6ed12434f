"""Whatever holds series becomes one checked `SeriesSet`, or an error before any work."""

from ssltok.data._dated import Columns, quantile_columns, resample_dataset, write_dated
from ssltok.data._loaders import Dataset, load_dataset
from ssltok.data._parts import TrainAndTest, train_and_test, windowed
from ssltok.data._series_set import SeriesSet, label_index, read_series
from ssltok.data._splits import Split, split_blocks, split_groups, split_stratified, split_time
from ssltok.data._times import (
    Resampled,
    Timeline,
    elapsed_times,
    further_times,
    read_times,
    resample,
)
from ssltok.data._windows import Windows, stitch, windows

__all__ = [
    "Columns",
    "Dataset",
    "Resampled",
    "SeriesSet",
    "Split",
    "Timeline",
    "TrainAndTest",
    "Windows",
    "elapsed_times",
    "further_times",
    "label_index",
    "load_dataset",
    "quantile_columns",
    "read_series",
    "read_times",
    "resample",
    "resample_dataset",
    "split_blocks",
    "split_groups",
    "split_stratified",
    "split_time",
    "stitch",
    "train_and_test",
    "windowed",
    "windows",
    "write_dated",
]
