"""Data sets by name (sktime ships or fetches them) or from a file that somebody has."""

import csv
import difflib
import pathlib
import zipfile
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Dataset", "load_dataset"]

LABEL_COLUMNS = ("label", "class", "target", "y")


class Dataset(NamedTuple):
    """Series and labels as they were found; the test part is None where there is none.

    `channels` are their names, empty where the source has none; `times` is the time of every sample
    of one long series (numpy datetime64 or numbers), None where there is none; `about` says in one
    line what was read, empty where a name says it all.
    """

    name: str
    train: Any
    train_labels: Sequence[Hashable] | None
    test: Any
    test_labels: Sequence[Hashable] | None
    channels: tuple[str, ...] = ()
    times: Any = None
    about: str = ""


def load_dataset(source: str) -> Dataset:
    """Load a data set.

    Args:
        source: A name that sktime knows (`GunPoint`, which it ships, or any UCR/UEA name, which
            it fetches), or the path of a file:

            - `.npz` with `X_train, y_train, X_test, y_test` or `X, y` (no pickled objects);
            - `.npy` with `(cases, length)` or `(cases, channels, length)`;
            - `.csv` with a series in each row, empty cells for missing values, an optional
              header, and an optional column `label`;
            - `.ts`, `.arff` or UCR `.tsv`. Where the file's name ends in `_TRAIN`, its twin
              `_TEST` is read too.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the file cannot be read, or no data set has that name.
        ImportError: If sktime is needed and not installed.

    Example:
        >>> from ssltok.data import load_dataset
        >>> load_dataset("GunPoint").train.shape
        (50, 1, 150)
    """
    path = pathlib.Path(source)
    reader = _READERS.get(path.suffix.lower())
    if reader is None and (path.suffix or len(path.parts) > 1):
        raise ValueError(f"load_dataset: a file must end in {', '.join(_READERS)}; got {source!r}")
    if reader is None:
        return _named(source)
    if not path.is_file():
        raise FileNotFoundError(f"load_dataset: the file must exist; got {source!r}")
    twin = path.with_name(path.name.replace("_TRAIN", "_TEST"))
    try:
        if path.suffix.lower() == ".npz":
            return _read_npz(path)
        train, train_labels = reader(path)
        test, test_labels = reader(twin) if twin != path and twin.is_file() else (None, None)
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"load_dataset: {source!r} must be readable; got {error}") from error
    return Dataset(path.stem, train, train_labels, test, test_labels)


def _sktime() -> Any:
    try:
        import sktime.datasets
    except ImportError as error:
        raise ImportError(
            "load_dataset: needs sktime; install it with: pip install 'ssltok[data]'"
        ) from error
    return sktime.datasets


def _named(name: str) -> Dataset:
    library = _sktime()
    parts = []
    for split in ("train", "test"):
        try:
            X, y = library.load_UCR_UEA_dataset(name, split=split, return_X_y=True)
        except Exception as error:  # whatever the library or its network raises
            near = difflib.get_close_matches(name, ["GunPoint", "ItalyPowerDemand", "OSULeaf",
                "ArrowHead", "ACSF1", "BasicMotions", "JapaneseVowels"], n=1)  # fmt: skip
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"load_dataset: {name!r} must be a file or a data set that sktime ships or can "
                f"fetch; got {type(error).__name__}: {str(error).splitlines()[0]}{hint}"
            ) from error
        parts += [_from_frame(X), list(y)]
    return Dataset(name, *parts)


def _from_frame(frame: Any) -> Any:
    """Nested data frame to `(cases, channels, length)`, or to a list where lengths differ."""
    cases = [
        np.stack(_padded([np.asarray(cell, dtype=np.float64) for cell in row]))
        for row in frame.itertuples(index=False)
    ]
    return np.stack(cases) if len({case.shape for case in cases}) == 1 else cases


def _padded(channels: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    longest = max(len(channel) for channel in channels)
    return [np.pad(c, (0, longest - len(c)), constant_values=np.nan) for c in channels]


def _read_npz(path: pathlib.Path) -> Dataset:
    # numpy leaves a file open that is no archive; this one closes it.
    with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
        names = set(file.files)
        if "X_train" in names:
            found = [file.get(key) for key in ("X_train", "y_train", "X_test", "y_test")]
        elif "X" in names:
            found = [file["X"], file.get("y"), None, None]
        else:
            raise ValueError(f"load_dataset: {path} must hold X_train or X; got {sorted(names)}")
    labels = [None if y is None else y.tolist() for y in (found[1], found[3])]
    return Dataset(path.stem, found[0], labels[0], found[2], labels[1])


def _read_npy(path: pathlib.Path) -> tuple[Any, None]:
    return np.load(path, allow_pickle=False), None


def _read_csv(path: pathlib.Path) -> tuple[Any, list[str] | None]:
    with open(path, newline="", encoding="utf-8-sig") as stream:
        rows = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
    if not rows:
        raise ValueError("an empty file")
    header = [cell.strip().lower() for cell in rows[0]]
    column = next((header.index(name) for name in LABEL_COLUMNS if name in header), None)
    first = 0
    if any(not _is_number(cell) for cell in rows[0]):
        rows, first = rows[1:], 1
    labels = None if column is None else [row[column].strip() for row in rows]
    series = []
    for number, row in enumerate(rows):
        cells = [cell for place, cell in enumerate(row) if place != column]
        bad = next((cell for cell in cells if not _is_number(cell)), None)
        if bad is not None:
            raise ValueError(f"{bad!r} in line {number + first + 1}, which is no number")
        series.append(np.array([float(c) if c.strip() else np.nan for c in cells]))
    return series, labels


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return not cell.strip()
    return True


def _read_ts(path: pathlib.Path) -> tuple[Any, list[str] | None]:
    frame, labels = _sktime().load_from_tsfile(str(path))
    return _from_frame(frame), list(labels)


def _read_arff(path: pathlib.Path) -> tuple[Any, list[str] | None]:
    frame, labels = _sktime().load_from_arff_to_dataframe(str(path))
    return _from_frame(frame), list(labels)


def _read_tsv(path: pathlib.Path) -> tuple[Any, list[str] | None]:
    frame, labels = _sktime().load_from_ucr_tsv_to_dataframe(str(path))
    return _from_frame(frame), list(labels)


_READERS: dict[str, Callable[[pathlib.Path], tuple[Any, list[str] | None]]] = {
    ".npz": _read_npy,  # read by _read_npz: it may hold both parts
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".ts": _read_ts,
    ".tsv": _read_tsv,
    ".arff": _read_arff,
}
