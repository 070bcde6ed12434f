"""Standardise by training statistics: one rule of what is constant, for series and features."""

import torch
from torch import Tensor

__all__ = ["mean_and_scale", "one_where_constant"]

CONSTANT = 1e-6  # of the mean: below it a float32 deviation is rounding


def mean_and_scale(
    train: Tensor, dims: tuple[int, ...], *, correction: int = 0
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over `dims`, for the data of every set; both keep their axes.

    What is constant in training has scale 1: it stays in its own units, so that 1e-3 of noise in
    another set is 1e-3, and not 1e-3 over a rounding error.

    Args:
        train: The training set; NaN is left out.
        dims: The axes to average over.
        correction: 0 for the standard deviation of these rows, 1 for the unbiased variance.

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
    return mean, one_where_constant(std, mean)


def one_where_constant(std: Tensor, mean: Tensor) -> Tensor:
    """A standard deviation as a scale: 1 where it is no more than rounding of its mean."""
    return torch.where(std > CONSTANT * mean.abs(), std, 1.0)
