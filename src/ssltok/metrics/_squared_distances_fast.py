"""`_squared_distances` by one matrix product."""

import torch
from torch import Tensor

__all__ = ["squared_distances"]


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """As `_squared_distances.squared_distances`, for float64; centred, which keeps the digits."""
    centre = second.mean(0)
    first, second = first - centre, second - centre
    norms = first.square().sum(1)[:, None] + second.square().sum(1)
    return torch.addmm(norms, first, second.mT, alpha=-2).clamp_min_(0)
