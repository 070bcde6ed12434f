"""Which axis is time: as the caller says, or refused where shape and values speak against it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LAYOUTS", "check_layout", "check_upright", "smoothness"]

LAYOUTS = ("channels_first", "channels_last")
LEAST = 8  # points of a line, below which its smoothness says nothing
SMOOTH, ROUGH = 0.6, 0.3  # lag-1 autocorrelation
AHEAD = 0.2  # by which time must be smoother than channels where these are more
MOST_CASES, MOST_ROWS = 64, 2048  # looked at
Array = NDArray[np.float64]


def check_layout(who: str, layout: str | None) -> None:
    """Refuse words that are no layout.

    Raises:
        ValueError: If it is neither None nor one of `LAYOUTS`.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"{who}: layout must be one of {', '.join(LAYOUTS)}; got {layout!r}")


def smoothness(x: Array, axis: int) -> float:
    """Lag-1 autocorrelation along an axis, averaged over its lines; NaN where all are constant.

    Args:
        x: Of any shape; NaN is missing.
        axis: Along which.

    Returns:
        The mean of the lines' autocorrelations, near 1 where neighbours are alike.
    """
    lines = np.moveaxis(x, axis, -1)
    lines = lines.reshape(-1, lines.shape[-1])
    known = np.isfinite(lines)
    lines, known = lines[known.any(1)], known[known.any(1)]
    if not len(lines):
        return float("nan")
    # Each line in its own units: neither levels nor scales decide.
    count = known.sum(1, keepdims=True)
    centred = np.where(known, lines, 0.0)
    centred = np.where(known, lines - centred.sum(1, keepdims=True) / count, 0.0)
    size = np.abs(centred).max(1, keepdims=True)
    level = np.abs(np.where(known, lines, 0.0)).max(1, keepdims=True)
    varied = size[:, 0] > 1e-9 * level[:, 0]
    if not varied.any():
        return float("nan")
    unit = centred[varied] / size[varied]
    pairs = (known[:, 1:] & known[:, :-1])[varied]
    products = (unit[:, 1:] * unit[:, :-1]).sum(1) / np.maximum(pairs.sum(1), 1)
    return float((products / (np.square(unit).sum(1) / count[varied, 0])).mean())


def check_upright(who: str, arrays: Sequence[Array], *, table: bool) -> None:
    """Refuse series that very likely lie on their side, where no layout was given.

    - Channels and time: time is rough along the last axis (lag-1 autocorrelation at most 0.3) and
      what stands for channels is smooth (0.6 at least); or there are more channels than samples,
      and time is not clearly the smoother of both.
    - A table, each row a series of one channel: it is smooth down the columns and rough along the
      rows, so its rows are times.

    Lines of fewer than 8 points say nothing.

    Args:
        who: Who asks, for the error's text.
        arrays: Each `(channels, length)`.
        table: Whether they came as rows of one channel.

    Raises:
        ValueError: If so.
    """
    shape = arrays[0].shape
    if table:
        if len(arrays) >= LEAST:
            _check_table(who, arrays[:MOST_ROWS])
        return
    if shape[0] < LEAST:
        return
    step = -(-len(arrays) // MOST_CASES)
    across, along = _both(arrays[::step])
    longest = max(array.shape[1] for array in arrays)
    likely = across >= SMOOTH and along <= ROUGH
    if shape[0] > longest:
        likely = not along >= across + AHEAD
    if likely:
        raise ValueError(
            f"{who}: series must be (channels, length); got {shape[0]} channels of {longest} "
            f"samples that look like (length, channels): neighbours correlate by {across:.2f} "
            f"across channels and by {along:.2f} along time; give layout='channels_last' if so, "
            f"and layout='channels_first' if not"
        )


def _both(arrays: Sequence[Array]) -> tuple[float, float]:
    """Smoothness across the channels and along time."""
    across = [smoothness(array, 0) for array in arrays]
    along = [smoothness(array, 1) for array in arrays]
    return _mean(across), max(_mean(along), _mean([smoothness(_centred(a, 0), 1) for a in arrays]))


def _check_table(who: str, arrays: Sequence[Array]) -> None:
    if len({array.shape for array in arrays}) > 1 or arrays[0].shape[1] < LEAST:
        return
    x = np.concatenate(list(arrays))
    along = max(smoothness(x, 1), smoothness(_standard(x), 1))
    if not along <= ROUGH:
        return
    # Without what all columns share, which may be the levels of series and no course of time.
    down = min(smoothness(x, 0), smoothness(_centred(_standard(x), 1), 0))
    if down >= SMOOTH:
        raise ValueError(
            f"{who}: X must be (cases, length), each row a series; got {x.shape[0]} rows of "
            f"{x.shape[1]} that look like a table whose rows are times: neighbours correlate by "
            f"{down:.2f} down the columns and by {along:.2f} along the rows; cut it into "
            f"windows (ssltok.data.windows), or give X.T[None] if it is one long series, or "
            f"layout='channels_first' if each row is a series"
        )


def _centred(x: Array, axis: int) -> Array:
    known = np.isfinite(x)
    count = np.maximum(known.sum(axis, keepdims=True), 1)
    centred: Array = x - np.where(known, x, 0.0).sum(axis, keepdims=True) / count
    return centred


def _standard(x: Array) -> Array:
    """Columns without level and in units of their size."""
    centred = _centred(x, 0)
    size = np.abs(np.where(np.isfinite(centred), centred, 0.0)).max(0, keepdims=True)
    level = np.abs(np.where(np.isfinite(x), x, 0.0)).max(0, keepdims=True)
    scaled: Array = centred / np.where(size > 1e-9 * level, size, np.inf)
    return scaled


def _mean(values: Sequence[Any]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
