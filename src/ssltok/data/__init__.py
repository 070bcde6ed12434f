"""Whatever holds series becomes one checked `SeriesSet`, or an error before any work."""

from ssltok.data._labels import label_index
from ssltok.data._loaders import Dataset, load_dataset
from ssltok.data._reading import Reading
from ssltok.data._series_set import SeriesSet, read_series
from ssltok.data._split import train_and_test
from ssltok.data._write import write_table

__all__ = [
    "Dataset",
    "Reading",
    "SeriesSet",
    "label_index",
    "load_dataset",
    "read_series",
    "train_and_test",
    "write_table",
]
