r"""Sums over the products of a matrix with itself or another, as the formulas have them.

`_products_fast` computes the same with fewer operations and less memory.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.numerics import directed

__all__ = [
    "DiagonalAndRest",
    "contrast",
    "gram",
    "inverse_norms",
    "product_sums",
    "self_product_sums",
    "unit_rows",
]


class DiagonalAndRest(NamedTuple):
    """Of a `dim x dim` product: its diagonal, and the sum of squares of all other entries."""

    diagonal: Tensor
    rest: Tensor


def product_sums(a: Tensor, b: Tensor) -> DiagonalAndRest:
    r"""Return the diagonal of $a^\top b$ and $\sum_{i \ne j} (a^\top b)_{ij}^2$.

    Two matrices `(batch, dim)`.
    """
    product = a.mT @ b
    diagonal = product.diagonal(dim1=-2, dim2=-1)
    return DiagonalAndRest(diagonal, (product - diagonal.diag_embed()).square().sum())


def self_product_sums(z: Tensor) -> DiagonalAndRest:
    r"""Return the diagonal of $z^\top z$ and $\sum_{i \ne j} (z^\top z)_{ij}^2$, `(batch, dim)`."""
    return product_sums(z, z)


def contrast(z: Tensor, *, views: int, scale: float = 1.0) -> Tensor:
    r"""Return each row's cross-entropy of its other views among all other rows of its group.

    $\log \sum_{j \ne i} e^{s\, z_i \cdot z_j} - \mathrm{mean}_{p \in P(i)}\, s\, z_i \cdot z_p$ for
    `(..., rows, dim)`, where `rows` is one view after the other and $P(i)$ holds the rows at the
    same place in the other views.
    """
    similarity = scale * z @ z.mT
    rows = torch.arange(z.shape[-2], device=z.device)
    itself = rows[:, None] == rows
    place = rows % (len(rows) // views)
    positive = (place[:, None] == place) & ~itself
    others = similarity.masked_fill(itself, -torch.inf).logsumexp(dim=-1)
    return others - torch.where(positive, similarity, 0).sum(dim=-1) / (views - 1)


def gram(z: Tensor) -> Tensor:
    """Return all inner products of the rows of `(..., rows, dim)`."""
    return z @ z.mT


def unit_rows(z: Tensor, *, eps: float = 1e-12) -> Tensor:
    """Divide each row of `(..., dim)` by its norm, or by `eps` if that is larger; 0 stays 0."""
    return torch.nn.functional.normalize(directed(z), dim=-1, eps=eps)


def inverse_norms(z: Tensor, *, dim: int = -1, eps: float = 1e-12) -> Tensor:
    """Return 1 / norm along `dim`, kept as an axis of size 1, or 1 / `eps` where that is less.

    In a third fewer calls than `normalize` takes: the one way in which rows get length 1 here.
    """
    least = max(eps * eps, torch.finfo(z.dtype).tiny)
    return z.square().sum(dim=dim, keepdim=True).clamp_min(least).rsqrt()
