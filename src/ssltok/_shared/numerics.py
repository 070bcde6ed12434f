"""Numerics that several components share: precision, centring, standardising, off-diagonals."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ssltok._shared.transforms import can_be_read

__all__ = [
    "LONGEST",
    "SHORTEST",
    "are_usual",
    "center",
    "directed",
    "direction_scale",
    "full_precision",
    "off_diagonal",
    "standardize",
    "upcast",
    "upcast_pair",
]

SHORTEST = 1e-12  # the floor of a norm, as in `torch.nn.functional.normalize`
NEAR = 32.0  # deviations between 0 and a mean that float32 takes away at once, 1e-5 of a slope lost
LONGEST = 2.0**62  # of which the square is a number in float32


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


def upcast_pair(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return two tensors in the wider dtype of both, at least float32."""
    one, other = upcast(one), upcast(other)
    if one.dtype != other.dtype:
        return one.double(), other.double()
    return one, other


def center(z: Tensor) -> Tensor:
    """Subtract each feature's mean over the batch, `(batch, dim)`."""
    return z - z.mean(dim=0, keepdim=True)


def standardize(z: Tensor, *, eps: float = 1e-5) -> Tensor:
    r"""Give each feature of `(batch, dim)` mean 0 and biased variance 1 over the batch.

    `eps` sits inside the root, as in batch normalisation: a constant feature becomes 0.
    """
    if can_be_read(z) and len(z) > 1:
        unit, mean, inverse = torch.native_batch_norm(z, None, None, None, None, True, 0.0, eps)
        if mean.detach().mul(inverse.detach()).abs_().amax().item() <= NEAR:
            return unit
    # Far from 0 the mean in float32 has lost digits: take it away twice. What is taken away has no
    # slope, for what follows does not see it.
    near = z - z.detach().mean(dim=0)
    return nn.functional.batch_norm(near, None, None, training=True, eps=eps)


def directed(rows: Tensor, *, dim: int = -1) -> tuple[Tensor, Tensor]:
    """Return rows ready to be divided by their norms, and these; most rows keep their bits.

    A row without a direction, no longer than `SHORTEST`, becomes 0 and gets no gradient; divided by
    the floor of its norm it would get 1e12 times what reaches it. A row too long to be squared is
    scaled down by a power of two. The norms, kept as an axis of size 1, are not below `SHORTEST`.
    """
    length: Tensor = torch.linalg.vector_norm(rows, dim=dim, keepdim=True)
    if are_usual(length):
        return rows, length
    rows = rows * direction_scale(length.detach())
    length = torch.linalg.vector_norm(rows, dim=dim, keepdim=True)
    return rows, length.clamp(min=SHORTEST)


def direction_scale(length: Tensor) -> Tensor:
    """Return by what a row is multiplied so that it can be divided by its norm: mostly by 1."""
    scale: Tensor = (length > SHORTEST).to(length.dtype)
    return scale.masked_fill_(length > LONGEST, 2.0**-66)


def are_usual(length: Tensor, *, shortest: float = SHORTEST) -> bool:
    """Say whether all norms are seen to be above `shortest`, and such as can be squared."""
    if not can_be_read(length) or not length.numel():
        return False
    low, high = length.detach().aminmax()
    return low.item() > shortest and high.item() <= LONGEST


def off_diagonal(matrix: Tensor) -> Tensor:
    """Return a square matrix with zeros on its diagonal."""
    return matrix - torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))
