"""Frechet distance: how far apart two sets of features are, seen as two Gaussians."""

import torch
from torch import Tensor

from ssltok.metrics._checks import check_features, one_if_finite

__all__ = ["frechet_distance"]


def frechet_distance(real: Tensor, generated: Tensor) -> Tensor:
    r"""Measure the Frechet distance of the Gaussians fitted to two sets of features.

    $$\lVert \mu_r - \mu_g \rVert^2 + \operatorname{tr}(\Sigma_r + \Sigma_g)
      - 2 \operatorname{tr} (\Sigma_r \Sigma_g)^{1/2}$$

    with unbiased covariances. With $\Sigma_r = A^\top A$ and $\Sigma_g = B^\top B$ the last trace
    is the sum of the singular values of $A B^\top$. That form has no matrix square root, no
    complex part to drop and no ridge to add, and it is exact when there are fewer cases than
    dimensions. Rounding below zero is cut off at 0.

    The *estimate* is still biased upwards when cases are few, the more so the larger `dim`:
    compare only values with the same number of cases, look at the distance between two real sets
    of that size, and prefer `kernel_distance` below about `2 * dim` cases.

    Args:
        real: Features of real series, `(cases, dim)`.
        generated: Features of generated series, `(cases, dim)`; cases may differ.

    Returns:
        The squared distance, a float64 scalar >= 0, in squared units of the features; NaN if a
        feature is not finite.

    Raises:
        ValueError: If the shapes are not `(cases, dim)` with one `dim`, or a set has < 2 cases.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import frechet_distance
        >>> real = torch.tensor([[0.0], [2.0]])
        >>> frechet_distance(real, real + 3).item()  # the mean moves by 3, the variance stays
        9.0

    References:
        Heusel et al., *GANs trained by a two time-scale update rule*, 2017,
        <https://arxiv.org/abs/1706.08500>, equation 6. Dowson & Landau, 1982, equation 4.
    """
    check_features("frechet_distance", real, generated, least_cases=2)
    mean_real, root_real = _moments(real)
    mean_generated, root_generated = _moments(generated)
    shift = (mean_real - mean_generated).square().sum()
    traces = root_real.square().sum() + root_generated.square().sum()
    overlap = torch.linalg.svdvals(root_real @ root_generated.mT).sum()
    distance: Tensor = shift + traces - 2 * overlap
    return distance.clamp_min(0) * one_if_finite(real, generated)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and a root R of the covariance, R^T R, with at most `dim` rows."""
    features = torch.nan_to_num(features.detach().double(), 0.0, 0.0, 0.0)
    mean = features.mean(0)
    root = (features - mean) / (len(features) - 1) ** 0.5
    if root.shape[0] > root.shape[1]:
        root = torch.linalg.qr(root, mode="r").R
    return mean, root
