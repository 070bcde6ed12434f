"""Barlow Twins: two views should agree, and no two features should say the same thing."""

from typing import NamedTuple

from torch import Tensor, nn

from ssltok._shared.checks import check_view_pair, check_weights
from ssltok._shared.numerics import full_precision, standardize, upcast_pair
from ssltok.losses._products_fast import product_sums

__all__ = ["BarlowTwinsLoss", "BarlowTwinsTerms", "barlow_twins_loss", "barlow_twins_terms"]


class BarlowTwinsTerms(NamedTuple):
    r"""The two unweighted terms of `barlow_twins_loss`; each is a scalar.

    Attributes:
        invariance: $\sum_i (1 - c_{ii})^2$; `dim` for views that have nothing in common.
        redundancy: $\sum_{i \ne j} c_{ij}^2$; `dim * (dim - 1)` if all features are one.
    """

    invariance: Tensor
    redundancy: Tensor


def barlow_twins_loss(z_a: Tensor, z_b: Tensor, *, redundancy_weight: float = 5e-3) -> Tensor:
    r"""Pull the cross-correlation of two views towards the identity.

    $$\sum_i (1 - c_{ii})^2 + \lambda \sum_{i \ne j} c_{ij}^2, \qquad
      c = \tfrac{1}{B}\, \hat z_a^\top \hat z_b$$

    where $\hat z$ has mean 0 and (biased) variance 1 over the batch, with $10^{-5}$ added to the
    variance as in the authors' batch normalisation. The sums follow the paper; they grow with
    `dim`: divide by `dim` yourself to compare projectors of different widths.

    Constants: the paper's $\lambda = 5 \cdot 10^{-3}$ is the default; the authors' code runs with
    `redundancy_weight=0.0051`. Their early code also multiplied the whole loss by 0.025 or 0.1.

    Over several processes, give it `gather(z_a)` and `gather(z_b)`: the authors' in-place
    reduction of $c$ is invisible to autograd and divides the gradient by the number of processes.

    Args:
        z_a: Projections of one view, `(batch, dim)`, at least two rows.
        z_b: Projections of the other view, `(batch, dim)`.
        redundancy_weight: $\lambda$, the price of correlation between different features.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If the shapes differ or are not `(batch, dim)`, or if `batch < 2`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import barlow_twins_loss
        >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> round(barlow_twins_loss(z, 3 * z + 7).item(), 6)  # an affine map changes nothing
        0.0
        >>> round(barlow_twins_loss(z, -z).item(), 3)  # every c_ii is -1: (1 + 1)^2 each
        8.0

    References:
        Zbontar et al., *Barlow Twins*, 2021, <https://arxiv.org/abs/2103.03230>, equations 1 and
        2, algorithm 1.
    """
    check_weights("barlow_twins_loss", redundancy_weight=redundancy_weight)
    terms = _terms("barlow_twins_loss", z_a, z_b)
    return terms.invariance + redundancy_weight * terms.redundancy


def barlow_twins_terms(z_a: Tensor, z_b: Tensor) -> BarlowTwinsTerms:
    """Compute the terms of `barlow_twins_loss` separately, for logging or other weights.

    Args:
        z_a: Projections of one view, `(batch, dim)`, at least two rows.
        z_b: Projections of the other view, `(batch, dim)`.

    Returns:
        The unweighted `BarlowTwinsTerms`.

    Raises:
        ValueError: If the shapes differ or are not `(batch, dim)`, or if `batch < 2`.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import barlow_twins_terms
        >>> z = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])  # two features that say the same
        >>> [round(term.item(), 3) for term in barlow_twins_terms(z, z)]
        [0.0, 2.0]

    References:
        Zbontar et al., *Barlow Twins*, 2021, <https://arxiv.org/abs/2103.03230>, equation 1.
    """
    return _terms("barlow_twins_terms", z_a, z_b)


def _terms(who: str, z_a: Tensor, z_b: Tensor) -> BarlowTwinsTerms:
    check_view_pair(who, z_a, z_b)
    batch = z_a.shape[0]
    with full_precision(z_a):
        a, b = map(standardize, upcast_pair(z_a, z_b))
        product = product_sums(a, b)
        return BarlowTwinsTerms(
            invariance=(product.diagonal / batch - 1).square().sum(),
            redundancy=product.rest / batch**2,
        )


class BarlowTwinsLoss(nn.Module):
    """`barlow_twins_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, redundancy_weight: float = 5e-3) -> None:
        super().__init__()
        self.redundancy_weight = redundancy_weight

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        """Return the loss of two views, `(batch, dim)` each."""
        return barlow_twins_loss(z_a, z_b, redundancy_weight=self.redundancy_weight)
