"""The door: whatever holds series becomes one checked `SeriesSet`, or an error before any work."""

import hashlib
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ssltok.data._frames import as_arrays

__all__ = ["SeriesSet", "label_index", "read_series"]

SHORTEST = 8
LARGEST = 1e18  # beyond it, squares leave float32


class SeriesSet(NamedTuple):
    """Series of one set, padded to one length.

    `values` is float32 `(cases, channels, length)`; `valid` is boolean of the same shape, False
    at missing values and at padding, where `values` holds what an encoder may read without
    harm: a straight line between the neighbours, the nearest value beyond the ends, and NaN in
    a channel without any value. `lengths` is int64 `(cases,)`, the samples before the padding.
    """

    values: Tensor
    valid: Tensor
    lengths: Tensor

    def take(self, cases: Tensor) -> "SeriesSet":
        """The cases at these indices."""
        return SeriesSet(self.values[cases], self.valid[cases], self.lengths[cases])

    def digest(self) -> str:
        """SHA-256 over every value and every gap."""
        sha = hashlib.sha256(str(tuple(self.values.shape)).encode())
        for part in self:
            sha.update(part.contiguous().numpy().tobytes())
        return sha.hexdigest()


def read_series(
    X: ArrayLike | Tensor | Sequence[ArrayLike | Tensor],  # noqa: N803
    *,
    channels: int | None = None,
    length: int | None = None,
    who: str = "read_series",
) -> SeriesSet:
    """Check series and put them in one form.

    Args:
        X: `(cases, channels, length)`, `(cases, length)` (one channel), or a list of
            `(channels, length)` or `(length,)` arrays of unequal lengths; NaN marks a missing
            value, and a tail of NaN in every channel is padding.
        channels: Channels asked for, if the model fixes them.
        length: Longest length allowed and the length to pad to, if the model fixes it.
        who: Who asks, for the error's text.

    Returns:
        The set.

    Raises:
        ValueError: For an empty set, another rank, infinities, a series without any value, a
            length below 8, other channels or longer series than the model's.
        TypeError: If the values are no numbers.

    Example:
        >>> from ssltok.data import read_series
        >>> series = read_series([[1.0] * 9, [2.0] * 8])
        >>> series.values.shape, series.lengths.tolist()
        (torch.Size([2, 1, 9]), [9, 8])
    """
    arrays = [_as_array(who, case, item) for case, item in enumerate(_cases(who, X))]
    if not arrays:
        raise ValueError(f"{who}: X must hold at least one series; got none")
    wanted = arrays[0].shape[0] if channels is None else channels
    for case, array in enumerate(arrays):
        if array.shape[0] != wanted:
            raise ValueError(
                f"{who}: every series must have {wanted} channel(s); "
                f"got {array.shape[0]} in series {case}"
            )
        # Beyond the largest value float32 holds without its square overflowing, count as infinite.
        if (np.abs(array) > LARGEST).any():
            raise ValueError(f"{who}: values must be finite; got infinity in series {case}")
        if np.isnan(array).all():
            raise ValueError(f"{who}: every series must hold values; got only NaN in series {case}")
    real = [int(np.flatnonzero(~np.isnan(a).all(axis=0))[-1]) + 1 for a in arrays]
    longest = max(real)
    if longest < SHORTEST:
        raise ValueError(
            f"{who}: series must have at least {SHORTEST} samples; got {longest} at most"
        )
    if length is not None and longest > length:
        raise ValueError(
            f"{who}: series must have at most {length} samples, as in training; got {longest}"
        )
    values = np.full((len(arrays), wanted, length or longest), np.nan, dtype=np.float32)
    valid = np.zeros(values.shape, dtype=bool)
    times = np.arange(values.shape[-1])
    for case, array in enumerate(arrays):
        for channel, row in enumerate(array):
            known = np.flatnonzero(~np.isnan(row))
            valid[case, channel, known] = True
            if len(known):
                values[case, channel] = np.interp(times, known, row[known])
    return SeriesSet(torch.from_numpy(values), torch.from_numpy(valid), torch.tensor(real))


def label_index(
    y: Sequence[Hashable] | np.ndarray[Any, Any] | Tensor | None,
    cases: int,
    *,
    classes: Sequence[Hashable] | None = None,
    who: str = "label_index",
) -> tuple[Tensor, list[Hashable]]:
    """Number labels from 0, in sorted order where they can be sorted, else by first occurrence.

    Args:
        y: Labels, one for each case, or None.
        cases: How many there must be.
        classes: The known classes; None learns them from `y`.
        who: Who asks, for the error's text.

    Returns:
        int64 `(cases,)`, -1 throughout where `y` is None, and the classes.

    Raises:
        ValueError: If the count differs, or a label is unknown.
        TypeError: If a label cannot be hashed.

    Example:
        >>> from ssltok.data import label_index
        >>> label_index(["b", "a", "b"], 3)
        (tensor([1, 0, 1]), ['a', 'b'])
    """
    if y is None:
        return torch.full((cases,), -1), list(classes or [])
    labels = _plain_labels(who, y)
    if len(labels) != cases:
        raise ValueError(
            f"{who}: y must hold one label for each series; got {len(labels)} for {cases}"
        )
    if classes is None:
        found = list(dict.fromkeys(labels))
        try:
            classes = sorted(found)  # type: ignore[type-var]
        except TypeError:
            classes = found
    numbers = {label: number for number, label in enumerate(classes)}
    for label in labels:
        if label not in numbers:
            raise ValueError(f"{who}: y must hold known labels {list(classes)}; got {label!r}")
    return torch.tensor([numbers[label] for label in labels]), list(classes)


def _cases(who: str, X: Any) -> Any:  # noqa: N803
    frames = as_arrays(X)
    if frames is not None:
        return frames
    if isinstance(X, Tensor):
        X = X.detach().cpu().float().numpy()
    if isinstance(X, np.ndarray) and X.dtype != object:
        if X.ndim not in (2, 3):
            raise ValueError(
                f"{who}: X must be (cases, channels, length) or (cases, length); "
                f"got shape {X.shape}"
            )
        return X
    if isinstance(X, Sequence | np.ndarray) and not isinstance(X, str | bytes):
        return X
    raise TypeError(
        f"{who}: X must be an array, a tensor or a list of them; got {type(X).__name__}"
    )


def _as_array(who: str, case: int, item: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    if isinstance(item, Tensor):
        item = item.detach().cpu().double().numpy()
    try:
        array = np.asarray(item, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{who}: series {case} must hold numbers; got {error}") from error
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"{who}: each series must be (channels, length) or (length,) and not empty; "
            f"got shape {array.shape} for series {case}"
        )
    return array


def _plain_labels(who: str, y: Any) -> list[Hashable]:
    if isinstance(y, Tensor | np.ndarray):
        if y.ndim != 1:
            raise ValueError(f"{who}: y must be one-dimensional; got shape {tuple(y.shape)}")
        y = y.tolist()
    labels = [label.item() if isinstance(label, np.generic) else label for label in y]
    for label in labels:
        try:
            hash(label)
        except TypeError as error:
            raise TypeError(f"{who}: labels must be hashable; got {label!r}") from error
    return labels
