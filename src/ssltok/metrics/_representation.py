"""Representation without labels: rank, alignment, uniformity, and the first sign of collapse."""

import torch
from torch import Tensor
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_positive,
    check_view_pair,
)
from ssltok.metrics._checks import one_if_finite
from ssltok.metrics._effective_rank import effective_rank
from ssltok.metrics._pairs_fast import log_mean_potential

__all__ = ["alignment", "normalized_std", "rank_me", "uniformity"]


def rank_me(features: Tensor) -> Tensor:
    r"""Measure how many directions the features fill: the effective rank.

    $$\exp\Bigl( -\sum_k p_k \log p_k \Bigr), \qquad p_k = \frac{\sigma_k}{\sum_j \sigma_j}$$

    with the singular values $\sigma$ of the features as they are (not centred). The reference adds
    1e-7 to $p$; here it is exact, with $0 \log 0 = 0$.

    Args:
        features: Features, `(cases, dim)`.

    Returns:
        A float64 scalar in `[1, min(cases, dim)]`; NaN if all features are 0, or one is not
        finite.

    Raises:
        ValueError: If `features` is not `(cases, dim)` with at least one case.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import rank_me
        >>> round(rank_me(torch.eye(6)[:, :4]).item(), 6)
        4.0

    References:
        Garrido et al., *RankMe*, 2023, <https://arxiv.org/abs/2210.02885>, equation 1.
    """
    x = _features("rank_me", features, 1)
    strengths = torch.linalg.svdvals(torch.nan_to_num(x, 0.0, 0.0, 0.0))
    return effective_rank(strengths) * one_if_finite(x)


def alignment(z_a: Tensor, z_b: Tensor, *, power: float = 2.0) -> Tensor:
    r"""Measure how far the two views of a series lie apart on the sphere.

    $$\tfrac1B \sum_i \lVert \hat z_i - \hat z'_i \rVert^\alpha,
      \qquad \hat z = z / \lVert z \rVert$$

    Args:
        z_a: Embeddings of one view, `(batch, dim)`.
        z_b: Embeddings of the other view, `(batch, dim)`.
        power: $\alpha$; 2 in the reference.

    Returns:
        A float64 scalar in `[0, 2 ** power]`; lower is closer.

    Raises:
        ValueError: If the shapes differ or are not `(batch, dim)`, or `power` is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import alignment
        >>> z = torch.tensor([[3.0, 0.0], [0.0, 5.0]])
        >>> alignment(z, -z).item()  # opposite poles
        4.0

    References:
        Wang & Isola, *Understanding contrastive representation learning through alignment and
        uniformity on the hypersphere*, 2020, <https://arxiv.org/abs/2005.10242>, section 4.1.
    """
    check_view_pair("alignment", z_a, z_b, least_batch=1)
    check_positive("alignment", "power", power)
    a, b = (functional.normalize(z.detach().double()) for z in (z_a, z_b))
    apart: Tensor = torch.linalg.vector_norm(a - b, dim=1).pow(power)
    return apart.mean()


def uniformity(features: Tensor, *, sharpness: float = 2.0) -> Tensor:
    r"""Measure how evenly features cover the sphere: log of a mean Gaussian potential.

    $$\log \frac{2}{n(n-1)} \sum_{i < j} \exp(-t \lVert \hat z_i - \hat z_j \rVert^2)$$

    Args:
        features: Features, `(cases, dim)`, at least 2.
        sharpness: $t$; 2 in the reference.

    Returns:
        A float64 scalar in `[-4 * sharpness, 0]`; lower is more even, 0 is one point.

    Raises:
        ValueError: If there are fewer than 2 cases, or `sharpness` is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import uniformity
        >>> uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])).item()  # two poles: -t * 4
        -8.0

    References:
        Wang & Isola, 2020, <https://arxiv.org/abs/2005.10242>, section 4.1.
    """
    x = functional.normalize(_features("uniformity", features, 2))
    check_positive("uniformity", "sharpness", sharpness)
    return log_mean_potential(x, sharpness=sharpness)


def normalized_std(features: Tensor) -> Tensor:
    r"""Measure the spread of features on the sphere: near 1 when healthy, 0 when collapsed.

    The standard deviation over cases of each entry of $z / \lVert z \rVert$, averaged over
    entries, times $\sqrt{\mathrm{dim}}$: isotropic features have $1 / \sqrt{\mathrm{dim}}$ each.
    It sees a collapse to a point, not to a line; see `rank_me` for that.

    Args:
        features: Features, `(cases, dim)`, at least 2.

    Returns:
        A float64 scalar in [0, about 1].

    Raises:
        ValueError: If `features` is not `(cases, dim)` with at least 2 cases.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import normalized_std
        >>> normalized_std(torch.ones(5, 3)).item()
        0.0

    References:
        Chen & He, *Exploring simple Siamese representation learning*, 2021,
        <https://arxiv.org/abs/2011.10566>, section 4.1, without the factor.
    """
    x = functional.normalize(_features("normalized_std", features, 2))
    spread: Tensor = x.std(0).mean() * x.shape[1] ** 0.5
    return spread


def _features(who: str, features: Tensor, least: int) -> Tensor:
    check_floating(who, "features", features)
    check_axes(who, "features", features, "cases dim")
    check_at_least(who, "cases", len(features), least)
    return features.detach().double()
