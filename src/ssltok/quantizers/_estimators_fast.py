"""Estimators whose values are exact, with their gradients written by hand."""

from typing import Any

import torch
from torch import Tensor

from ssltok._shared.numerics import upcast
from ssltok.quantizers._transforms import QuickFunction

__all__ = ["rotation_trick_fast", "straight_through_fast"]


def straight_through_fast(latents: Tensor, quantized: Tensor) -> Tensor:
    """Do as `straight_through_plain`, with exactly the value of `quantized`."""
    function: Any = _StraightThrough if torch.compiler.is_compiling() else _StraightThroughForward
    vectors: Tensor = function.apply(latents, quantized.detach())
    return vectors


def rotation_trick_fast(latents: Tensor, quantized: Tensor) -> Tensor:
    """Do as `rotation_trick_plain`, with exactly the value of `quantized`."""
    function: Any = _Rotation if torch.compiler.is_compiling() else _RotationForward
    vectors: Tensor = function.apply(latents, quantized.detach())
    return vectors


class _StraightThrough(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(latents: Tensor, quantized: Tensor) -> Tensor:
        return quantized.view_as(quantized)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.dtypes = tuple(tensor.dtype for tensor in inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.to(ctx.dtypes[0]), None


class _StraightThroughForward(QuickFunction, _StraightThrough):
    """With a forward derivative, which compilers refuse: they get the class itself."""

    @staticmethod
    def jvp(ctx: Any, latents: Tensor, quantized: Tensor | None) -> Tensor:
        return latents.to(ctx.dtypes[1])


class _Rotation(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(latents: Tensor, quantized: Tensor) -> Tensor:
        return quantized.view_as(quantized)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        latents, quantized = ctx.saved_tensors
        x, q, scale, defined = _units(latents, quantized)
        w, wide = _between(x, q), upcast(grad)
        turned = wide - 2 * w * _dot(w, wide) + 2 * x * _dot(q, wide)
        to_latents: Tensor = torch.where(defined, scale * turned, wide)
        return to_latents.to(latents.dtype), None


class _RotationForward(QuickFunction, _Rotation):
    """With a forward derivative, which compilers refuse: they get the class itself."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, quantized_tangent: Tensor | None) -> Tensor:
        latents, quantized = ctx.saved_tensors
        x, q, scale, defined = _units(latents, quantized)
        w, wide = _between(x, q), upcast(tangent)
        turned = wide - 2 * w * _dot(w, wide) + 2 * q * _dot(x, wide)
        rotated: Tensor = torch.where(defined, scale * turned, wide)
        return rotated.to(quantized.dtype)


def _units(latents: Tensor, quantized: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return both directions, the ratio of lengths, and where there is a rotation; constants."""
    x, q = upcast(latents.detach()), upcast(quantized.detach())
    x_length, q_length = _length(x), _length(q)
    tiny = torch.finfo(x.dtype).tiny ** 0.5
    x, q = x / x_length.clamp(min=tiny), q / q_length.clamp(min=tiny)
    defined = (x_length > tiny) & (q_length > tiny) & (_length(x + q) > 1e-3)
    return x, q, q_length / x_length.clamp(min=tiny), defined


def _between(x: Tensor, q: Tensor) -> Tensor:
    w = x + q
    return w / _length(w).clamp(min=torch.finfo(w.dtype).tiny ** 0.5)


def _length(v: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    return length


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1, keepdim=True)
