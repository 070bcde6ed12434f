"""How long spans are: rules for the `lengths` of `span_mask`, the four modes of fairseq."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_positive
from ssltok._shared.described import described

__all__ = ["SpanLengths", "fixed_spans", "normal_spans", "poisson_spans", "uniform_spans"]

SpanLengths = Callable[[Tensor, torch.Generator | None], Tensor]
"""From an int64 tensor to be shaped like, and a generator, to lengths of spans (int64)."""


@described
def fixed_spans(length: int) -> SpanLengths:
    """Make every span `length` tokens long (fairseq's `static`; wav2vec 2.0 uses 10).

    Args:
        length: Tokens of a span, at least 1.

    Returns:
        A rule for the `lengths` of `span_mask`.

    Raises:
        ValueError: If `length < 1`.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.masking import fixed_spans
        >>> fixed_spans(3)(torch.zeros(2, dtype=torch.int64), None)
        tensor([3, 3])
    """
    check_at_least("fixed_spans", "length", length, 1)
    return lambda like, generator: torch.full_like(like, length)


@described
def uniform_spans(low: int, high: int) -> SpanLengths:
    """Draw lengths uniformly from `low` to `high`, both included (fairseq's `uniform`).

    Args:
        low: Shortest span, at least 1.
        high: Longest span.

    Returns:
        A rule for the `lengths` of `span_mask`.

    Raises:
        ValueError: If not `1 <= low <= high`.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.masking import uniform_spans
        >>> uniform_spans(4, 4)(torch.zeros(2, dtype=torch.int64), None)
        tensor([4, 4])
    """
    check_at_least("uniform_spans", "low", low, 1)
    check_at_least("uniform_spans", "high", high, low)
    return lambda like, generator: torch.randint(
        low, high + 1, like.shape, device=like.device, generator=generator
    )


@described
def normal_spans(mean: float, deviation: float) -> SpanLengths:
    """Draw lengths from a normal distribution, rounded, at least 1 (fairseq's `normal`).

    Args:
        mean: Mean length before rounding, above 0.
        deviation: Standard deviation, 0 or more.

    Returns:
        A rule for the `lengths` of `span_mask`.

    Raises:
        ValueError: If an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.masking import normal_spans
        >>> normal_spans(5.0, 0.0)(torch.zeros(2, dtype=torch.int64), None)
        tensor([5, 5])
    """
    check_positive("normal_spans", "mean", mean)
    check_at_least("normal_spans", "deviation", deviation, 0)

    def lengths(like: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(like.shape, device=like.device, generator=generator)
        return (mean + deviation * noise).round().long().clamp(min=1)

    return lengths


@described
def poisson_spans(mean: float) -> SpanLengths:
    """Draw lengths from a Poisson distribution (fairseq's `poisson`); zero becomes one.

    Args:
        mean: Mean of the distribution, above 0.

    Returns:
        A rule for the `lengths` of `span_mask`.

    Raises:
        ValueError: If `mean` is not positive.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.masking import poisson_spans
        >>> bool((poisson_spans(3.0)(torch.zeros(9, dtype=torch.int64), None) >= 1).all())
        True
    """
    check_positive("poisson_spans", "mean", mean)

    def lengths(like: Tensor, generator: torch.Generator | None) -> Tensor:
        rate = torch.full(like.shape, mean, device=like.device)
        return torch.poisson(rate, generator=generator).long().clamp(min=1)

    return lengths
