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
from ssltok.data._synthetic._kernel_synth import kernel_matrix, kernel_synth
from ssltok.data._synthetic._mixup import mixup_series
from ssltok.data._synthetic._processes import (
    arma_series,
    colored_series,
    shot_series,
    switching_series,
)
from ssltok.data._synthetic._shapes import motion_series, outline_series
from ssltok.data._synthetic._waves import chirp_series, harmonic_series, pulse_series
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
    "arma_series",
    "chirp_series",
    "colored_series",
    "elapsed_times",
    "forecast_times",
    "further_times",
    "harmonic_series",
    "is_source",
    "kernel_matrix",
    "kernel_synth",
    "label_index",
    "load_dataset",
    "load_source",
    "mixup_series",
    "motion_series",
    "outline_series",
    "pulse_series",
    "quantile_columns",
    "read_series",
    "read_source",
    "read_times",
    "resample",
    "resample_dataset",
    "shot_series",
    "split_blocks",
    "split_groups",
    "split_stratified",
    "split_time",
    "stitch",
    "switching_series",
    "take_rows",
    "train_and_test",
    "wants_source",
    "windowed",
    "windows",
    "write_draws",
    "write_table",
]
