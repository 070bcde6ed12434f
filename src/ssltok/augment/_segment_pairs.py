"""Pairs of segments and a question: in which order (ALBERT), and is it the next one (BERT)?"""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.augment._draw import check_series, gather_real, uniform

__all__ = ["SegmentPairs", "next_segment_pairs", "segment_order_pairs"]


class SegmentPairs(NamedTuple):
    """Two segments of each series, which of their samples are real, and the answer.

    `first` and `second` are `(batch, channels, segment)`, `first_valid` and `second_valid`
    `(batch, segment)`, `labels` `(batch,)`, int64, 0 or 1.
    """

    first: Tensor
    second: Tensor
    first_valid: Tensor
    second_valid: Tensor
    labels: Tensor


def segment_order_pairs(
    series: Tensor,
    *,
    segment: int,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> SegmentPairs:
    """Cut two neighbouring segments out of each series and swap them in half of the cases.

    ALBERT's question: label 1 says that `first` comes first, 0 that the two were swapped. Both
    come from one series, so that what it is about does not give the answer away.

    Args:
        series: `(batch, channels, length)`, length `2 * segment` or more.
        segment: Samples of a segment.
        valid: True where a sample is real, `(batch, length)`. The real samples are cut as if they
            were adjacent; of a series with fewer than `2 * segment` the pair begins at the first,
            and what is missing at the end is marked. By default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        `SegmentPairs`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.

    Example:
        >>> import torch
        >>> from ssltok.augment import segment_order_pairs
        >>> pairs = segment_order_pairs(torch.arange(9.0).expand(50, 1, -1), segment=3)
        >>> step = (pairs.second - pairs.first)[:, 0, 0]  # 3 in order, -3 swapped
        >>> torch.equal(pairs.labels, (step > 0).long())
        True

    References:
        Lan et al., *ALBERT*, 2019, <https://arxiv.org/abs/1909.11942>, section 3.1.
    """
    who = "segment_order_pairs"
    check_at_least(who, "segment", segment, 1)
    check_series(who, series, valid, generator, least_length=2 * segment)
    together, lengths = gather_real(series, valid)
    starts = _starts(series, lengths, 2 * segment, generator)
    both, real = _cut(together, lengths, starts, 2 * segment)
    labels = _toss(series, generator)
    halves, real_halves = both.split(segment, dim=2), real.split(segment, dim=1)
    in_order = labels[:, None] == 1
    return SegmentPairs(
        torch.where(in_order[..., None], halves[0], halves[1]),
        torch.where(in_order[..., None], halves[1], halves[0]),
        torch.where(in_order, real_halves[0], real_halves[1]),
        torch.where(in_order, real_halves[1], real_halves[0]),
        labels,
    )


def next_segment_pairs(
    series: Tensor,
    *,
    segment: int,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> SegmentPairs:
    """Cut a segment out of each series and put the next one beside it, or one of another series.

    BERT's question: label 1 says that `second` follows `first`, 0, in half of the cases, that it
    is a random segment of another series of the batch.

    Args:
        series: `(batch, channels, length)`, batch 2 or more, length `2 * segment` or more.
        segment: Samples of a segment.
        valid: True where a sample is real, `(batch, length)`. The real samples are cut as if they
            were adjacent; of a series with fewer than `2 * segment` the pair begins at the first,
            and what is missing at the end is marked. By default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        `SegmentPairs`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.

    Example:
        >>> import torch
        >>> from ssltok.augment import next_segment_pairs
        >>> series = torch.arange(9.0) + torch.tensor([0.0, 100.0])[:, None, None]
        >>> pairs = next_segment_pairs(series, segment=3)
        >>> apart = (pairs.second - pairs.first).abs().mean((1, 2))  # 3, or about 100
        >>> torch.equal(pairs.labels, (apart == 3).long())
        True

    References:
        Devlin et al., *BERT*, 2018, <https://arxiv.org/abs/1810.04805>, section 3.1, task 2.
    """
    who = "next_segment_pairs"
    check_at_least(who, "segment", segment, 1)
    check_series(who, series, valid, generator, least_length=2 * segment)
    batch = series.shape[0]
    check_at_least(who, "batch", batch, 2)
    together, lengths = gather_real(series, valid)
    starts = _starts(series, lengths, 2 * segment, generator)
    both, real = _cut(together, lengths, starts, 2 * segment)
    rows = torch.arange(batch, device=series.device)
    away = (uniform((batch,), series, generator) * (batch - 1)).long().clamp(max=batch - 2)
    others = (rows + 1 + away) % batch
    other_starts = _starts(series, lengths[others], segment, generator)
    other, other_real = _cut(together[others], lengths[others], other_starts, segment)
    labels = _toss(series, generator)
    follows = labels[:, None] == 1
    return SegmentPairs(
        both[:, :, :segment],
        torch.where(follows[..., None], both[:, :, segment:], other),
        real[:, :segment],
        torch.where(follows, real[:, segment:], other_real),
        labels,
    )


def _starts(
    series: Tensor, lengths: Tensor, size: int, generator: torch.Generator | None
) -> Tensor:
    """Draw where a part of `size` samples begins, `(batch, 1)`."""
    room = (lengths - size).clamp(min=0)
    drawn = uniform((len(lengths), 1), series, generator)
    return (drawn * (room + 1)).long().minimum(room)


def _cut(together: Tensor, lengths: Tensor, starts: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return `size` samples from `starts` on, and which of them are real."""
    places = starts + torch.arange(size, device=starts.device)
    wide = places[:, None].expand(-1, together.shape[1], -1)
    return together.gather(2, wide), places < lengths


def _toss(series: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw 0 or 1 for each series."""
    return (uniform((series.shape[0],), series, generator) < 0.5).long()
