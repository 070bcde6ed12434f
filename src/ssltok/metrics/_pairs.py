"""What all pairs of two different rows of a set have on average, or at the least."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["log_mean_potential", "mean_cosine", "mean_kernel", "nearest_other"]

Between = Callable[[Tensor, Tensor], Tensor]
"""From two sets of rows to one number for each pair, `(n, m)`."""


def mean_kernel(kernel: Between, rows: Tensor) -> Tensor:
    """Return the mean of a kernel over pairs of two different rows."""
    return kernel(rows, rows)[_different(rows)].mean()


def mean_cosine(unit: Tensor) -> Tensor:
    """Return the mean absolute cosine of two different rows of length 1."""
    return (unit @ unit.mT).abs()[_different(unit)].mean().clamp_max(1)


def log_mean_potential(unit: Tensor, *, sharpness: float) -> Tensor:
    r"""Return the log of the mean $e^{-t \lVert z_i - z_j \rVert^2}$ of two different unit rows."""
    distances = (unit[:, None] - unit).square().sum(-1)
    return (-sharpness * distances[_different(unit)]).exp().mean().log()


def nearest_other(distance: Between, rows: Tensor, *, neighbors: int = 1) -> Tensor:
    """Return the distance of each row to its k-th nearest other row; a row may have any shape."""
    apart = distance(rows, rows)
    apart.diagonal().fill_(torch.inf)
    return apart.sort(dim=1).values[:, neighbors - 1]


def _different(rows: Tensor) -> Tensor:
    """Where two rows are different ones, `(n, n)`, boolean."""
    return ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
