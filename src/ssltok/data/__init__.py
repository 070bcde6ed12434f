"""Whatever holds series becomes one checked `SeriesSet`, or an error before any work."""

from ssltok.data._loaders import Dataset, load_dataset
from ssltok.data._parts import TrainAndTest, train_and_test, windowed
from ssltok.data._series_set import SeriesSet, label_index, read_series
from ssltok.data._splits import Split, split_blocks, split_groups, split_stratified, split_time
from ssltok.data._times import Resampled, Timeline, further_times, read_times, resample
from ssltok.data._windows import Windows, stitch, windows

__all__ = [
    "Dataset",
    "Resampled",
    "SeriesSet",
    "Split",
    "Timeline",
    "TrainAndTest",
    "Windows",
    "further_times",
    "label_index",
    "load_dataset",
    "read_series",
    "read_times",
    "resample",
    "split_blocks",
    "split_groups",
    "split_stratified",
    "split_time",
    "stitch",
    "train_and_test",
    "windowed",
    "windows",
]
