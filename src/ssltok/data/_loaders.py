"""Data sets by name (sktime ships or fetches them) or from a file that somebody has."""

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ssltok.data._assemble import Part, assemble
from ssltok.data._formats import named_parts, read_arff, read_arrays, read_npy, read_ts, read_tsf
from ssltok.data._frames import is_frame, pandas_frame
from ssltok.data._layout import roles_of
from ssltok.data._lines import BLANK, OPENERS
from ssltok.data._reading import Reading, Refusal
from ssltok.data._tables import BINARY, TEXTS, MissingLibraryError, Table, frame_table, read_table

__all__ = ["Dataset", "load_dataset"]

Read = TypeVar("Read")
ARRAYS = (".npz", ".npy", ".mat")
FIELD = (".ts", ".arff", ".tsf")
ENDINGS = (*ARRAYS, *TEXTS, *BINARY, *FIELD)
ALLOWED = {
    **dict.fromkeys(ARRAYS, ("layout", "value", "label")),
    **dict.fromkeys(FIELD, ("layout", "label")),
}
"""The options of files that are no tables; tables take all."""
UCR = Reading(layout="series_in_rows", label="0", header=False, separator="\t")


class Dataset(NamedTuple):
    """Series and labels as they were found; the test part is None where there is none.

    Attributes:
        name: Of the file, folder or set.
        train: The training series, or all where the source has no test part: an array, or a list
            where lengths differ.
        train_labels: A label for each, None where there are none.
        test: The test series.
        test_labels: A label for each.
        channels: Names of the channels, empty where the source has none.
        times: The time of every sample of one long series (numpy datetime64, a pandas index where
            there is a time zone, or numbers), a list of such with those of each where there are
            several, None without any.
        about: What was read, in one line.
        groups: What a split keeps together, such as the subject of each training series; None where
            each stands alone.
        reading: Reads the file again in the same way, and writes what comes out in the same form;
            None where it was no table.
        ids: Names of the training series, None where they have none.
        layout: `"channels_first"` where the caller has said how an array lies, so that nobody
            doubts it.
    """

    name: str
    train: Any
    train_labels: Sequence[Hashable] | None
    test: Any
    test_labels: Sequence[Hashable] | None
    channels: tuple[str, ...] = ()
    times: Any = None
    about: str = ""
    groups: Sequence[Hashable] | None = None
    reading: Reading | None = None
    ids: Sequence[Hashable] | None = None
    layout: str | None = None


def load_dataset(
    source: str | os.PathLike[str] | Any, *, reading: Reading | None = None
) -> Dataset:
    """Load a data set; where a file can be read in two ways, refuse it and name the options.

    Args:
        source: A name that sktime knows (`GunPoint`, which it ships, or any UCR/UEA name, which
            it fetches), a data frame, or the path of a file. Where a file's name ends in
            `_TRAIN`, its twin `_TEST` is read too.

            - Tables: `.csv`, `.tsv`, `.txt` (also `.gz`, `.bz2`, `.xz`), `.parquet`, `.feather`,
              `.xlsx`. A row is a series, a time, or one value (`Reading.layout`). The layout is
              found where a column is a time by its name or dates, or a label stands beside
              numbered columns (`t0, t1, ...`); every other table needs it.
            - Arrays: `.npz` with `X_train, y_train, X_test, y_test` or `X, y`, `.npy`, and `.mat`,
              `(cases, length)` or `(cases, channels, length)`; no pickled objects. With
              `layout="channels_last"` `(cases, length, channels)`, with `"time_in_rows"` one long
              series, `(length, channels)` or `(length,)`.
            - `.ts`, `.arff`, `.tsf`, and the UCR archive's `_TRAIN.tsv`.
        reading: What the file itself does not say.

    Returns:
        The data set. A table whose rows are times is `(1, channels, length)`: one long series,
        which `windowed` or `train_and_test` cut into windows.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the file cannot be read or can be read in two ways, or no data set has that
            name.
        ImportError: If an optional library is needed and not installed.

    Example:
        >>> from ssltok.data import load_dataset
        >>> load_dataset("GunPoint").train.shape
        (50, 1, 150)
    """
    options = Reading() if reading is None else reading
    if is_frame(source):
        table = _wall("a data frame", lambda: frame_table(pandas_frame(source)))
        whole, known = _wall("a data frame", lambda: _table_part(table, options))
        return _dataset("frame", [whole], known)
    path = pathlib.Path(source)
    ending = _ending(path)
    if not ending and not path.suffix and len(path.parts) == 1:
        _check_options(options, ".ts", "a set by name")
        return _dataset(path.name, named_parts(path.name, options), None)
    if not ending:
        raise ValueError(
            f"load_dataset: a file must end in {', '.join(ENDINGS)}; got {str(source)!r}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"load_dataset: the file must exist; got {str(source)!r}")
    _check_options(options, ending, f"a {ending} file")
    name = path.name[: len(path.name) - len("".join(path.suffixes[-1 - _packed(path) :]))]
    twin = path.with_name(path.name.replace("_TRAIN", "_TEST"))
    archive = ending == ".tsv" and _of_the_archive(path, options)
    if archive:
        asked = {option: getattr(options, option) for option in options.changed()}
        options = dataclasses.replace(UCR, **asked)
    parts, form = _wall(str(path), lambda: _read(path, ending, options))
    layout = "channels_first" if ending in ARRAYS and options.layout is not None else None
    if twin != path and twin.is_file() and len(parts) == 1:
        again, _ = _wall(str(twin), lambda: _read(twin, ending, form or options))
        parts = [parts[0], again[0]]
    if archive:
        parts = [part._replace(labels=_whole(part.labels)) for part in parts]
    return _dataset(name, parts, form)._replace(layout=layout)


def _check_options(reading: Reading, ending: str, what: str) -> None:
    allowed = ALLOWED.get(ending)
    wrong = [] if allowed is None else [n for n in reading.changed() if n not in allowed]
    if ending in FIELD:
        wrong += ["label"] * bool(reading.label)
        wrong += ["layout"] * (reading.layout not in (None, "series_in_rows"))
    if wrong:
        raise ValueError(
            f"load_dataset: {wrong[0]} must be left out for {what}, which is no table; "
            f"got {getattr(reading, wrong[0])!r}"
        )


def _of_the_archive(path: pathlib.Path, reading: Reading) -> bool:
    """Whether a `.tsv` is of the UCR archive: by its name, unless the caller says more."""
    known = "_TRAIN" in path.stem or "_TEST" in path.stem
    return known and not set(reading.changed()) - {"missing"}


def _packed(path: pathlib.Path) -> bool:
    return path.suffix.lower() in OPENERS


def _ending(path: pathlib.Path) -> str:
    """The kind of file, by its name; empty where there is none."""
    packed = _packed(path)
    ending = pathlib.Path(path.stem).suffix.lower() if packed else path.suffix.lower()
    return ending if ending in (TEXTS if packed else ENDINGS) else ""


def _read(path: pathlib.Path, ending: str, reading: Reading) -> tuple[list[Part], Reading | None]:
    if ending in (".npz", ".mat"):
        return read_arrays(path, reading), None
    if ending in (".npy", *FIELD):
        reader = {".npy": read_npy, ".ts": read_ts, ".arff": read_arff, ".tsf": read_tsf}[ending]
        return [reader(path, reading)], None
    part, form = _table_part(read_table(path, reading), reading)
    return [part], form


def _table_part(table: Table, reading: Reading) -> tuple[Part, Reading]:
    """A table's series, and the reading that says all that was found."""
    roles = roles_of(table, reading)
    columns = {role: getattr(roles, role) for role in ("time", "id", "channel", "label", "group")}
    named: dict[str, Any] = {
        role: "" if place is None else table.name(place) for role, place in columns.items()
    }
    form = dataclasses.replace(
        reading,
        layout=roles.layout,
        header=table.names is not None,
        value=table.name(roles.values[0]) if roles.layout == "long" else None,
        **named,
    )
    if table.form is not None:
        separator = " " if table.form.separator == BLANK else table.form.separator
        form = dataclasses.replace(form, separator=separator, encoding=table.form.encoding)
    part = assemble(table, roles, reading)
    return part, dataclasses.replace(form, time_format=part.time_format)


def _whole(labels: list[Any] | None) -> list[Any] | None:
    """Numbers of classes as such, as the UCR archive numbers them."""
    try:
        return None if labels is None else [None if y is None else int(y) for y in labels]
    except ValueError:
        return labels


def _dataset(name: str, parts: list[Part], form: Reading | None) -> Dataset:
    train = parts[0]
    test = parts[1] if len(parts) > 1 else Part(None, None)
    labels = [None if p.labels is None or all(y is None for y in p.labels) else p.labels
              for p in (train, test)]  # fmt: skip
    about = train.about
    if train.channels == () or test.series is not None:
        about = f"{_said(train)}{train.about}"
        about += "" if test.series is None else f"; for testing {_said(test)}{test.about}"
    return Dataset(
        name, train.series, labels[0], test.series, labels[1], train.channels, train.times,
        about, train.groups, form, train.ids,
    )  # fmt: skip


def _said(part: Part) -> str:
    """Series in words: how many, how long, of which classes."""
    if isinstance(part.series, np.ndarray) and part.series.ndim not in (2, 3):
        return f"an array of shape {part.series.shape}"
    first = np.asarray(part.series[0])
    channels = 1 if first.ndim == 1 else first.shape[0]
    sizes = {np.shape(one)[-1] for one in part.series}
    length = str(min(sizes)) if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"
    classes = None if part.labels is None else len(set(part.labels) - {None})
    return (
        f"{len(part.series)} series of {length} samples x {channels} "
        f"channel{'s' * (channels > 1)}, "
        + ("no label" if classes is None else f"{classes} class{'es' * (classes != 1)}")
    )


def _wall(what: str, read: Callable[[], Read]) -> Read:
    """Whatever a reader raises becomes one line with the file, the place and the rule."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except MissingLibraryError:
        raise
    except Refusal as error:
        message = " ".join(str(error).splitlines())  # a cell may hold several lines
        raise ValueError(f"load_dataset: {what!r}: {message}") from error
    except Exception as error:  # a foreign reader may raise anything
        message = " ".join(str(error).split())[:300]
        raise ValueError(
            f"load_dataset: {what!r} must be readable; got {type(error).__name__}: {message}"
        ) from error
