"""Windows of long series, in memory or in the file that they come from."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssltok.data._large._source import SeriesSource, SubsetSource, WindowSource
from ssltok.data._large._source_set import is_source
from ssltok.data._long._windows import windows

__all__ = ["Cut", "cuts_of", "rows_of"]

CHUNK = 2**20  # windows whose ends are looked at together


class Cut(NamedTuple):
    """Windows `(windows, channels, size)`, where they begin, and how many were left out."""

    values: Any
    starts: NDArray[np.int64]
    out: int


def cuts_of(who: str, series: Any, size: int, stride: int) -> list[Cut]:
    """The windows of each series; those of a source stay in it."""
    if not is_source(series):
        return [_cut(who, item, size, stride) for item in series]
    if len(series) > 1:
        raise ValueError(
            f"{who}: a source must hold one long series to be cut into windows; "
            f"got {len(series)} series"
        )
    long = series.take(slice(0, 1))[0]
    _check_size(who, size, stride, long.shape[1])
    source = WindowSource(long, size, stride)
    ends, chunks = long[:, size - 1 :: stride], []
    for first in range(0, len(source), CHUNK):
        part = ends[:, first : first + CHUNK]
        chunks.append(np.isnan(part).all(axis=0) if long.dtype.kind == "f" else part[0] != part[0])
    gone = np.concatenate(chunks)
    left = np.flatnonzero(~gone)
    if not len(left):
        raise ValueError(f"{who}: some window must end with a value; got {len(gone)} without one")
    out = int(gone.sum())
    return [Cut(SubsetSource(source, left) if out else source, left * stride, out)]


def _check_size(who: str, size: int, stride: int, length: int) -> None:
    if not 1 <= size <= length or stride < 1:
        raise ValueError(
            f"{who}: a window must lie in [1, {length}], the length of the series, and its stride "
            f"be >= 1; got a window of {size} every {stride}"
        )


def _cut(who: str, series: Any, size: int, stride: int) -> Cut:
    array = np.atleast_2d(np.asarray(series))
    _check_size(who, size, stride, array.shape[-1])
    cut = windows(array, size, stride, partial=False)
    gone = np.isnan(cut.values[..., -1]).all(axis=1) if array.dtype.kind == "f" else np.array(False)
    if not gone.any():
        return Cut(cut.values, cut.starts, 0)
    if gone.all():
        raise ValueError(f"{who}: some window must end with a value; got {len(gone)} without one")
    return Cut(cut.values[~gone], cut.starts[~gone], int(gone.sum()))


def rows_of(values: Any, index: NDArray[np.int64]) -> Any:
    """The windows at rising indices; a view where these have no holes, as in a split in time."""
    if isinstance(values, SeriesSource):
        return SubsetSource(values, index)
    if len(index) and index[-1] - index[0] == len(index) - 1:
        return values[index[0] : index[-1] + 1]
    return values[index]
