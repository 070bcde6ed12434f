"""`_pairs` by blocks of rows, so that no number for each pair is ever held for all of them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok.metrics._pairs import Between

__all__ = ["log_mean_potential", "mean_cosine", "mean_kernel", "nearest_other"]


def row_blocks(rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield blocks of rows, each with the index of its first."""
    for start in range(0, len(rows), sizes.ROWS):
        yield start, rows[start : start + sizes.ROWS]


def mean_kernel(kernel: Between, rows: Tensor) -> Tensor:
    """As `_pairs.mean_kernel`."""
    total = torch.zeros((), dtype=rows.dtype, device=rows.device)
    for start, part in row_blocks(rows):
        block = kernel(part, rows)
        total += block.sum() - block.diagonal(start).sum()
    return total / (len(rows) * (len(rows) - 1))


def mean_cosine(unit: Tensor) -> Tensor:
    """As `_pairs.mean_cosine`, of the upper triangle alone."""
    total = torch.zeros((), dtype=unit.dtype, device=unit.device)
    for start, part in row_blocks(unit):
        block = (part @ unit[start:].mT).abs_().fill_diagonal_(0)
        total += 2 * block.sum() - block[:, : len(part)].sum()
    return (total / (len(unit) * (len(unit) - 1))).clamp_max(1)


def log_mean_potential(unit: Tensor, *, sharpness: float) -> Tensor:
    """As `_pairs.log_mean_potential`, from cosines; no term underflows."""
    parts = []
    for start, part in row_blocks(unit):
        energy = sharpness * (2 * part @ unit.mT - 2).clamp_max(0)
        energy.diagonal(start).fill_(-torch.inf)
        parts.append(energy.logsumexp((0, 1)))
    pairs = torch.tensor(len(unit) * (len(unit) - 1), dtype=unit.dtype, device=unit.device)
    return torch.stack(parts).logsumexp(0) - pairs.log()


def nearest_other(distance: Between, rows: Tensor, *, neighbors: int = 1) -> Tensor:
    """As `_pairs.nearest_other`."""
    nearest = []
    for start, part in row_blocks(rows):
        apart = distance(part, rows)
        apart.diagonal(start).fill_(torch.inf)
        nearest.append(apart.amin(1) if neighbors == 1 else apart.kthvalue(neighbors, dim=1).values)
    return torch.cat(nearest)
