"""Numerics that several components share: precision, centring, standardising, off-diagonals."""

import torch
from torch import Tensor, nn

__all__ = [
    "center",
    "full_precision",
    "off_diagonal",
    "off_diagonal_square_sum",
    "standardize",
    "upcast",
]


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context in which autocast is off on the device of `tensor`."""
    return torch.autocast(device_type=tensor.device.type, enabled=False)


def upcast(tensor: Tensor) -> Tensor:
    """Return `tensor` in float32, or in float64 if it is float64 already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def center(z: Tensor) -> Tensor:
    """Subtract each feature's mean over the batch, `(batch, dim)`."""
    return z - z.mean(dim=0, keepdim=True)


def standardize(z: Tensor, *, eps: float = 1e-5) -> Tensor:
    r"""Give each feature of `(batch, dim)` mean 0 and biased variance 1 over the batch.

    `eps` sits inside the root, as in batch normalisation: a constant feature becomes 0.
    """
    return nn.functional.batch_norm(z, None, None, training=True, eps=eps)


def off_diagonal(matrix: Tensor) -> Tensor:
    """Return a square matrix with zeros on its diagonal."""
    return matrix - torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))


def off_diagonal_square_sum(a: Tensor, b: Tensor) -> Tensor:
    r"""Return $\sum_{i \ne j} (a^\top b)_{ij}^2$ of two `(batch, dim)` matrices.

    With fewer rows than columns it is $\langle a a^\top, b b^\top \rangle$ less the diagonal's
    part, so that the `dim x dim` product is never built; the scalars are summed in float64.
    """
    batch, dim = a.shape
    if batch >= dim:
        return off_diagonal(a.T @ b).square().sum()
    wide = torch.float32 if a.device.type == "mps" else torch.float64
    total = ((a @ a.T).to(wide) * (b @ b.T).to(wide)).sum()
    diagonal = (a * b).sum(dim=0).to(wide).square().sum()
    return (total - diagonal).to(a.dtype)
