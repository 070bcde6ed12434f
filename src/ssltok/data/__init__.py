"""Whatever holds series becomes one checked `SeriesSet`, or an error before any work."""

from ssltok.data._labels import label_index
from ssltok.data._large._source import ArraySource, SeriesSource, WindowSource
from ssltok.data._large._source_set import SourceSet, is_source, read_source, take_rows
from ssltok.data._large._tables import TableSource
from ssltok.data._loaders import Dataset, load_dataset
from ssltok.data._reading import Reading
from ssltok.data._series_set import SeriesSet, read_series
from ssltok.data._split import train_and_test
from ssltok.data._write import write_table

__all__ = [
    "ArraySource",
    "Dataset",
    "Reading",
    "SeriesSet",
    "SeriesSource",
    "SourceSet",
    "TableSource",
    "WindowSource",
    "is_source",
    "label_index",
    "load_dataset",
    "read_series",
    "read_source",
    "take_rows",
    "train_and_test",
    "write_table",
]
