"""Whatever holds series becomes one checked `SeriesSet`, or an error before any work."""

from ssltok.data._labels import label_index
from ssltok.data._large._files import load_source, wants_source
from ssltok.data._large._source import ArraySource, SeriesSource, SubsetSource, WindowSource
from ssltok.data._large._source_set import SourceSet, is_source, read_source, take_rows
from ssltok.data._large._tables import TableSource
from ssltok.data._loaders import Dataset, load_dataset
from ssltok.data._long._draws import Columns, forecast_times, quantile_columns, write_draws
from ssltok.data._long._parts import TrainAndTest, resample_dataset, train_and_test, windowed
from ssltok.data._long._splits import (
    Split,
    split_blocks,
    split_groups,
    split_stratified,
    split_time,
)
from ssltok.data._long._times import (
    Resampled,
    Timeline,
    elapsed_times,
    further_times,
    read_times,
    resample,
)
from ssltok.data._long._windows import Windows, stitch, windows
from ssltok.data._reading import Reading
from ssltok.data._series_set import SeriesSet, read_series
from ssltok.data._write import write_table

__all__ = [
    "ArraySource",
    "Columns",
    "Dataset",
    "Reading",
    "Resampled",
    "SeriesSet",
    "SeriesSource",
    "SourceSet",
    "Split",
    "SubsetSource",
    "TableSource",
    "Timeline",
    "TrainAndTest",
    "WindowSource",
    "Windows",
    "elapsed_times",
    "forecast_times",
    "further_times",
    "is_source",
    "label_index",
    "load_dataset",
    "load_source",
    "quantile_columns",
    "read_series",
    "read_source",
    "read_times",
    "resample",
    "resample_dataset",
    "split_blocks",
    "split_groups",
    "split_stratified",
    "split_time",
    "stitch",
    "take_rows",
    "train_and_test",
    "wants_source",
    "windowed",
    "windows",
    "write_draws",
    "write_table",
]
