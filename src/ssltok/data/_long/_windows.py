"""One long series as many short ones, and back."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ssltok._shared.checks import check_number

__all__ = ["Windows", "stitch", "windows"]


class Windows(NamedTuple):
    """Windows of a long series, and where they lay in it.

    Attributes:
        values: `(windows, ..., size)`, an array or a tensor as the series was.
        starts: The first sample of each window, int64 `(windows,)`.
        length: That of the whole series.
        index: Names of its samples, sample `t` being `index[t]`; None where none was given.
    """

    values: Any
    starts: NDArray[np.int64]
    length: int
    index: Any = None


def windows(
    series: NDArray[Any] | Tensor,
    size: int,
    stride: int,
    *,
    partial: bool = True,
    index: Any = None,
) -> Windows:
    """Cut a long series into windows of one size, one every `stride` samples.

    Where windows at every stride end with the last sample, or `partial` is False, nothing is
    copied: the windows are a read-only view of the array (or a view of the tensor), so a
    memory-mapped file stays on disk. Otherwise the last window is moved back until it is whole, so
    that every sample is in a window (as long as `stride <= size`); this takes a copy of all.

    Args:
        series: `(..., length)` of any type, such as `(channels, length)`.
        size: Samples of a window, at least 1 and at most `length`.
        stride: Samples from the start of one window to that of the next, at least 1.
        partial: Whether the samples after the last whole stride get a window too.
        index: What the samples are called, such as their times: `length` of anything. It is
            handed on as it is.

    Returns:
        The windows, in the order of their starts.

    Raises:
        ValueError: If the series has no axis, `size` does not lie in `[1, length]`, `stride < 1`,
            or the index has another length.
        TypeError: If the series is neither array nor tensor.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import stitch, windows
        >>> cut = windows(np.arange(8.0), 4, 3)
        >>> cut.values.tolist()
        [[0.0, 1.0, 2.0, 3.0], [3.0, 4.0, 5.0, 6.0], [4.0, 5.0, 6.0, 7.0]]
        >>> cut.starts.tolist(), stitch(cut).tolist()
        ([0, 3, 4], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    """
    if not isinstance(series, np.ndarray | Tensor):
        raise TypeError(
            f"windows: series must be an array or a tensor; got {type(series).__name__}"
        )
    if not series.ndim:
        raise ValueError("windows: series must be (..., length); got a single number")
    length = series.shape[-1]
    check_number("windows", "size", size)
    if not 1 <= size <= length:
        raise ValueError(
            f"windows: size must lie in [1, {length}], the length of the series; got {size}"
        )
    if stride < 1:
        raise ValueError(f"windows: stride must be >= 1; got {stride}")
    if index is not None and len(index) != length:
        raise ValueError(
            f"windows: index must name each of the {length} samples; got {len(index)} names"
        )
    starts = np.arange(0, length - size + 1, stride)
    values: Any
    if isinstance(series, Tensor):
        values = series.unfold(-1, size, stride).movedim(-2, 0)
    else:
        values = np.moveaxis(sliding_window_view(series, size, axis=-1)[..., ::stride, :], -2, 0)
    if partial and starts[-1] + size < length:
        starts = np.append(starts, length - size)
        last: Any = series[None, ..., length - size :]
        if isinstance(series, Tensor):
            values = torch.cat([values, last])
        else:
            values = np.concatenate([values, last])
    return Windows(values, starts, length, index)


def stitch(windows: Windows, *, taper: ArrayLike | None = None) -> Any:
    r"""Put windows together into one long series; where they overlap, average them.

    $$x_t = \frac{\sum_k w_{t - s_k}\, v_{k,\, t - s_k}}{\sum_k w_{t - s_k}}$$

    over the windows $k$ that hold sample $t$, where window $k$ with values $v_k$ starts at $s_k$.
    The weights $w$ are largest in the middle, where a model that reads a window knows most of what
    is around, so there is no step where a window begins or ends. The mean is updated window by
    window, so windows that agree give their values to the bit.

    Args:
        windows: Of floating-point values, such as
            `cut._replace(values=model(cut.values))` of `cut = windows(...)`.
        taper: $w$, positive, `(size,)`; None is a Hann window without its zeros.

    Returns:
        The series, `(..., length)`, array or tensor as the windows, in their own type. NaN at
        samples that no window holds, and where a window that holds them is NaN.

    Raises:
        ValueError: If the values are not floating point or `(windows, ..., size)`, a window does
            not lie within the length, or the taper is not positive and `(size,)`.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import Windows, stitch
        >>> steps = Windows(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0, 1]), 4)
        >>> stitch(steps).tolist()
        [0.0, 0.5, 1.0, nan]
    """
    values, starts = windows.values, np.asarray(windows.starts)
    shape, tensor = tuple(values.shape), isinstance(values, Tensor)
    if len(shape) < 2 or shape[0] != len(starts):
        raise ValueError(
            f"stitch: values must be ({len(starts)} windows, ..., size); got shape {shape}"
        )
    floating = values.is_floating_point() if tensor else np.issubdtype(values.dtype, np.floating)
    if not floating:
        raise ValueError(f"stitch: values must be floating point; got {values.dtype}")
    size = shape[-1]
    if len(starts) and not 0 <= starts.min() <= starts.max() <= windows.length - size:
        raise ValueError(
            f"stitch: windows of {size} must start in [0, {windows.length - size}]; "
            f"got {starts.min()} to {starts.max()}"
        )
    weights = _hann(size) if taper is None else np.asarray(taper, dtype=np.float64)
    if weights.shape != (size,) or not (weights > 0).all() or not np.isfinite(weights).all():
        raise ValueError(f"stitch: taper must be positive and ({size},); got {taper!r}")
    total = np.zeros(windows.length)
    whole = (*shape[1:-1], windows.length)
    series: Any = (
        values.new_full(whole, math.nan) if tensor else np.full(whole, np.nan, values.dtype)
    )
    for start, window in zip(starts.tolist(), values, strict=True):
        stretch = slice(start, start + size)
        new = total[stretch] == 0
        total[stretch] += weights
        share: Any = weights / total[stretch]
        if tensor:
            new, share = torch.as_tensor(new), torch.as_tensor(share)
            new, share = new.to(values.device), share.to(values)
            before = series[..., stretch].clone()
            series[..., stretch] = torch.where(new, window, before + share * (window - before))
        else:
            before, share = series[..., stretch], share.astype(values.dtype)
            series[..., stretch] = np.where(new, window, before + share * (window - before))
    return series


def _hann(size: int) -> NDArray[np.float64]:
    return np.hanning(size + 2)[1:-1]
