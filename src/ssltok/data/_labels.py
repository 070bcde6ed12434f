"""Labels: what is missing, which two are the same, and what number each class has."""

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["is_missing", "label_index"]

MOST_TARGETS = 20  # different numbers, above which they may be targets and no classes
TEXTS_OF_NOTHING = ("nan", "<NA>", "NaT")  # what numpy makes of them in an array of texts
Key = tuple[str, Hashable]


def is_missing(value: Any) -> bool:
    """Whether a value stands for nothing: None, NaN, NaT, NA of pandas, or masked.

    Args:
        value: A label, or a number of a series.

    Returns:
        The answer; one meaning everywhere.
    """
    if value is None or value is np.ma.masked or type(value).__name__ == "NAType":
        return True
    if isinstance(value, str | bytes | tuple | list | np.ndarray | Tensor):
        return False
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return False


def label_index(
    y: Iterable[Hashable] | np.ndarray[Any, Any] | Tensor | None,
    cases: int,
    *,
    classes: Sequence[Hashable] | None = None,
    who: str = "label_index",
) -> tuple[Tensor, list[Hashable]]:
    """Number labels from 0, in sorted order where they can be sorted, else by first occurrence.

    None, NaN, NaT, pandas' NA and masked labels mean *not labelled*: number -1, and no class.
    Numbers are the same label where they are equal (1, `np.int64(1)` and 1.0, which is what tables
    make of an integer beside a missing one); a text or a boolean is never the same as a number.

    Args:
        y: Labels, one for each case, or None.
        cases: How many there must be.
        classes: The known classes; None learns them from `y`.
        who: Who asks, for the error's text.

    Returns:
        int64 `(cases,)`, -1 where there is no label, and the classes.

    Raises:
        ValueError: If the count differs, a label is unknown, two labels of different types read
            alike (1 and "1"), a text says that it is missing ("nan", as numpy writes it), or
            numbers look like targets: more than 20 different ones, nearly one for each series.
        TypeError: If a label cannot be hashed.

    Example:
        >>> from ssltok.data import label_index
        >>> label_index(["b", "a", "b", None], 4)
        (tensor([ 1,  0,  1, -1]), ['a', 'b'])
    """
    if y is None:
        return torch.full((cases,), -1), list(classes or [])
    labels = _plain_labels(who, y)
    if len(labels) != cases:
        raise ValueError(
            f"{who}: y must hold one label for each series; got {len(labels)} for {cases}"
        )
    present = [label for label in labels if label is not None]
    if classes is None:
        _check_alike(who, present)
        _check_classes(who, present)
        classes = _classes_of(present)
    numbers = {_key(label): number for number, label in enumerate(classes) if label is not None}
    for label in present:
        if _key(label) not in numbers:
            raise ValueError(
                f"{who}: y must hold known labels {list(classes)}; "
                f"got {label!r}{_hint(label, classes)}"
            )
    index = [-1 if label is None else numbers[_key(label)] for label in labels]
    return torch.tensor(index, dtype=torch.int64), list(classes)


def _plain_labels(who: str, y: Any) -> list[Hashable]:
    """Labels as plain Python, None where there is none."""
    texts = isinstance(y, np.ndarray) and y.dtype.kind == "U"
    if isinstance(y, Tensor | np.ndarray):
        if y.ndim != 1:
            raise ValueError(f"{who}: y must be one-dimensional; got shape {tuple(y.shape)}")
        y = list(y) if isinstance(y, np.ndarray) and y.dtype.kind in "mM" else y.tolist()
    if isinstance(y, str | bytes) or not isinstance(y, Iterable):
        what = "one text" if isinstance(y, str | bytes) else repr(y)
        raise TypeError(f"{who}: y must hold a label for each series; got {what}")
    labels: list[Hashable] = []
    for label in y:
        if is_missing(label):
            labels.append(None)
            continue
        if isinstance(label, np.generic) or (isinstance(label, Tensor) and label.ndim == 0):
            label = label.item()
        try:
            hash(label)
        except TypeError as error:
            raise TypeError(f"{who}: labels must be hashable; got {label!r}") from error
        if texts and label in TEXTS_OF_NOTHING:
            raise ValueError(
                f"{who}: a missing label must be None or NaN; got the text {label!r}, which numpy "
                f"makes of one in an array of texts: give a list, or dtype=object"
            )
        labels.append(label)
    return labels


def _kind(label: Hashable) -> str:
    if isinstance(label, bool):
        return "boolean"
    if isinstance(label, int | float):
        return "number"
    return "text" if isinstance(label, str) else "other"


def _key(label: Hashable) -> Key:
    """What two labels must share to be one: True is not 1, and neither is "1"."""
    return _kind(label), label


def _classes_of(labels: list[Hashable]) -> list[Hashable]:
    """The different labels in order; whole numbers are integers where any number is one."""
    distinct: dict[Key, Hashable] = {}
    for label in labels:
        if _key(label) not in distinct or isinstance(label, int):
            distinct[_key(label)] = label
    classes = list(distinct.values())
    if any(_kind(label) == "number" and isinstance(label, int) for label in classes):
        classes = [
            int(label) if isinstance(label, float) and label.is_integer() else label
            for label in classes
        ]
    try:
        return sorted(classes)  # type: ignore[type-var]
    except TypeError:
        return classes


def _readings(label: Hashable) -> list[Hashable]:
    """What a reader may take a label for."""
    if isinstance(label, bool):
        return [str(label).lower(), float(label)]
    if isinstance(label, int | float):
        return [label]  # an integer and the float that equals it are one key
    if isinstance(label, str):
        try:
            return [float(label)]
        except ValueError:
            return [label.lower()] if label.lower() in ("true", "false") else []
    return []


def _check_alike(who: str, labels: list[Hashable]) -> None:
    first: dict[Hashable, Hashable] = {}
    for _, label in dict.fromkeys(map(_key, labels)):
        for reading in _readings(label):
            other = first.setdefault(reading, label)
            if _kind(other) != _kind(label):
                raise ValueError(
                    f"{who}: labels that read alike must be of one type; got {other!r} "
                    f"(a {_kind(other)}) and {label!r} (a {_kind(label)})"
                )


def _check_classes(who: str, labels: list[Hashable]) -> None:
    """Refuse numbers that are targets: each series its own."""
    numbers = [label for label in labels if isinstance(label, int | float)]
    if len(numbers) < len(labels):
        return
    distinct = len(set(numbers))
    broken = any(isinstance(x, float) and math.isfinite(x) and not x.is_integer() for x in numbers)
    most = distinct == len(labels) or (broken and 2 * distinct > len(labels))
    if distinct > MOST_TARGETS and most:
        raise ValueError(
            f"{who}: y must hold classes; got {distinct} different numbers for {len(labels)} "
            f"series, which look like targets: give y=None, or bins of them as labels (or texts, "
            f"if each is a class)"
        )


def _hint(label: Hashable, classes: Sequence[Hashable]) -> str:
    for known in classes:
        if set(_readings(known)) & set(_readings(label)):
            return f" (a {_kind(label)}; {known!r} is a {_kind(known)})"
    return ""
