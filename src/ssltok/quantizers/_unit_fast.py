"""Vectors of length 1, with little memory on the way back."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

import ssltok.quantizers._tuning as tuning
from ssltok.quantizers._unit import UNIT_EPS

__all__ = ["unit_rows_fast"]


def unit_rows_fast(rows: Tensor) -> Tensor:
    """Do as `unit_rows_plain` for `(tokens, dim)`, to the bit.

    The backward pass of `torch.nn.functional.normalize` fills six tensors of this size where one is
    enough.
    """
    return cast("Tensor", _UnitRows.apply(rows))  # type: ignore[no-untyped-call]


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)
        ctx.save_for_backward(tokens, norm)
        unit: Tensor = tokens / norm.clamp_min(UNIT_EPS)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        tokens, norm = ctx.saved_tensors
        rows = max(tuning.UNIT_NUMBERS // max(tokens.shape[1], 1), 1)
        if torch.compiler.is_compiling() or tokens.shape[0] <= rows:
            return _slope(tokens, norm, grad)
        parts = zip(*(x.split(rows) for x in (tokens, norm, grad)), strict=True)
        slopes = torch.empty_like(tokens)
        for place, part in zip(slopes.split(rows), parts, strict=True):
            place.copy_(_slope(*part))
        return slopes


def _slope(tokens: Tensor, norm: Tensor, grad: Tensor) -> Tensor:
    length = norm.clamp_min(UNIT_EPS)
    along = (tokens / length).div_(length).mul_(grad).sum(dim=-1, keepdim=True).neg_()
    along.masked_fill_(norm < UNIT_EPS, 0.0)  # there the length is a constant
    return (tokens / norm.clamp_min(torch.finfo(norm.dtype).tiny)).mul_(along).add_(grad / length)
