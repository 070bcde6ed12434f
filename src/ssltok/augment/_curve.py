"""Smooth random curves, the cubic splines of the warps, and the augmentation of size by one."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.augment._draw import check_series, keep_real, normal, real_steps

__all__ = ["magnitude_warp", "random_curve"]


def magnitude_warp(
    series: Tensor,
    *,
    std: float = 0.2,
    knots: int = 4,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Multiply each channel by its own smooth random curve around 1.

    $$x'_t = c(t)\, x_t$$

    with $c$ the cubic spline (not-a-knot) through `knots + 2` values drawn from $N(1, \sigma^2)$,
    evenly spaced from the first to the last sample.

    Args:
        series: `(batch, channels, length)`.
        std: $\sigma$, 0 or more; 0.2 in the authors' code.
        knots: The knots between the two ends, 0 or more; 4 in the authors' code.
        valid: True where a sample is real, `(batch, length)`. The others stay as they are, and
            the curve runs over the real samples as if they were adjacent. By default all are.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The warped series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import magnitude_warp
        >>> curve = magnitude_warp(torch.ones(1, 1, 6), knots=0)[0, 0]  # a line
        >>> torch.allclose(curve.diff(), curve.diff()[0].expand(5), atol=1e-6)
        True

    References:
        Um et al., *Data Augmentation of Wearable Sensor Data for Parkinson's Disease Monitoring
        using Convolutional Neural Networks*, 2017, <https://arxiv.org/abs/1706.00527>.
    """
    check_series("magnitude_warp", series, valid, generator)
    check_at_least("magnitude_warp", "std", std, 0)
    check_at_least("magnitude_warp", "knots", knots, 0)
    steps, lengths = real_steps(series, valid)
    draws = normal((*series.shape[:2], knots + 2), series, generator, mean=1, std=std)
    curve = random_curve(draws, steps, lengths)
    return keep_real(series, series * curve.to(series.dtype), valid)


def random_curve(values: Tensor, steps: Tensor, lengths: Tensor) -> Tensor:
    """Draw the spline through `values` `(batch, channels, knots)`, evenly spaced over a series.

    `steps` `(batch or 1, length)` count the real samples from 0, `lengths` `(batch or 1, 1)` say
    how many there are. Returns `(batch, channels, length)`.
    """
    knots = values.shape[-1]
    places = steps * ((knots - 1) / (lengths - 1).clamp(min=1).to(values.dtype))
    at = torch.arange(knots, device=values.device, dtype=values.dtype)
    hats = (1 - (places[..., None] - at).abs()).clamp(min=0)
    known = _curvatures(knots) if torch.compiler.is_compiling() else _known_curvatures(knots)
    curvatures = torch.from_numpy(known).to(values.device, values.dtype, non_blocking=True)
    # a cubic piece is its chord and, for each end, (h^3 - h) / 6 times the curvature there
    weights = hats + (hats * (hats * hats - 1) / 6) @ curvatures
    return values @ weights.transpose(-1, -2)


def _curvatures(knots: int) -> NDArray[np.float64]:
    """Second derivatives at the knots of the spline through given values, as a matrix."""
    if knots < 3:
        return np.zeros((knots, knots))
    bend = np.diff(np.eye(knots), n=2, axis=0)  # v[k-1] - 2 v[k] + v[k+1]
    if knots == 3:
        return np.concatenate([bend, bend, bend])  # one parabola
    inner = bend + 6 * np.eye(knots)[1:-1]  # 1, 4, 1
    left = np.concatenate([bend[:1], inner, bend[-1:]])  # not-a-knot: linear at the ends
    ends = np.zeros((1, knots))
    return np.linalg.solve(left, np.concatenate([ends, 6 * bend, ends]))


_known_curvatures = lru_cache(maxsize=64)(_curvatures)
