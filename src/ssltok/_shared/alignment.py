"""Linear CKA: how alike two representations of the same rows are, up to rotation and scale."""

import torch
from torch import Tensor

__all__ = ["linear_cka"]

STILL = 1e-6  # a deviation from the mean below this share of the rows is rounding


def linear_cka(x: Tensor, y: Tensor, valid: Tensor | None) -> Tensor:
    """Return the centred kernel alignment of rows `(rows, dim)`; 0 if one side is constant.

    Rows that are not valid hold 0. The sums are those of kernels of rows, or of the products of
    features, whichever are fewer operations.
    """
    x, y = _unit(x, valid), _unit(y, valid)
    (rows, wide), other = x.shape, y.shape[1]
    if rows * (wide + other) < wide * other + wide**2 + other**2:
        k, l = x @ x.mT, y @ y.mT  # noqa: E741 -- the letters of the paper
        both, first, second = (k * l).sum(), k.square().sum(), l.square().sum()
    else:
        both = (x.mT @ y).square().sum()
        first, second = (x.mT @ x).square().sum(), (y.mT @ y).square().sum()
    product = first * second
    none = product == 0
    return torch.where(none, both, both / torch.where(none, 1, product).sqrt())


def _unit(x: Tensor, valid: Tensor | None) -> Tensor:
    """Centre real rows, and divide all by one number: it has no slope, for none sees it."""
    if valid is None:
        centred = x - x.mean(0)
    else:
        mean = x.sum(0) / valid.sum().clamp(min=1)
        centred = torch.where(valid[:, None], x - mean, 0)
    whole, length = (torch.linalg.vector_norm(part.detach()) for part in (x, centred))
    moves = length > STILL * whole
    return centred * torch.where(moves, 1 / torch.where(moves, length, 1), 0)
