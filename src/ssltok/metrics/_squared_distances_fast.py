"""`_squared_distances` by one matrix product, and again where its digits cancel."""

import torch
from torch import Tensor

from ssltok._shared import sizes

__all__ = ["squared_distances"]

NEAR = 1e-6
"""Of the squared norms: a product in float64 leaves 9 digits of what is larger."""


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """As `_squared_distances.squared_distances`, for float64; 0 exactly between equal rows."""
    centre = second.mean(0)
    x, y = first - centre, second - centre
    norms = x.square().sum(1)[:, None] + y.square().sum(1)
    apart = torch.addmm(norms, x, y.mT, alpha=-2)
    rows, columns = (apart < NEAR * norms).nonzero(as_tuple=True)
    slope = first.requires_grad or second.requires_grad  # cdist has no second one
    if 16 * len(rows) > apart.numel() and not slope:  # far clusters: a gather would cost more
        mode = "donot_use_mm_for_euclid_dist"
        return torch.cdist(first, second, compute_mode=mode).square()
    step = max(1, sizes.DISTANCES // max(1, first.shape[1]))
    for i, j in zip(rows.split(step), columns.split(step), strict=True):
        apart[i, j] = (first[i] - second[j]).square().sum(1)
    return apart.clamp_min_(0)
