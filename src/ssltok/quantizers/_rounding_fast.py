"""Rounding to levels with one transcendental function and a gradient written by hand."""

from typing import Any

import torch
from torch import Tensor

from ssltok.quantizers._rounding import FSQ_EPS
from ssltok.quantizers._transforms import QuickFunction

__all__ = ["level_table", "round_to_levels_fast"]


def round_to_levels_fast(
    tokens: Tensor, levels: Tensor, dtype: torch.dtype, *, table: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Do as `round_to_levels_plain`; `table` is `level_table(levels, tokens.dtype)` if at hand."""
    table = level_table(levels, tokens.dtype) if table is None else table
    function: Any = _Bound if torch.compiler.is_compiling() else _BoundForward
    values, places, _ = function.apply(tokens, table, dtype)
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
    """The rounded values, with the gradient of the bound at the tokens.

    The sigmoid is a result with a gradient of its own, so that what is kept for the way back has
    derivatives too.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(tokens: Tensor, table: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        shift, span, low, half, _ = table.unbind()
        squashed = torch.add(shift, tokens, alpha=2).sigmoid_()
        places = torch.addcmul(low, squashed, span).round_().add_(0.0)  # no -0
        return (places / half).to(dtype), places, squashed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[2], inputs[1])
        ctx.save_for_forward(output[2], inputs[1])
        ctx.dtype = inputs[2]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None]:
        squashed, table = ctx.saved_tensors
        total: Tensor | None = None
        for grad, slope in ((grads[0], table[4]), (grads[2], 2.0)):
            if grad is not None:
                by_sigmoid = torch.ops.aten.sigmoid_backward(grad.to(squashed.dtype), squashed)
                total = by_sigmoid.mul_(slope) if total is None else total + by_sigmoid * slope
        return total, None, None


class _BoundForward(QuickFunction, _Bound):
    """With a forward derivative, which compilers refuse: they get the class itself."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor, None, Tensor]:
        squashed, table = ctx.saved_tensors
        by_sigmoid = torch.ops.aten.sigmoid_backward(tangent, squashed)
        return (by_sigmoid * table[4]).to(ctx.dtype), None, by_sigmoid * 2
