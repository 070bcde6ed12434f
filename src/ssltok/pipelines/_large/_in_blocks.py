"""Functions of series a block at a time: of what is on disk, only the results are held."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ssltok._shared.portions import AT_ONCE
from ssltok.data import SeriesSet, SourceSet

__all__ = ["blocks_of", "in_blocks"]

LARGEST = 2**25  # values of a block


def blocks_of(data: SeriesSet | SourceSet) -> Iterator[SeriesSet]:
    """The series in order, at most 256 at a time; how many depends on their shape alone."""
    cases, channels, length = data.shape
    rows = max(1, min(AT_ONCE, LARGEST // (channels * length)))
    for first in range(0, cases, rows):
        yield data.take(torch.arange(first, min(first + rows, cases)))


def in_blocks(data: SeriesSet | SourceSet, function: Callable[[SeriesSet], Tensor]) -> Tensor:
    """A function of series, block by block: the same for series in memory and on disk.

    Args:
        data: The series.
        function: From a block to `(cases, ...)`, the same shape for each series of the set.

    Returns:
        The results of all series.
    """
    whole, first = torch.empty(0), 0
    for block in blocks_of(data):
        part = function(block)
        if not first:
            whole = part.new_empty((data.cases, *part.shape[1:]))
        whole[first : first + len(part)] = part
        first += len(part)
    return whole
