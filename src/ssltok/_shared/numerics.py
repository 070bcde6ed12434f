"""Numerics that several components share: precision, centring, standardising, off-diagonals."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

__all__ = [
    "SHORTEST",
    "center",
    "directed",
    "full_precision",
    "off_diagonal",
    "standardize",
    "upcast",
]

SHORTEST = 1e-12  # the floor of a norm, as in `torch.nn.functional.normalize`


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context in which autocast is off on the device of `tensor`.

    Where it is off already, as mostly, nothing is entered: `torch.autocast` costs 7 microseconds.
    """
    device = tensor.device.type
    # The meta device, where shapes are asked for, has no autocast, and torch raises when asked.
    if device == "meta" or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device_type=device, enabled=False)


def upcast(tensor: Tensor) -> Tensor:
    """Return `tensor` in float32, or in float64 if it is float64 already."""
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def center(z: Tensor) -> Tensor:
    """Subtract each feature's mean over the batch, `(batch, dim)`."""
    return z - z.mean(dim=0, keepdim=True)


def standardize(z: Tensor, *, eps: float = 1e-5) -> Tensor:
    r"""Give each feature of `(batch, dim)` mean 0 and biased variance 1 over the batch.

    `eps` sits inside the root, as in batch normalisation: a constant feature becomes 0.
    """
    # Far from 0 the mean in float32 has lost digits: take it away twice. What is taken away has no
    # slope, for what follows does not see it.
    near = z - z.detach().mean(dim=0)
    return nn.functional.batch_norm(near, None, None, training=True, eps=eps)


def directed(rows: Tensor, *, dim: int = -1) -> Tensor:
    """Return rows ready to be divided by their norms: all but the extreme keep their bits.

    A row without a direction, no longer than `SHORTEST`, becomes 0 and gets no gradient; divided by
    the floor of its norm it would get 1e12 times what reaches it. A row too long to be squared is
    scaled down by a power of two.
    """
    length = torch.linalg.vector_norm(rows.detach(), dim=dim, keepdim=True)
    scale: Tensor = (length > SHORTEST).to(rows.dtype)
    directions: Tensor = rows * scale.masked_fill_(length > 2.0**62, 2.0**-66)
    return directions


def off_diagonal(matrix: Tensor) -> Tensor:
    """Return a square matrix with zeros on its diagonal."""
    return matrix - torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))
