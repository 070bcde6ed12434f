"""Vectors of length 1, with little memory on the way back."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["unit_tokens"]

CHUNK = 2**16
"""Numbers worked on at once in the backward pass: 256 KiB in float32."""
EPS = 1e-12


def unit_tokens(tokens: Tensor) -> Tensor:
    r"""Divide each row of `(tokens, dim)` by its norm, or by $10^{-12}$ if that is larger.

    Value and gradient are those of `torch.nn.functional.normalize`, whose backward pass fills
    six tensors of this size where one is enough.
    """
    return cast("Tensor", _UnitTokens.apply(tokens))  # type: ignore[no-untyped-call]


class _UnitTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)
        ctx.save_for_backward(tokens, norm)
        unit: Tensor = tokens / norm.clamp_min(EPS)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        tokens, norm = ctx.saved_tensors
        rows = max(CHUNK // max(tokens.shape[1], 1), 1)
        if torch.compiler.is_compiling() or tokens.shape[0] <= rows:
            return _slope(tokens, norm, grad)
        parts = zip(*(x.split(rows) for x in (tokens, norm, grad)), strict=True)
        slopes = torch.empty_like(tokens)
        for place, part in zip(slopes.split(rows), parts, strict=True):
            place.copy_(_slope(*part))
        return slopes


def _slope(tokens: Tensor, norm: Tensor, grad: Tensor) -> Tensor:
    length = norm.clamp_min(EPS)
    along = (tokens / length).div_(length).mul_(grad).sum(dim=-1, keepdim=True).neg_()
    along.masked_fill_(norm < EPS, 0.0)  # there the length is a constant
    return (tokens / norm.clamp_min(torch.finfo(norm.dtype).tiny)).mul_(along).add_(grad / length)
