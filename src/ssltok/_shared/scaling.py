"""Standardise by training statistics: one rule of what is constant, for series and features."""

import torch
from torch import Tensor

__all__ = ["mean_and_scale"]


def mean_and_scale(
    train: Tensor,
    dims: tuple[int, ...],
    *,
    correction: int = 0,
    computed_in: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over `dims`, for the data of every set; both keep their axes.

    What is constant in training has scale 1: it stays in its own units, so that 1e-3 of noise in
    another set is 1e-3, and not 1e-3 over a rounding error. Constant is what deviates from its
    mean by no more than rounding, 1e-6 of the mean (2e-15 of it in float64).

    Subtract the mean in float64 before numbers go to a narrower type: `((x - mean) / scale)`
    of a float64 mean does.

    Args:
        train: The training set; NaN is left out.
        dims: The axes to average over.
        correction: 0 for the standard deviation of these rows, 1 for the unbiased variance.
        computed_in: The type whose rounding the numbers have, where they were cast since, such
            as float32 for the features of a network; that of `train` by default.

    Returns:
        float64 mean and scale.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import mean_and_scale
        >>> train = torch.tensor([[1.0, 0.1], [5.0, 0.1]])
        >>> mean, scale = mean_and_scale(train, (0,))
        >>> scale
        tensor([[2., 1.]], dtype=torch.float64)
    """
    x = train.double()
    known = ~x.isnan()
    mean = x.nanmean(dims, keepdim=True)
    squares = (x - mean).square().nansum(dims, keepdim=True)
    count = known.sum(dims, keepdim=True) - correction
    std = (squares / count.clamp_min(1)).sqrt()
    exact = (computed_in or train.dtype) == torch.float64
    rounding = 8 * torch.finfo(torch.float64).eps if exact else 1e-6
    return mean, torch.where(std > rounding * mean.abs(), std, 1.0)
