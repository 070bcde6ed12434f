"""The door: whatever holds series becomes one checked `SeriesSet`, or an error before any work."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ssltok.data._frames import as_arrays
from ssltok.data._upright import check_layout, check_upright
from ssltok.data._values import as_float64, as_numpy

__all__ = [
    "LARGEST",
    "SHORTEST",
    "SeriesSet",
    "check_values",
    "far_channels",
    "filled",
    "read_series",
]

SHORTEST = 8
LARGEST = 1e18  # beyond it, squares leave float32
SMALLEST = 1e-30  # of a spread above 0: below it, float32 loses digits
FAR = 4.0  # spreads from 0, beyond which float32 would lose digits: an offset is taken away
FARTHEST = 2.0**29  # spreads, beyond which float64 holds less than float32 does of the spread
Array = NDArray[np.float64]


class SeriesSet(NamedTuple):
    """Series of one set, padded to one length; `in_units` gives them back as they came.

    Attributes:
        values: float32 `(cases, channels, length)`. At missing values and at padding it holds what
            an encoder may read without harm: a straight line between the neighbours, the nearest
            value beyond the ends, and NaN in a channel without any value.
        valid: Boolean of the same shape, False at missing values and at padding.
        lengths: int64 `(cases,)`, the samples before the padding.
        offset: float64 `(channels,)`, what was taken away from each channel before it became
            float32; a single 0 stands for none. It is 0 but for channels that lie far from 0 for
            how much they vary, whose digits float32 would lose.
    """

    values: Tensor
    valid: Tensor
    lengths: Tensor
    offset: Tensor = torch.zeros(1, dtype=torch.float64)

    @property
    def cases(self) -> int:
        """How many series there are; the length of the tuple is another thing."""
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cases, channels and length."""
        cases, channels, length = self.values.shape
        return cases, channels, length

    def take(self, cases: Tensor) -> "SeriesSet":
        """The cases at these indices."""
        return SeriesSet(self.values[cases], self.valid[cases], self.lengths[cases], self.offset)

    def in_units(self) -> Tensor:
        """The series in the units they came in, NaN where nothing is known.

        Returns:
            `(cases, channels, length)`; float64 where a channel has an offset, float32 else.
        """
        values = self.values
        if bool(self.offset.any()):
            values = values.double() + self.offset[:, None]
        return values.where(self.valid, torch.nan)

    def about(self, offset: Tensor) -> "SeriesSet":
        """The same series with another offset.

        Args:
            offset: float64 `(channels,)`, or a single 0.
        """
        if torch.equal(self.offset.expand_as(offset), offset):
            return self._replace(offset=offset)
        moved = self.values.double() + (self.offset - offset)[:, None]
        return self._replace(values=moved.float(), offset=offset)

    def digest(self) -> str:
        """SHA-256 over every value and every gap, and over offsets if there are any."""
        sha = hashlib.sha256(str(tuple(self.values.shape)).encode())
        parts = self if bool(self.offset.any()) else self[:3]
        for part in parts:
            sha.update(part.contiguous().numpy().tobytes())
        return sha.hexdigest()


def read_series(
    X: ArrayLike | Tensor | Sequence[ArrayLike | Tensor],  # noqa: N803
    *,
    channels: int | None = None,
    length: int | None = None,
    offset: Tensor | None = None,
    layout: str | None = None,
    lengths: Sequence[int] | None = None,
    who: str = "read_series",
) -> SeriesSet:
    """Check series and put them in one form.

    A channel whose largest value is more than 4 times its spread (highest less lowest) has its
    mean taken away in float64, before it becomes float32: `offset` of the set. So a level costs no
    digits: `read_series(x + c)` less `c` is `read_series(x)` to float32 precision of the spread.

    Args:
        X: `(cases, channels, length)`, `(cases, length)` (one channel), or a list of
            `(channels, length)` or `(length,)` arrays of unequal lengths; NaN, None, NA and
            masked values are missing, and a tail of them in every channel is padding.
        channels: Channels asked for, if the model fixes them.
        length: Longest length allowed and the length to pad to, if the model fixes it.
        offset: What to take away, float64 `(channels,)`, such as the `offset` of the training
            series; None finds out, and asks for a value in every channel.
        layout: `"channels_first"`, or `"channels_last"` for `(cases, length, channels)` and a list
            of `(length, channels)`; None is the former, and refuses series that very likely lie on
            their side.
        lengths: Samples of each series, where a gap may stand at its end: at most as many as were
            given, and known values lie before. None finds them: the last known value ends a series.
        who: Who asks, for the error's text.

    Returns:
        The set.

    Raises:
        ValueError: For an empty set, another rank, values that are infinite, above 1e18, or
            further from 0 than 2**29 (5.4e8) spreads, which float64 cannot hold; for a series or
            a channel without any value, a length below 8, other channels or longer series than
            the model's; where the layout is not given and very likely another.
        TypeError: If the values are no real numbers.

    Example:
        >>> from ssltok.data import read_series
        >>> series = read_series([[1.0, 3.0] * 4 + [2.0], [2.0] * 8])
        >>> series.values.shape, series.lengths.tolist(), series.offset.tolist()
        (torch.Size([2, 1, 9]), [9, 8], [0.0])
        >>> read_series([[1e8 + 1, 1e8 + 3] * 4]).offset.tolist()
        [100000002.0]
    """
    check_layout(who, layout)
    last = layout == "channels_last"
    arrays = [_as_array(who, case, item, last) for case, item in enumerate(_cases(who, X))]
    if not arrays:
        raise ValueError(f"{who}: X must hold at least one series; got none")
    wanted = arrays[0].shape[0] if channels is None else channels
    for case, array in enumerate(arrays):
        if array.shape[0] != wanted:
            turned = all(one.shape[1] == arrays[0].shape[1] for one in arrays)
            hint = "" if layout or not turned else "; is it (length, channels)? see layout="
            raise ValueError(
                f"{who}: every series must have {wanted} channel(s); "
                f"got {array.shape[0]} in series {case}{hint}"
            )
        check_values(who, case, array)
    real = [int(np.flatnonzero(~np.isnan(a).all(axis=0))[-1]) + 1 for a in arrays]
    if lengths is not None:
        real = _checked_lengths(who, lengths, real, [array.shape[1] for array in arrays])
    longest = max(real)
    if longest < SHORTEST:
        hint = ""
        if layout is None and len(arrays[0]) >= SHORTEST:
            hint = "; is it (length, channels)? then give layout='channels_last'"
        elif layout is None and wanted == 1 and len(arrays) >= SHORTEST:
            hint = "; are the rows of X times? then cut it into windows (ssltok.data.windows)"
        raise ValueError(
            f"{who}: series must have at least {SHORTEST} samples; got {longest} at most{hint}"
        )
    if length is not None and longest > length:
        raise ValueError(
            f"{who}: series must have at most {length} samples, as in training; got {longest}"
        )
    if offset is None:
        if layout is None and channels is None:
            flat = getattr(X, "ndim", 0) == 2 or not isinstance(X, np.ndarray | Tensor)
            check_upright(who, arrays, table=wanted == 1 and flat)
        offset = _offset(who, arrays)
    return filled(arrays, real, length or longest, offset)


def _checked_lengths(
    who: str, lengths: Sequence[int], least: list[int], most: list[int]
) -> list[int]:
    """Lengths that reach from the last known value to the last sample that was given."""
    if len(lengths) != len(least):
        raise ValueError(f"{who}: lengths must be {len(least)} numbers; got {len(lengths)}")
    for case, (size, low, high) in enumerate(zip(lengths, least, most, strict=True)):
        if not isinstance(size, int | np.integer) or isinstance(size, bool):
            raise TypeError(f"{who}: lengths must be whole numbers; got {size!r} of series {case}")
        if not low <= size <= high:
            raise ValueError(
                f"{who}: the length of series {case} must lie in [{low}, {high}], from its last "
                f"known value to its last sample; got {size}"
            )
    return [int(size) for size in lengths]


def filled(arrays: list[Array], real: list[int], length: int, offset: Tensor) -> SeriesSet:
    """The set of float64 arrays that end at `real`, their gaps filled, padded to a length."""
    levels = offset.expand(len(arrays[0])).numpy()[:, None]
    shape = (len(arrays), len(arrays[0]), length)
    values, valid = np.full(shape, np.nan, dtype=np.float32), np.zeros(shape, dtype=bool)
    times = np.arange(length)
    for case, (array, end) in enumerate(zip(arrays, real, strict=True)):
        points, known = (array - levels)[:, :end], ~np.isnan(array[:, :end])
        valid[case, :, :end] = known
        if known.all():
            values[case, :, :end], values[case, :, end:] = points, points[:, -1:]
            continue
        for channel in np.flatnonzero(known.any(axis=1)).tolist():
            here = np.flatnonzero(known[channel])
            values[case, channel] = np.interp(times, here, points[channel, here])
    lengths = torch.tensor(real)
    return SeriesSet(torch.from_numpy(values), torch.from_numpy(valid), lengths, offset)


def _offset(who: str, arrays: list[Array]) -> Tensor:
    """The offset of each channel: 0 where float32 holds the series as they are."""
    channels = len(arrays[0])
    count = np.sum([a.shape[1] - np.isnan(a).sum(1) for a in arrays], axis=0)
    if not count.all():
        raise ValueError(
            f"{who}: every channel must hold a value in some series; "
            f"got only NaN in channel {int(np.flatnonzero(count == 0)[0])} of {channels}"
        )
    high = np.fmax.reduce([np.fmax.reduce(a, axis=1) for a in arrays])
    low = np.fmin.reduce([np.fmin.reduce(a, axis=1) for a in arrays])
    offset = np.zeros(channels)
    for channel in far_channels(who, low, high):
        rows = (a[channel] - low[channel] for a in arrays)  # near 0: their sum is exact enough
        offset[channel] = low[channel]
        if high[channel] > low[channel]:
            offset[channel] += sum(sorted(float(np.nansum(r)) for r in rows)) / count[channel]
    return torch.from_numpy(offset)


def far_channels(who: str, low: Array, high: Array) -> list[int]:
    """Channels that need an offset, by their lowest and highest values `(channels,)`.

    Raises:
        ValueError: If a channel lies too far from 0, or varies too little, for an offset to help.
    """
    spread, size = high - low, np.maximum(np.abs(high), np.abs(low))
    for channel in np.flatnonzero((spread > 0) & (size > FARTHEST * spread)).tolist():
        raise ValueError(
            f"{who}: values must lie within 2**29 (5.4e8) times their spread of 0, for float64 "
            f"holds no more; got {size[channel]:.4g} with a spread of {spread[channel]:.4g} in "
            f"channel {channel}; subtract a level from exact numbers, or round what is constant"
        )
    for channel in np.flatnonzero((spread > 0) & (spread < SMALLEST)).tolist():
        raise ValueError(
            f"{who}: values must differ by at least {SMALLEST:g}, for float32 loses digits below; "
            f"got a spread of {spread[channel]:.4g} in channel {channel}; multiply them"
        )
    return [int(channel) for channel in np.flatnonzero(size > FAR * spread)]


def check_values(who: str, case: int, array: Array) -> None:
    """Refuse a series without any value, or with one that float32 cannot square."""
    size = np.fmax.reduce(np.abs(array), axis=None)
    if np.isnan(size):
        raise ValueError(f"{who}: every series must hold values; got only NaN in series {case}")
    if np.isinf(size):
        raise ValueError(f"{who}: values must be finite; got infinity in series {case}")
    if size > LARGEST:
        raise ValueError(
            f"{who}: values must be at most {LARGEST:g} in size; got {size:.4g}, finite but too "
            f"large, in series {case}"
        )


def _cases(who: str, X: Any) -> Any:  # noqa: N803
    frames = as_arrays(X)
    if frames is not None:
        return frames
    if isinstance(X, Tensor):
        X = list(X.unbind()) if X.is_nested else as_numpy(who, X)
    if isinstance(X, np.ndarray) and (X.dtype != object or X.ndim == 0):
        if X.ndim not in (2, 3):
            raise ValueError(
                f"{who}: X must be (cases, channels, length) or (cases, length); "
                f"got shape {X.shape}"
            )
        return X
    if hasattr(X, "todense"):
        raise TypeError(f"{who}: X must be dense; got sparse {type(X).__name__}; use X.toarray()")
    if not isinstance(X, np.ndarray) and hasattr(X, "__array__"):
        return _cases(who, np.asarray(X))
    if isinstance(X, Sequence | np.ndarray) and not isinstance(X, str | bytes):
        return X
    raise TypeError(
        f"{who}: X must be an array, a tensor or a list of them; got {type(X).__name__}"
    )


def _as_array(who: str, case: int, item: Any, last: bool) -> Array:  # noqa: FBT001
    array = as_float64(who, f"series {case}", item)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"{who}: each series must be (channels, length) or (length,) and not empty; "
            f"got shape {array.shape} for series {case}"
        )
    turned = last and np.ndim(item) == 2
    return np.ascontiguousarray(array.T) if turned else array
