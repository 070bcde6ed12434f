"""Pairs of segments and a question: in which order (ALBERT), and is it the next one (BERT)?"""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.augment._draw import check_series, gather_real, uniform

__all__ = ["SegmentPairs", "next_segment_pairs", "segment_order_pairs"]


class SegmentPairs(NamedTuple):
    """Two segments of each series, which of their samples are real, and the answer.

    Attributes:
        first: The one segment, `(batch, channels, segment)`.
        second: The other, of the same shape.
        first_valid: Which samples of `first` are real, `(batch, segment)`.
        second_valid: The same of `second`.
        labels: int64 `(batch,)`, 0 or 1, or -1 where a segment without a real sample leaves no
            question: `cross_entropy(..., ignore_index=-1)`.
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
    come from one series, so that what it is about does not give the answer away. Where a series
    has fewer than two real samples, the label is -1: there is no question.

    Args:
        series: `(batch, channels, length)`, length `2 * segment` or more.
        segment: Samples of a segment.
        valid: True where a sample is real, `(batch, length)`. The real samples are cut as if they
            were adjacent; fewer than `2 * segment` are cut into halves, so that both segments have
            equally many real samples, and what is missing at their ends is marked. By default all
            are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        `SegmentPairs`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

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
    sizes = (lengths // 2).clamp(max=segment)
    starts = _starts(uniform((len(series), 1), series, generator), lengths, 2 * sizes)
    labels = _toss(series, generator)
    in_order = labels[:, None] == 1
    firsts, seconds = starts + sizes * ~in_order, starts + sizes * in_order
    return _pairs((together, together), (firsts, seconds), sizes, segment, labels)


def next_segment_pairs(
    series: Tensor,
    *,
    segment: int,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> SegmentPairs:
    """Cut a segment out of each series and put the next one beside it, or one of another series.

    BERT's question: label 1 says that `second` follows `first`, 0, in half of the cases, that it
    is a random segment of another series of the batch. Where the series has fewer than two real
    samples, or the other one none, the label is -1: there is no question.

    Args:
        series: `(batch, channels, length)`, batch 2 or more, length `2 * segment` or more.
        segment: Samples of a segment.
        valid: True where a sample is real, `(batch, length)`. The real samples are cut as if they
            were adjacent. Both segments have equally many real samples, whatever the answer: with
            fewer than `2 * segment` in a series half of them, and never more than the series has
            that the other segment comes from. What is missing at their ends is marked. By default
            all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        `SegmentPairs`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

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
    draws = uniform((batch, 1), series, generator)
    rows = torch.arange(batch, device=series.device)
    away = (uniform((batch,), series, generator) * (batch - 1)).long().clamp(max=batch - 2)
    others = (rows + 1 + away) % batch
    sizes = (lengths // 2).clamp(max=segment).minimum(lengths[others])
    starts = _starts(draws, lengths, 2 * sizes)
    elsewhere = _starts(uniform((batch, 1), series, generator), lengths[others], sizes)
    labels = _toss(series, generator)
    follows = labels == 1
    seconds = torch.where(follows[:, None], starts + sizes, elsewhere)
    source = together[torch.where(follows, rows, others)]
    return _pairs((together, source), (starts, seconds), sizes, segment, labels)


def _starts(draws: Tensor, lengths: Tensor, sizes: Tensor) -> Tensor:
    """Turn draws from U[0, 1) into the beginnings of parts of `sizes` samples; all `(batch, 1)`."""
    room = (lengths - sizes.clamp(min=1)).clamp(min=0)
    return (draws * (room + 1)).long().minimum(room)


def _pairs(
    sources: tuple[Tensor, Tensor],
    starts: tuple[Tensor, Tensor],
    sizes: Tensor,
    segment: int,
    labels: Tensor,
) -> SegmentPairs:
    """Cut `sizes` samples from `starts` on, fill up with the last, and answer where there are any.

    `starts` and `sizes` are `(batch, 1)`.
    """
    steps = torch.arange(segment, device=sizes.device)
    inside = steps.minimum((sizes - 1).clamp(min=0))

    def cut(source: Tensor, start: Tensor) -> Tensor:
        return source.gather(2, (start + inside)[:, None].expand(-1, source.shape[1], -1))

    real = steps < sizes
    first, second = (cut(*part) for part in zip(sources, starts, strict=True))
    labels = labels.masked_fill(sizes[:, 0] == 0, -1)
    return SegmentPairs(first, second, real, real.clone(), labels)


def _toss(series: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw 0 or 1 for each series."""
    return (uniform((series.shape[0],), series, generator) < 0.5).long()
