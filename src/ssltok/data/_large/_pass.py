"""One pass over a source: checks, statistics and a digest, shared among the processes."""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssltok._shared.extras import need
from ssltok._shared.moments import Moments, merge_moments
from ssltok._shared.ranks import in_a_group, sum_over_ranks
from ssltok.data._large._blocks import BlockFacts, block_facts, block_rows, row_sums
from ssltok.data._large._side_file import (
    Statistics,
    facts_of,
    read_side_file,
    side_file,
    write_side_file,
)
from ssltok.data._large._source import SeriesSource, bytes_of
from ssltok.data._series_set import SHORTEST, far_channels
from ssltok.distributed import is_first, rank_and_world

__all__ = ["statistics"]

Tell = Callable[[str], None] | None


def statistics(
    source: SeriesSource, *, who: str = "statistics", progress: bool = False, tell: Tell = None
) -> Statistics:
    """Read a source once, or what an earlier pass left beside it.

    The processes of a group call it together; each reads its own share of the blocks.

    Args:
        source: The series.
        who: Who asks, for the error's text.
        progress: Show a bar, where there is a terminal.
        tell: Gets a line before the pass.

    Returns:
        The statistics, the same on all processes.

    Raises:
        ValueError: What `read_series` raises for the same rows, on all processes; or if the file
            was changed while it was read.
    """
    known = read_side_file(source)
    _rank, world = rank_and_world()
    if int(sum_over_ranks(torch.tensor([int(known is not None)]))) == world and known is not None:
        return known
    facts = facts_of(source)
    size = bytes_of(source)
    if tell is not None:
        where = "" if side_file(source) is None else "; kept beside the data"
        tell(f"reading {len(source)} series once ({size / 2**30:.2f} GiB as float32) for checks, "
             f"statistics and a digest{where}")  # fmt: skip
    run = _Pass(who, source, progress)
    offset, length = torch.zeros(source.channels, dtype=torch.float64), source.length
    parts = run.facts(length, offset)
    low, high = parts.low.min(0), parts.high.max(0)
    silent = np.flatnonzero(parts.known.sum(0) == 0)
    if len(silent):
        raise ValueError(
            f"{who}: every channel must hold a value in some series; "
            f"got only NaN in channel {int(silent[0])} of {source.channels}"
        )
    longest = int(parts.lengths.max())
    if longest < SHORTEST:
        raise ValueError(
            f"{who}: series must have at least {SHORTEST} samples; got {longest} at most"
        )
    far = far_channels(who, low, high)
    if far:  # the mean about the lowest value, then the facts about that mean: two more passes
        offset = run.offset(far, low, high, parts.known.sum(0))
    if far or longest < length:
        parts = run.facts(longest, offset)
    digest = hashlib.sha256(json.dumps([len(source), source.channels, source.length]).encode())
    digest.update(parts.checks.tobytes() + np.stack([low, high]).tobytes())
    for part in (*parts.moments, parts.lengths, offset):
        digest.update(part.contiguous().numpy().tobytes())
    gaps = bool((parts.known.sum(0) < len(source) * longest).any())
    result = Statistics(
        merge_moments(parts.moments), offset, parts.lengths, gaps, digest.hexdigest()
    )
    if facts_of(source) != facts:
        raise ValueError(f"{who}: the file must stay as it is while it is read; got another")
    if is_first():
        write_side_file(source, result, facts)
    return result


class _Parts:
    """The facts of all blocks, `(blocks, channels)` each, in order."""

    def __init__(self, table: NDArray[np.float64], channels: int, lengths: Tensor) -> None:
        parts = table[:, 1:].reshape(len(table), 8, channels)
        self.checks = table[:, 0].astype(np.uint32)
        self.low, self.high, self.known = parts[:, 0], parts[:, 1], parts[:, 2]
        self.moments = Moments(*(torch.from_numpy(parts[:, k].copy()) for k in range(3, 8)))
        self.lengths = lengths


class _Pass:
    """The blocks of a source, of which this process reads a share."""

    def __init__(self, who: str, source: SeriesSource, progress: bool) -> None:  # noqa: FBT001
        self.who, self.source = who, source
        self.rows = block_rows(len(source), source.channels, source.length)
        self.blocks = -(-len(source) // self.rows)
        rank, world = rank_and_world()
        self.share = range(self.blocks * rank // world, self.blocks * (rank + 1) // world)
        self.progress = progress and rank == 0

    def facts(self, length: int, offset: Tensor) -> _Parts:
        """One pass for the facts of every block."""
        cases, channels = len(self.source), self.source.channels
        table = torch.zeros(self.blocks, 1 + 8 * channels, dtype=torch.float64)
        lengths: list[tuple[int, Tensor]] = []

        def read(block: int, first: int, raw: NDArray[Any]) -> None:
            facts = block_facts(self.who, first, raw, length, offset)
            table[block] = _row(facts)
            if facts.lengths is not None:
                lengths.append((first, facts.lengths))

        self._run(read)
        table = sum_over_ranks(table)
        ends = torch.full((1,), length).expand(cases)
        if int(sum_over_ranks(torch.tensor([len(lengths)]))):
            short = torch.zeros(cases, dtype=torch.int64)
            for first, part in lengths:
                short[first : first + len(part)] = length - part
            ends = length - sum_over_ranks(short)
        return _Parts(table.numpy(), channels, ends)

    def offset(
        self,
        far: list[int],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        known: NDArray[np.float64],
    ) -> Tensor:
        """The offsets of `read_series`: the mean of channels far from 0, summed about `low`."""
        sums = torch.zeros(len(self.source), len(far), dtype=torch.float64)

        def read(block: int, first: int, raw: NDArray[Any]) -> None:
            for place, channel in enumerate(far):
                part = row_sums(raw, channel, float(low[channel]))
                sums[first : first + len(raw), place] = torch.from_numpy(part)

        self._run(read)
        sums = sum_over_ranks(sums)
        offset = np.zeros(self.source.channels)
        for place, channel in enumerate(far):
            offset[channel] = low[channel]
            if high[channel] > low[channel]:
                ordered = np.sort(sums[:, place].numpy())
                offset[channel] += sum(float(value) for value in ordered) / known[channel]
        return torch.from_numpy(offset)

    def _run(self, read: Callable[[int, int, NDArray[Any]], None]) -> None:
        """Read this process's blocks; what one process finds wrong, all of them raise."""
        error: Exception | None = None
        try:
            for block in self._shown():
                first = block * self.rows
                read(block, first, self.source.take(slice(first, first + self.rows)))
        except (ValueError, TypeError) as fact:
            error = fact
        if not in_a_group():
            if error is not None:
                raise error
            return
        if int(sum_over_ranks(torch.tensor([int(error is not None)]))):
            if error is not None:
                raise error
            raise ValueError(f"{self.who}: the series must be readable; another process says why")

    def _shown(self) -> Iterator[int]:
        size = bytes_of(self.source, self.rows)
        bar = need(self.who, "tqdm").tqdm(
            total=len(self.share) * size, desc="reading", unit="B", unit_scale=True,
            disable=None if self.progress else True,
        ) if self.progress else None  # fmt: skip
        try:
            for block in self.share:
                yield block
                if bar is not None:
                    bar.update(size)
        finally:
            if bar is not None:
                bar.close()


def _row(facts: BlockFacts) -> Tensor:
    parts = [torch.from_numpy(part) for part in (facts.low, facts.high, facts.known)]
    row = torch.stack([*parts, *facts.moments]).flatten() + 0.0  # -0.0 is 0.0
    return torch.cat([torch.tensor([float(facts.check)], dtype=torch.float64), row])
