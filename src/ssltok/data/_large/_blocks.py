"""One block of a source: its rows as a checked set, and the facts that are added up over blocks."""

import zlib
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssltok._shared.moments import Moments, moments_of
from ssltok.data._series_set import LARGEST, SeriesSet, check_values, filled
from ssltok.data._values import as_float64

__all__ = [
    "BlockFacts",
    "block_facts",
    "block_rows",
    "check_rows",
    "end_of",
    "row_sums",
    "series_of",
]

WHOLE = 2**22
"""Values of a set that is one block, so that its sums are those of the set in memory."""
BLOCK = 2**19
"""Values of a block of a larger set: what the caches hold."""
MOST_BLOCKS = 2**15


class BlockFacts(NamedTuple):
    """What one pass takes of a block; float64 `(channels,)` but for the last three.

    `low`, `high` and `known` are those of the numbers as they are; `moments` those of the series
    as a model reads them. `check` is a checksum of the bytes, `lengths` int64 `(rows,)` or None
    where every value is known.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    known: NDArray[np.float64]
    moments: Moments
    check: int
    lengths: Tensor | None


def block_rows(cases: int, channels: int, length: int) -> int:
    """Rows of a block; they depend on the shape alone, so that sums do too."""
    values = channels * length
    if cases * values <= WHOLE:
        return cases
    return max(BLOCK // values, -(-cases // MOST_BLOCKS), 1)


def block_facts(who: str, first: int, raw: NDArray[Any], length: int, offset: Tensor) -> BlockFacts:
    """Check a block and take its facts.

    Args:
        who: Who asks, for the error's text.
        first: The case of its first row.
        raw: `(rows, channels, length)`.
        length: Samples of the longest series of the source.
        offset: What is taken away, float64 `(channels,)` or a single 0.

    Raises:
        ValueError: If a series holds no value, or infinity, or one too large.
        TypeError: If these are no real numbers.
    """
    raw = np.ascontiguousarray(raw)
    exact = _exact(who, first, raw)
    check = zlib.crc32(raw.data.cast("B")) if raw.dtype.kind in "biuf" else 0
    lengths = None
    moments = moments_of(_values(exact, offset)[..., :length])
    if exact.dtype == np.float32 and not bool(offset.any()) and exact.shape[2] == length:
        low, high = moments.low.numpy(), moments.high.numpy()  # NaN where one is
    else:
        low, high = exact.min((0, 2)), exact.max((0, 2))
    if bool(np.isfinite(low).all()) and max(-float(low.min()), float(high.max())) <= LARGEST:
        known = np.full(len(low), float(exact.shape[0] * exact.shape[2]))
    else:
        arrays = list(exact.astype(np.float64))
        for case, array in enumerate(arrays):
            check_values(who, first + case, array)
        high, low = np.fmax.reduce(exact, axis=(0, 2)), np.fmin.reduce(exact, axis=(0, 2))
        known = (~np.isnan(exact)).sum((0, 2)).astype(np.float64)
        low, high = np.where(known > 0, low, np.inf), np.where(known > 0, high, -np.inf)
        some = series_of(arrays, max(length, 1), offset)
        moments, lengths = moments_of(some.values, some.valid), some.lengths
    return BlockFacts(low.astype(np.float64), high.astype(np.float64), known, moments, check,
                      lengths)  # fmt: skip


def series_of(
    raw: NDArray[Any] | list[NDArray[Any]], length: int, offset: Tensor, *, who: str = "fit"
) -> SeriesSet:
    """Rows that were checked, as `read_series` gives them.

    Args:
        raw: `(rows, channels, samples)`, NaN where nothing is known.
        length: Samples to pad to.
        offset: float64 `(channels,)` or a single 0.
        who: Who asks, for the error's text.
    """
    exact = np.stack(raw) if isinstance(raw, list) else _exact(who, 0, raw)
    if not np.isnan(exact).any():
        values = _values(exact, offset)[..., :length]
        end = values.shape[2]
        if end < length:
            values = torch.cat([values, values[..., -1:].expand(-1, -1, length - end)], dim=2)
        valid = torch.zeros(values.shape, dtype=torch.bool)
        valid[..., :end] = True
        return SeriesSet(values, valid, torch.full((len(values),), end), offset)
    arrays = [array.astype(np.float64) for array in exact]
    real = [_end(array) for array in arrays]
    return filled(arrays, real, length, offset)


def check_rows(who: str, cases: list[int], raw: NDArray[Any]) -> None:
    """Refuse what `read_series` refuses in rows `(cases, channels, samples)` of a source."""
    exact = _exact(who, cases[0] if cases else 0, raw)
    if len(exact) and np.abs(exact).max() <= LARGEST:
        return
    for case, array in zip(cases, exact, strict=True):  # NaN somewhere, or too large
        check_values(who, case, array.astype(np.float64))


def end_of(who: str, raw: NDArray[Any]) -> int:
    """Samples of the longest of some rows, without the NaN at its end."""
    if raw.dtype.kind in "iu" or (raw.dtype.kind == "f" and not np.isnan(raw[..., -1]).all()):
        return int(raw.shape[2])
    return max(_end(array) for array in _exact(who, 0, raw))


def row_sums(raw: NDArray[Any], channel: int, low: float) -> NDArray[np.float64]:
    """For each row the sum of a channel about its lowest value."""
    sums: NDArray[np.float64] = np.nansum(raw[:, channel].astype(np.float64) - low, axis=1)
    return sums


def _exact(who: str, first: int, raw: NDArray[Any]) -> NDArray[Any]:
    """The numbers in a type that holds them: float32 as it is, anything else as float64."""
    if raw.dtype == np.float32 and raw.dtype.isnative:
        return raw
    return as_float64(who, f"series {first} to {first + len(raw) - 1}", raw)


def _values(exact: NDArray[Any], offset: Tensor) -> Tensor:
    """Float32 series less the offset, subtracted in float64; memory of their own."""
    if bool(offset.any()):
        return torch.from_numpy((exact - offset.numpy()[:, None]).astype(np.float32))
    with np.errstate(over="ignore"):  # it is refused
        return torch.from_numpy(exact.astype(np.float32))


def _end(array: NDArray[Any]) -> int:
    known = np.flatnonzero(~np.isnan(array).all(axis=0))
    return int(known[-1]) + 1 if len(known) else 0
