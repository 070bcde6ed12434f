"""Rounding to levels with one transcendental function and a gradient written by hand."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssltok.quantizers._rounding import FSQ_EPS

__all__ = ["level_table", "round_to_levels_fast"]


def round_to_levels_fast(
    tokens: Tensor, levels: Tensor, dtype: torch.dtype, *, table: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Do as `round_to_levels_plain`; `table` is `level_table(levels, tokens.dtype)` if at hand."""
    table = level_table(levels, tokens.dtype) if table is None else table
    shift, span, low, half, slope = table.unbind()
    squashed = torch.add(shift, tokens.detach(), alpha=2).sigmoid_()
    places = torch.addcmul(low, squashed, span).round_().add_(0.0)  # no -0
    rounded = (places / half).to(dtype)
    values: Tensor = _Bound.apply(tokens, rounded, squashed, slope)  # type: ignore[no-untyped-call]
    return values, places


def level_table(levels: Tensor, dtype: torch.dtype) -> Tensor:
    r"""Return what the bound of each channel adds, multiplies by and divides by, `(5, dim)`.

    With $\tanh(x) = 2 \sigma(2 x) - 1$ the bound is
    $(L - 1) (1 - \epsilon) \, \sigma(2 z + 2 s) + (L - 1) \epsilon / 2 - \lfloor L / 2 \rfloor$.
    """
    span, half = (levels - 1).to(dtype), (levels // 2).to(dtype)
    shift = ((0.5 - 0.5 * levels.remainder(2)) / (span * ((1 - FSQ_EPS) / 2))).atanh()
    slope = 2 * (1 - FSQ_EPS) * span / half
    return torch.stack([2 * shift, span * (1 - FSQ_EPS), span * (FSQ_EPS / 2) - half, half, slope])


class _Bound(torch.autograd.Function):
    """The rounded values, with the gradient of the bound at the tokens."""

    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, rounded: Tensor, squashed: Tensor, slope: Tensor
    ) -> Tensor:
        ctx.save_for_backward(squashed, slope)
        return rounded.view_as(rounded)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        squashed, slope = ctx.saved_tensors
        bounded: Tensor = torch.ops.aten.sigmoid_backward(grad.to(slope.dtype), squashed)
        return bounded.mul_(slope), None, None, None
