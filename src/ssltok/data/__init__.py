"""Whatever holds series becomes one checked `SeriesSet`, or an error before any work."""

from ssltok.data._loaders import Dataset, load_dataset
from ssltok.data._series_set import SeriesSet, label_index, read_series
from ssltok.data._split import train_and_test
from ssltok.data._windows import Windows, stitch, windows

__all__ = [
    "Dataset",
    "SeriesSet",
    "Windows",
    "label_index",
    "load_dataset",
    "read_series",
    "stitch",
    "train_and_test",
    "windows",
]
