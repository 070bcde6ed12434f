"""Generated series in a file: `.npz` with X, y and codes, labels with their types, no pickles."""

import json
import pathlib
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ssltok._shared.outputs import new_file
from ssltok.data import Reading, load_dataset

__all__ = ["Samples", "load_samples", "plain_label", "save_samples"]

PLAIN = (str, int, float, bool, type(None))
OLD = {"series": "X", "labels": "y"}  # names that `ssltok run` wrote in 0.1


class Samples(NamedTuple):
    """Generated series, as a file holds them.

    Attributes:
        series: `(cases, channels, length)`, or what else `load_dataset` finds in the file.
        labels: A label for each; None where the file has none.
        codes: `(cases, tokens)`; None where the file has none.
    """

    series: Any
    labels: list[Hashable] | None
    codes: Any


def save_samples(
    path: pathlib.Path | str,
    series: ArrayLike | Tensor,
    *,
    labels: Sequence[Hashable] | None = None,
    codes: ArrayLike | Tensor | None = None,
) -> None:
    """Write generated series as `load_samples` reads them.

    The file holds `X`, and where they are given `y` and `codes`. Labels of one type are an array
    of that type; others are texts of JSON, named `y_json`. `load_dataset` reads the file too, but
    knows no `y_json`: to it, series with labels of several types have none.

    Args:
        path: A name that ends in `.npz`.
        series: `(cases, channels, length)`, NaN beyond a series' end.
        labels: Texts, numbers, booleans or None; None for no labels.
        codes: int64 `(cases, tokens)`.

    Raises:
        ValueError: If the name ends otherwise, or labels are not as many as series.
        TypeError: If a label cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> from ssltok.evaluation import load_samples, save_samples
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "new.npz"
        >>> save_samples(path, [[1.0] * 8, [2.0] * 8, [3.0] * 8], labels=[1, "one", None])
        >>> load_samples(path).labels
        [1, 'one', None]
    """
    path = pathlib.Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"save_samples: path must end in .npz; got {path}")
    named: dict[str, Any] = {"X": np.asarray(series)}
    if labels is not None:
        plain = [plain_label("save_samples", label) for label in labels]
        if len(plain) != len(named["X"]):
            raise ValueError(
                f"save_samples: labels must be as many as series, {len(named['X'])}; "
                f"got {len(plain)}"
            )
        array = _typed(plain)
        if array is None:
            named["y_json"] = np.array([json.dumps(label) for label in plain])
        else:
            named["y"] = array
    if codes is not None:
        named["codes"] = np.asarray(codes)
    with new_file(path) as stream:
        np.savez_compressed(stream, **named)


def load_samples(path: pathlib.Path | str, *, reading: Reading | None = None) -> Samples:
    """Read generated series, with the labels that belong to them.

    Args:
        path: A file of `save_samples`, of `ssltok run` or of `ssltok sample`; or any file that
            `load_dataset` reads, of which the first part counts.
        reading: As for `load_dataset`; by default a row of a table is a series.

    Returns:
        The samples; labels have the types they were written with.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> from ssltok.evaluation import load_samples, save_samples
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "new.npz"
        >>> save_samples(path, [[[1.0, 2.0]], [[3.0, 4.0]]], labels=["up", None])
        >>> load_samples(path).series.shape, load_samples(path).labels
        ((2, 1, 2), ['up', None])
    """
    path = pathlib.Path(path)
    if path.suffix == ".npz" and path.is_file():
        try:
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {OLD.get(name, name): file[name] for name in file.files}
            if "X" in arrays:
                return Samples(arrays["X"], _labels(arrays), arrays.get("codes"))
        except Exception as error:  # whatever a damaged archive raises
            raise ValueError(
                f"load_samples: {str(path)!r} must be readable; got {error}"
            ) from error
    data = load_dataset(path, reading=reading or Reading(layout="series_in_rows"))
    return Samples(data.train, None if data.train_labels is None else list(data.train_labels), None)


def plain_label(who: str, label: Hashable) -> Hashable:
    """The label as plain Python, or a TypeError where it could not be read back."""
    value = label.item() if isinstance(label, np.generic | Tensor) else label
    if isinstance(value, str) and type(value) is not str:
        value = str(value)
    if type(value) not in PLAIN:
        raise TypeError(
            f"{who}: labels must be texts, numbers, booleans or None to be written; got {label!r}"
        )
    return value


def _typed(labels: Sequence[Hashable]) -> np.ndarray[Any, Any] | None:
    """One array that gives every label back as it is, or None."""
    array = np.array(labels)
    if array.dtype.kind not in "biufU":
        return None
    back = array.tolist()
    same = all(type(a) is type(b) and a == b for a, b in zip(back, labels, strict=True))
    return array if same else None


def _labels(arrays: dict[str, np.ndarray[Any, Any]]) -> list[Hashable] | None:
    if "y_json" in arrays:
        return [json.loads(text) for text in arrays["y_json"].tolist()]
    return arrays["y"].tolist() if "y" in arrays else None
