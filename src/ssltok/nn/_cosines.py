"""Patches of any number of samples as the same number of cosine coefficients."""

import math

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_floating

__all__ = ["cosine_patches", "cosine_series"]


def cosine_patches(series: Tensor, *, patch: int, dim: int) -> Tensor:
    r"""Cut a series into patches, and each patch into its `dim` lowest cosine coefficients.

    $$z_k = \sqrt{\tfrac{D}{p}} \sum_{t=0}^{p-1} x_t \, \phi_k(t), \qquad
      \phi_k(t) = \sqrt{\tfrac{2 - [k = 0]}{p}} \cos \tfrac{\pi k (2 t + 1)}{2 p}$$

    the orthonormal DCT-II of a patch of $p$ samples, scaled so that the mean square over the $D$
    coefficients is that over the $p$ samples: the same shape has the same coefficients however
    densely it was sampled. Coefficients from $p$ on are 0, so patches of $p \le D$ samples lose
    nothing; longer ones lose what is above the $D$ lowest.

    Args:
        series: `(batch, length)`, the length a multiple of `patch`.
        patch: $p$, samples of a patch.
        dim: $D$, coefficients of a patch.

    Returns:
        `(batch, patches, dim)`.

    Raises:
        ValueError: If `series` is not floating point or of other axes, is empty, its length is no
            multiple of `patch`, or a size is below 1.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import cosine_patches
        >>> cosine_patches(torch.ones(1, 6), patch=3, dim=4)  # a constant has the first alone
        tensor([[[2., 0., 0., 0.],
                 [2., 0., 0., 0.]]])

    References:
        Ahmed et al., *Discrete cosine transform*, 1974.
    """
    who = "cosine_patches"
    check_floating(who, "series", series)
    check_axes(who, "series", series, "batch length")
    check_at_least(who, "patch", patch, 1)
    check_at_least(who, "dim", dim, 1)
    if series.shape[1] == 0 or series.shape[1] % patch:
        raise ValueError(
            f"{who}: the length must be a multiple of patch, {patch}; got {series.shape[1]}"
        )
    basis = _basis(patch, dim, series.dtype, series.device)
    coefficients: Tensor = series.unflatten(1, (-1, patch)) @ basis
    return coefficients


def cosine_series(coefficients: Tensor, *, patch: int) -> Tensor:
    """Turn coefficients of patches back into samples, the transpose of `cosine_patches`.

    Args:
        coefficients: `(batch, patches, dim)`.
        patch: Samples of a patch; another number than that of `cosine_patches` resamples it.

    Returns:
        `(batch, patches * patch)`.

    Raises:
        ValueError: If `coefficients` are not floating point or of other axes, or `patch < 1`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import cosine_patches, cosine_series
        >>> series = torch.tensor([[3.0, 1.0, 4.0, 1.0]])
        >>> cosine_series(cosine_patches(series, patch=2, dim=5), patch=2).allclose(series)
        True
    """
    who = "cosine_series"
    check_floating(who, "coefficients", coefficients)
    check_axes(who, "coefficients", coefficients, "batch patches dim")
    check_at_least(who, "patch", patch, 1)
    dim = coefficients.shape[2]
    basis = _basis(patch, dim, coefficients.dtype, coefficients.device)
    return (coefficients @ basis.T * (patch / dim)).flatten(1)


def _basis(patch: int, dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`(patch, dim)`: columns of square length dim / patch, or 0."""
    t = 2 * torch.arange(patch, dtype=torch.float64, device="cpu")[:, None] + 1
    k = torch.arange(dim, dtype=torch.float64, device="cpu")
    columns = (math.pi / (2 * patch) * k * t).cos() * (math.sqrt(2 * dim) / patch)
    share = 1 - (1 - math.sqrt(0.5)) * (k == 0).double()
    return (columns * share * (k < patch)).to(dtype=dtype, device=device)
