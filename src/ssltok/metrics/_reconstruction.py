"""Reconstruction error: what a tokenizer loses on the way there and back."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_same_shape,
)

__all__ = ["ReconstructionError", "reconstruction_error"]


class ReconstructionError(NamedTuple):
    """Two errors over all valid points; float64 scalars.

    Attributes:
        mse: Mean squared error.
        mae: Mean absolute error.
    """

    mse: Tensor
    mae: Tensor


def reconstruction_error(
    series: Tensor, reconstruction: Tensor, *, valid: Tensor | None = None
) -> ReconstructionError:
    r"""Measure the mean squared and mean absolute error of reconstructed series.

    $$\mathrm{MSE} = \tfrac1N \sum (x - \hat x)^2, \qquad
      \mathrm{MAE} = \tfrac1N \sum \lvert x - \hat x \rvert$$

    over the $N$ points that are valid. Compare over a whole set in one call: the mean over
    batches of unequal size is another number.

    Args:
        series: The series, `(cases, channels, length)`.
        reconstruction: Their reconstructions, the same shape.
        valid: Points that are real and not padding, the same shape, boolean; all by default.

    Returns:
        `ReconstructionError(mse, mae)`, float64 scalars >= 0; NaN if no point is valid.

    Raises:
        ValueError: If the shapes differ, there is no case, or `valid` is not boolean.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import reconstruction_error
        >>> series = torch.zeros(2, 1, 4)
        >>> error = reconstruction_error(series, series - 3)
        >>> error.mse.item(), error.mae.item()
        (9.0, 3.0)
    """
    who = "reconstruction_error"
    check_floating(who, "series", series)
    check_axes(who, "series", series, "cases channels length")
    check_floating(who, "reconstruction", reconstruction)
    check_same_shape(who, "series and reconstruction", series, reconstruction)
    check_at_least(who, "points", series.numel(), 1)
    error = series.detach().double() - reconstruction.detach().double()
    if valid is None:
        return ReconstructionError(mse=error.square().mean(), mae=error.abs().mean())
    check_bool_mask(who, "valid", valid, series.shape)
    error = torch.where(valid, error, 0.0)
    points = valid.sum()
    return ReconstructionError(mse=error.square().sum() / points, mae=error.abs().sum() / points)
