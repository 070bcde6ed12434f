"""Series on disk as a checked set: what `SeriesSet` is to training, without being in memory."""

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssltok._shared.identity import identity_of
from ssltok.data._large._blocks import check_rows, end_of, series_of
from ssltok.data._large._pass import Tell, statistics
from ssltok.data._large._side_file import Statistics
from ssltok.data._large._source import ArraySource, SeriesSource
from ssltok.data._series_set import SHORTEST, SeriesSet
from ssltok.data._upright import MOST_CASES, MOST_ROWS, check_layout, check_upright
from ssltok.data._values import as_float64

__all__ = ["SourceSet", "is_source", "read_source", "take_rows"]

Change = Callable[[SeriesSet], SeriesSet]
LOOKED_AT = 2**20  # values of a look for the longest series


class SourceSet:
    """Series of a source, of which `take` reads some; nothing else holds values.

    One pass finds out what is known of all of them: `measure` makes it, or reads what an earlier
    one left beside the data. What asks for more than the source's own shape makes it where none
    was made.

    Args:
        source: Where the series are.
        length: Samples to pad to, None for those of the longest.
        offset: What to take away; None is found by the pass.
        who: Who asks, for the error's text.
    """

    def __init__(
        self,
        source: SeriesSource,
        *,
        length: int | None = None,
        offset: Tensor | None = None,
        who: str,
    ) -> None:
        self.source, self.who = source, who
        self._length, self._change, self._offset = length, None, offset
        self._found: Statistics | None = None
        if offset is not None:  # no pass is to come: what is taken is checked then
            longest = self._longest()
            self._length = longest if length is None else length

    _change: Change | None

    def measure(self, *, progress: bool = False, tell: Tell = None) -> "SourceSet":
        """Check every value and take statistics, in one pass shared among the processes.

        Args:
            progress: Show a bar, where there is a terminal.
            tell: Gets a line before the pass.

        Returns:
            The set itself.

        Raises:
            ValueError: What `read_series` raises for the same series.
        """
        if self._found is None:
            result = statistics(self.source, who=self.who, progress=progress, tell=tell)
            longest = int(result.lengths.max())
            self._check_length(longest)
            self._found = result
        return self

    def _check_length(self, longest: int) -> None:
        if self._length is not None and longest > self._length:
            raise ValueError(
                f"{self.who}: series must have at most {self._length} samples, as in training; "
                f"got {longest}"
            )

    def _longest(self) -> int:
        """Samples of the longest series; it is looked for until one fills the source's length."""
        longest, cases = 0, len(self.source)
        rows = max(1, LOOKED_AT // (self.source.channels * self.source.length))
        for first in range(0, cases, rows):
            some = slice(first, min(first + rows, cases))
            longest = max(longest, end_of(self.who, self.source.take(some)))
            if longest == self.source.length:
                break
        if longest < SHORTEST:
            raise ValueError(
                f"{self.who}: series must have at least {SHORTEST} samples; got {longest} at most"
            )
        self._check_length(longest)
        return longest

    @property
    def statistics(self) -> Statistics:
        """What one pass found out."""
        self.measure()
        if self._found is None:
            raise RuntimeError("SourceSet: measure must find statistics; got none")
        return self._found

    @property
    def cases(self) -> int:
        """How many series there are; known without a pass."""
        return len(self.source)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cases, channels and length."""
        longest = int(self.statistics.lengths.max()) if self._length is None else self._length
        return len(self.source), self.source.channels, longest

    @property
    def lengths(self) -> Tensor:
        """Samples of each series before the padding, int64 `(cases,)`."""
        return self.statistics.lengths

    @property
    def offset(self) -> Tensor:
        """What is taken away from each channel, as in `SeriesSet`."""
        return self.statistics.offset if self._offset is None else self._offset

    def take(self, cases: Tensor) -> SeriesSet:
        """Read the series at these indices, as `read_series` would give them.

        Raises:
            ValueError: If a row holds what `read_series` refuses.
        """
        raw = self.source.take(cases.numpy())
        if self._offset is not None:
            check_rows(self.who, cases.tolist(), raw)
        taken = series_of(raw, self.shape[2], self.offset, who=self.who)
        return taken if self._change is None else self._change(taken)

    def changed(self, change: Change) -> "SourceSet":
        """The same series, of which each set that is taken is changed by a function of it."""
        self.measure()
        other = copy.copy(self)
        other._change = change
        return other

    def digest(self) -> str:
        """SHA-256 over checksums and statistics of all blocks, lengths, and what changes them."""
        if self._change is None:
            return self.statistics.digest
        change = json.dumps(identity_of(self._change), sort_keys=True)
        return hashlib.sha256(f"{self.statistics.digest} {change}".encode()).hexdigest()


def take_rows(series: SeriesSet | SourceSet, cases: Tensor, rows: slice) -> SeriesSet:
    """A batch of which only some rows are read: the share of a process.

    Args:
        series: The set.
        cases: The batch, int64.
        rows: The share.

    Returns:
        A set of all of `cases`, of which those outside `rows` have their lengths, and 0 for values.

    Example:
        >>> import torch
        >>> from ssltok.data import read_series, take_rows
        >>> series = read_series(torch.arange(24.0).reshape(3, 1, 8))
        >>> share = take_rows(series, torch.tensor([2, 0]), slice(1, 2))  # the second process's row
        >>> share.values[:, 0].tolist()
        [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]]
    """
    share = series.take(cases[rows])
    shape = (len(cases), *series.shape[1:])
    values, lengths = torch.zeros(shape), series.lengths[cases]
    valid = torch.zeros(shape, dtype=torch.bool)
    values[rows], valid[rows] = share.values, share.valid
    return SeriesSet(values, valid, lengths, share.offset)


def is_source(X: Any) -> bool:  # noqa: N803
    """Whether series are read from where they lie: a source, a set of one, or a mapped array.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import ArraySource, is_source
        >>> X = np.zeros((4, 1, 8), dtype=np.float32)
        >>> is_source(X), is_source(ArraySource(X))
        (False, True)
    """
    if isinstance(X, np.memmap):
        return getattr(X, "_mmap", None) is not None
    return isinstance(X, SeriesSource | SourceSet)


def read_source(
    X: Any,  # noqa: N803
    *,
    channels: int | None = None,
    length: int | None = None,
    offset: Tensor | None = None,
    layout: str | None = None,
    who: str = "read_source",
) -> SourceSet:
    """Open series that stay where they are, for `fit` and whatever else takes rows in batches.

    Nothing is read but a few rows: `measure` of the result reads all once, in blocks, and keeps
    what it finds beside the data (`X.npy.ssltok`), where that is one file opened for reading
    alone. It is read again whenever the file's size, times, inode or the part of it differ.

    Args:
        X: A `SeriesSource`, or a memory-mapped array `(cases, channels, length)` or
            `(cases, length)`; a `SourceSet` of the same length is given back.
        channels: Channels asked for, if the model fixes them.
        length: Samples to pad to; None takes the longest.
        offset: What to take away, float64 `(channels,)`, as for `read_series`. Then no pass is
            needed, and values are checked when they are taken.
        layout: As for `read_series`; sources say themselves how their numbers lie.
        who: Who asks, for the error's text.

    Returns:
        The set.

    Raises:
        ValueError: If the shape is none of series, or the layout is not given and very likely
            another; with an offset also if all series are too short, or one is too long.
        TypeError: If X is neither.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from ssltok.data import ArraySource, read_source
        >>> series = read_source(ArraySource(np.arange(32.0).reshape(2, 1, 16) ** 2))
        >>> series.cases, series.shape, series.take(torch.tensor([1])).values[0, 0, 0]
        (2, (2, 1, 16), tensor(256.))
    """
    check_layout(who, layout)
    if isinstance(X, SourceSet):
        if offset is None and layout != "channels_last" and length in (None, X._length):
            return X
        X = X.source
    if isinstance(X, np.ndarray):
        table = X.ndim == 2
        source: SeriesSource = ArraySource(X, layout=layout)
    elif isinstance(X, SeriesSource):
        source, table = X, False
        if layout == "channels_last":
            raise ValueError(
                f"{who}: layout must be that of the source itself, as in ArraySource(array, "
                f"layout=...); got {layout!r} beside {type(X).__name__}"
            )
    else:
        raise TypeError(
            f"{who}: X must be a source or a memory-mapped array; got {type(X).__name__}"
        )
    if not len(source):
        raise ValueError(f"{who}: X must hold at least one series; got none")
    if channels is not None and source.channels != channels:
        raise ValueError(
            f"{who}: every series must have {channels} channel(s); got {source.channels}"
        )
    if layout is None and offset is None and isinstance(X, np.ndarray):
        step = -(-len(source) // MOST_CASES)
        some = np.arange(len(source))[:MOST_ROWS] if table else np.arange(0, len(source), step)
        looked_at = as_float64(who, "X", source.take(some))
        if not np.isinf(looked_at).any():
            check_upright(who, list(looked_at), table=table)
    return SourceSet(source, length=length, offset=offset, who=who)
