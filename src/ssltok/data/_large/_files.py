"""A file as a source: its rows stay there until they are needed."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ssltok.data._large._source import ArraySource, SeriesSource, bytes_of
from ssltok.data._large._source_set import read_source
from ssltok.data._large._tables import ENDINGS, TableSource
from ssltok.data._loaders import Dataset
from ssltok.data._reading import Reading, choices, option
from ssltok.data._tables import LABELS

__all__ = ["LARGE", "load_source", "wants_source"]

LARGE = 2**30
"""Bytes of a file beyond which the command reads it row by row by itself."""
KNOWN = {".npy": ("layout",), **dict.fromkeys(ENDINGS, ("layout", "label", "drop"))}


def wants_source(path: str | os.PathLike[str], *, reading: Reading | None = None) -> bool:
    """Whether a file is so large that `load_source` should read it, and whether that can.

    Args:
        path: A file, or the name of a data set.
        reading: What the file does not say.

    Returns:
        True for a `.npy` file of more than 1 GiB, and for a parquet or Arrow file of such size
        whose rows are said to be series.

    Example:
        >>> from ssltok.data import wants_source
        >>> wants_source("no/such/file.npy")
        False
    """
    file, form = pathlib.Path(path), Reading() if reading is None else reading
    if file.suffix not in KNOWN or not file.is_file() or file.stat().st_size <= LARGE:
        return False
    if set(form.changed()) - set(KNOWN[file.suffix]):
        return False
    return file.suffix == ".npy" or form.layout == "series_in_rows"


def load_source(path: str | os.PathLike[str], *, reading: Reading | None = None) -> Dataset:
    """Open a file whose series stay in it: the training part of the data set is a source.

    Args:
        path: A `.npy` file, `(cases, length)`, `(cases, channels, length)` or with a layout
            another; a parquet or Arrow (Feather) file, or a folder of them, in which a row is a
            series: lists of numbers, a column a channel, or numbers, a column a sample.
        reading: `layout`; for tables also `label` and `drop`. `time_in_rows` makes a `.npy` file
            one long series, `(length, channels)`, for `windowed` and `train_and_test` to cut.

    Returns:
        The data set. Nothing was read of an array but a few rows, of a table but its labels.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If it is no such file, an option is none of these, or a row can be several
            things.
        ImportError: Without pyarrow, where it is needed.

    Example:
        >>> import os
        >>> import numpy as np
        >>> from ssltok.data import load_source
        >>> np.save("doc.npy", np.random.default_rng(0).normal(size=(40, 2, 16)))
        >>> load_source("doc.npy").about
        '40 series of 16 samples x 2 channels, no label; 0.000 GiB, read from the file when needed'
        >>> os.remove("doc.npy")
    """
    file, form = pathlib.Path(path), Reading() if reading is None else reading
    if not os.path.lexists(file):
        raise FileNotFoundError(f"load_source: the file must exist; got {str(path)!r}")
    ending = ".parquet" if file.is_dir() else file.suffix
    if ending not in KNOWN:
        raise ValueError(f"load_source: a file must end in {', '.join(KNOWN)}; got {str(path)!r}")
    wrong = [name for name in form.changed() if name not in KNOWN[ending]]
    if wrong:
        raise ValueError(
            f"load_source: {wrong[0]} must be left out where rows stay in the file; "
            f"got {getattr(form, wrong[0])!r}"
        )
    labels: Any = None
    channels: tuple[str, ...] = ()
    if ending == ".npy":
        source = _array(file, form)
    else:
        source, labels, channels = _table(file, form)
    classes = "no label" if labels is None else f"{len(set(labels) - {None})} classes"
    plural = "s" * (source.channels > 1)
    about = (
        f"{len(source)} series of {source.length} samples x {source.channels} channel{plural}, "
        f"{classes}; {bytes_of(source) / 2**30:.3f} GiB, read from the file when needed"
    )
    return Dataset(file.stem, source, labels, None, None, channels, about=about,
                   layout="channels_first")  # fmt: skip


def _array(file: pathlib.Path, form: Reading) -> SeriesSource:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        message = " ".join(str(error).split())[:300]
        raise ValueError(f"load_source: {str(file)!r} must be readable; got {message}") from error
    if form.layout is None:
        return read_source(array, who="load_source").source
    fits: dict[str, tuple[tuple[int, ...], Callable[[], SeriesSource]]] = {
        "series_in_rows": ((2, 3), lambda: ArraySource(array)),
        "time_in_rows": ((1, 2), lambda: ArraySource(array.T[None])),
        "channels_first": ((3,), lambda: ArraySource(array)),
        "channels_last": ((3,), lambda: ArraySource(array, layout="channels_last")),
    }
    axes, source = fits.get(form.layout, ((), lambda: ArraySource(array)))
    if array.ndim not in axes:
        raise ValueError(
            f"load_source: {str(file)!r}: an array of {array.shape} has no "
            f"{option('layout', form.layout)}"
        )
    return source()


def _table(file: pathlib.Path, form: Reading) -> tuple[SeriesSource, Any, tuple[str, ...]]:
    if form.layout not in (None, "series_in_rows"):
        raise ValueError(
            f"load_source: a row of {str(file)!r} must be a series where rows stay in the file; "
            f"got {option('layout', form.layout)}: write a long series as .npy"
        )
    whole = TableSource(file)
    label = form.label
    if label is None:
        named = [name for name in whole.names if name.lower() in LABELS]
        if len(named) > 1:
            raise ValueError(
                f"load_source: {str(file)!r}: one column must hold the labels; got {named}: "
                f"{choices(('label', named[0]))}"
            )
        label = named[0] if named else ""
    for name in (*form.drop, *filter(None, [label])):
        if name not in whole.names:
            raise ValueError(
                f"load_source: columns must be of {', '.join(whole.names)}; got {name!r}"
            )
    left = [name for name in whole.columns if name not in (*form.drop, label)]
    source = TableSource(file, columns=left)
    if not source.lists and form.layout is None:
        raise ValueError(
            f"load_source: a row of {str(file)!r} can be a series or a time: "
            f"{choices(('layout', 'series_in_rows'))} if a series"
        )
    labels = whole.column(label) if label else None
    return source, labels, source.columns if source.lists else ()
