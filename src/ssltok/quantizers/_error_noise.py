"""Noise of the quantization error's length, through which gradients reach codes and latents."""

import torch
from torch import Tensor

from ssltok._shared.numerics import upcast

__all__ = ["with_error_along"]


def with_error_along(latents: Tensor, quantized: Tensor, direction: Tensor) -> Tensor:
    r"""Move latents by their quantization error's length in some direction.

    $$\tilde q = x + \lVert q - x \rVert \, \mathrm{sg}\Big[\frac{v}{\lVert v \rVert}\Big]$$

    The length has a gradient to latents and codes. Where there is no error or no direction,
    nothing moves and the gradient is that of the latents.

    Args:
        latents: $x$, `(tokens, dim)`.
        quantized: $q$, the same shape.
        direction: $v$, the same shape; constant.

    Returns:
        The vectors, in the dtype of `quantized`.
    """
    x, q, v = upcast(latents), upcast(quantized), upcast(direction).detach()
    tiny = torch.finfo(x.dtype).tiny ** 0.5
    size = v.norm(dim=1, keepdim=True)
    unit = torch.where(size > tiny, v / size.clamp(min=tiny), 0.0)
    error = q - x
    moved = error.detach().abs().sum(dim=1, keepdim=True) > tiny
    length = torch.where(moved, error, 1.0).norm(dim=1, keepdim=True)
    vectors: Tensor = (x + torch.where(moved, length, 0.0) * unit).to(quantized.dtype)
    return vectors
