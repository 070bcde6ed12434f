"""Estimators whose values are exact, with their gradients written by hand."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssltok._shared.numerics import upcast

__all__ = ["rotation_trick_fast", "straight_through_fast"]


def straight_through_fast(latents: Tensor, quantized: Tensor) -> Tensor:
    """Do as `straight_through_plain`, with exactly the value of `quantized`."""
    vectors: Tensor = _StraightThrough.apply(latents, quantized.detach())  # type: ignore[no-untyped-call]
    return vectors


def rotation_trick_fast(latents: Tensor, quantized: Tensor) -> Tensor:
    """Do as `rotation_trick_plain`, with exactly the value of `quantized`."""
    vectors: Tensor = _Rotation.apply(latents, quantized.detach())  # type: ignore[no-untyped-call]
    return vectors


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latents: Tensor, quantized: Tensor) -> Tensor:
        ctx.dtype = latents.dtype
        return quantized.view_as(quantized)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        dtype: torch.dtype = ctx.dtype
        return grad.to(dtype), None


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latents: Tensor, quantized: Tensor) -> Tensor:
        ctx.save_for_backward(latents, quantized)
        return quantized.view_as(quantized)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        latents, quantized = ctx.saved_tensors
        x, q = upcast(latents), upcast(quantized)
        wide = upcast(grad)
        x_length, q_length = _length(x), _length(q)
        tiny = torch.finfo(x.dtype).tiny ** 0.5
        x_unit, q_unit = x / x_length.clamp(min=tiny), q / q_length.clamp(min=tiny)
        w = x_unit + q_unit
        w_length = _length(w)
        w = w / w_length.clamp(min=tiny)
        turned = wide - 2 * w * _dot(w, wide) + 2 * x_unit * _dot(q_unit, wide)
        defined = (x_length > tiny) & (q_length > tiny) & (w_length > 1e-3)
        scale = q_length / x_length.clamp(min=tiny)
        to_latents: Tensor = torch.where(defined, scale * turned, wide)
        dtype: torch.dtype = latents.dtype
        return to_latents.to(dtype), None


def _length(v: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    return length


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1, keepdim=True)
