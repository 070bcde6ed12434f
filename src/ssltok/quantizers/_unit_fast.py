"""Vectors of length 1, with little memory on the way back."""

from typing import Any, cast

import torch
from torch import Tensor

import ssltok.quantizers._tuning as tuning
from ssltok.quantizers._transforms import QuickFunction
from ssltok.quantizers._unit import UNIT_EPS

__all__ = ["unit_rows_fast"]


def unit_rows_fast(rows: Tensor) -> Tensor:
    """Do as `unit_rows_plain` for `(tokens, dim)`, to the bit.

    The backward pass of `torch.nn.functional.normalize` fills six tensors of this size where one is
    enough.
    """
    function: Any = _UnitRows if torch.compiler.is_compiling() else _UnitRowsForward
    return cast("Tensor", function.apply(rows)[0])


class _UnitRows(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(tokens: Tensor) -> tuple[Tensor, Tensor]:
        norm = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)
        return tokens / norm.clamp_min(UNIT_EPS), norm

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)  # no zeros for what gets no gradient
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], output[1])
        ctx.save_for_forward(inputs[0], output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Tensor | None:
        grad = grads[0]
        if grad is None:
            return None
        tokens, norm = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            norm = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)
            return _slope(tokens, norm, grad)
        rows = max(tuning.UNIT_NUMBERS // max(tokens.shape[1], 1), 1)
        if torch.compiler.is_compiling() or tokens.shape[0] <= rows:
            return _slope(tokens, norm, grad)
        parts = zip(*(x.split(rows) for x in (tokens, norm, grad)), strict=True)
        slopes = torch.empty_like(grad, memory_format=torch.contiguous_format)
        for place, part in zip(slopes.split(rows), parts, strict=True):
            place.copy_(_slope(*part))
        return slopes


class _UnitRowsForward(QuickFunction, _UnitRows):
    """With a forward derivative, which compilers refuse: they get the class itself."""

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor, None]:
        tokens, norm = ctx.saved_tensors
        return _slope(tokens, norm, tangents[0]), None  # the slope is symmetric


def _slope(tokens: Tensor, norm: Tensor, grad: Tensor) -> Tensor:
    length = norm.clamp_min(UNIT_EPS)
    along = -(tokens / length / length * grad).sum(dim=-1, keepdim=True)
    along = along.masked_fill(norm < UNIT_EPS, 0.0)  # there the length is a constant
    return tokens / norm.clamp_min(torch.finfo(norm.dtype).tiny) * along + grad / length
