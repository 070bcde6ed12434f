"""How far each slice's characteristic function is from a standard Gaussian's."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Nodes", "nodes", "slice_errors"]


class Nodes(NamedTuple):
    r"""Nodes $t$ of the integral, `step` apart, the Gaussian's values there, and the weights."""

    step: float
    t: Tensor
    gauss: Tensor
    weights: Tensor


def slice_errors(
    projected: Tensor, *, points: int, limit: float, shares: Tensor | None = None
) -> Tensor:
    r"""Return the Epps-Pulley statistic of each column of `(batch, ..., slices)`.

    $B \int_{-L}^{L} \bigl\lvert \tfrac{1}{B} \sum_b e^{i t p_b} - e^{-t^2 / 2} \bigr\rvert^2
    e^{-t^2 / 2} \, dt$ by the trapezoidal rule with `points` nodes in $[0, L]$; it is even in $t$.
    With `shares` that sum to 1 over the batch, and broadcast, these stand in the place of
    $\tfrac{1}{B}$ inside.
    """
    _, t, gauss, weights = nodes(projected, points, limit)
    phase = projected.unsqueeze(-1) * t
    if shares is None:
        real, imaginary = phase.cos().mean(dim=0), phase.sin().mean(dim=0)
    else:
        share = shares.unsqueeze(-1)
        real, imaginary = (share * phase.cos()).sum(dim=0), (share * phase.sin()).sum(dim=0)
    return ((real - gauss).square() + imaginary.square()) @ weights


def nodes(projected: Tensor, points: int, limit: float) -> Nodes:
    """Return the rule of the integral for `(batch, ..., slices)` projections."""
    step = limit / (points - 1)
    t = step * torch.arange(points, device=projected.device, dtype=projected.dtype)
    gauss = torch.exp(-t.square() / 2)
    weights = (2 * step * projected.shape[0]) * gauss  # the other half, and the B in front
    weights[-1] /= 2  # at t = 0, the other end, the error is 0
    return Nodes(step, t, gauss, weights)
