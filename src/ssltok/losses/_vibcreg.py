"""VIbCReg: VICReg with correlations instead of covariances, made for time series."""

from typing import NamedTuple

from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_view_pair, check_weights
from ssltok._shared.numerics import center, full_precision, upcast
from ssltok.losses._products_fast import self_product_sums

__all__ = ["VIbCRegLoss", "VIbCRegTerms", "vibcreg_loss", "vibcreg_terms"]


class VIbCRegTerms(NamedTuple):
    r"""The three unweighted terms of `vibcreg_loss`; each is a scalar.

    Attributes:
        invariance: Mean squared difference of the views, over batch and dim.
        variance: Hinge on the standard deviation, $v(z_a) + v(z_b)$; 1.98 at full collapse.
        covariance: Mean squared correlation of different features, $c(z_a) + c(z_b)$, in [0, 2].
            Independent features leave about $2 / (B - 1)$: a floor that depends on the batch.
    """

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vibcreg_loss(
    z_a: Tensor,
    z_b: Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 200.0,
    eps: float = 1e-4,
) -> Tensor:
    r"""Make views agree while every feature keeps varying, uncorrelated with the others.

    $$\lambda\, s + \mu\, [v(z_a) + v(z_b)] + \nu\, [c(z_a) + c(z_b)]$$

    $$s = \tfrac{1}{B D} \sum (z_a - z_b)^2, \quad
      v(z) = \tfrac{1}{D} \sum_i \max\bigl(0,\, 1 - \sqrt{\mathrm{Var}(z_i) + \epsilon}\bigr), \quad
      c(z) = \tfrac{1}{D^2} \sum_{i \ne j} \rho(z)_{ij}^2$$

    where $\rho$ is the correlation of two features over the batch and the variance divides by
    $B - 1$. Departures from the paper's text, all as in the authors' code: the invariance is a
    mean over batch and dim; features (not rows) are normalised, and the product of normalised
    features is not divided again by $B - 1$. The method's other half is IterNorm as the last
    layer of the projector: `iterative_whiten`.

    Constants: 25, 25, 200 are the authors' code and the paper, and the defaults. NC-VQVAE runs
    with `covariance_weight=100.0` and multiplies the whole loss by 0.01.

    Over several processes, give it `gather(z_a)` and `gather(z_b)`.

    Args:
        z_a: Projections of one view, `(batch, dim)`, at least two rows.
        z_b: Projections of the other view, `(batch, dim)`.
        invariance_weight: $\lambda$.
        variance_weight: $\mu$.
        covariance_weight: $\nu$.
        eps: $\epsilon \ge 0$ under the root; it bounds the gradient of a constant feature.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If the shapes differ or are not `(batch, dim)`, if `batch < 2`, or `eps < 0`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import vibcreg_loss
        >>> z = 2 * torch.tensor([[1.0, 1.0], [-1.0, -1.0]])  # two features, correlation 1
        >>> round(vibcreg_loss(z, z).item(), 3)  # 200 * 2 views * 2 pairs / 2^2
        200.0

    References:
        Lee and Aune, *VIbCReg*, 2021, <https://arxiv.org/abs/2109.00783>, equations 1 to 5.
    """
    check_weights(
        "vibcreg_loss",
        invariance_weight=invariance_weight,
        variance_weight=variance_weight,
        covariance_weight=covariance_weight,
    )
    terms = _terms("vibcreg_loss", z_a, z_b, eps)
    return (
        invariance_weight * terms.invariance
        + variance_weight * terms.variance
        + covariance_weight * terms.covariance
    )


def vibcreg_terms(z_a: Tensor, z_b: Tensor, *, eps: float = 1e-4) -> VIbCRegTerms:
    r"""Compute the terms of `vibcreg_loss` separately, for logging or other weights.

    Args:
        z_a: Projections of one view, `(batch, dim)`, at least two rows.
        z_b: Projections of the other view, `(batch, dim)`.
        eps: $\epsilon \ge 0$ under the root.

    Returns:
        The unweighted `VIbCRegTerms`.

    Raises:
        ValueError: If the shapes differ or are not `(batch, dim)`, if `batch < 2`, or `eps < 0`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import vibcreg_terms
        >>> z = torch.tensor([[2.0, 2.0], [-2.0, -2.0]])
        >>> [round(term.item(), 3) for term in vibcreg_terms(z, z + 3)]
        [9.0, 0.0, 1.0]

    References:
        Lee and Aune, *VIbCReg*, 2021, <https://arxiv.org/abs/2109.00783>, equations 1 to 5.
    """
    return _terms("vibcreg_terms", z_a, z_b, eps)


def _terms(who: str, z_a: Tensor, z_b: Tensor, eps: float) -> VIbCRegTerms:
    check_view_pair(who, z_a, z_b)
    check_at_least(who, "eps", eps, 0)
    with full_precision(z_a):
        a, b = upcast(z_a), upcast(z_b)
        variance_a, covariance_a = _variance_and_correlation(a, eps)
        variance_b, covariance_b = _variance_and_correlation(b, eps)
        return VIbCRegTerms(
            invariance=nn.functional.mse_loss(a, b),
            variance=variance_a + variance_b,
            covariance=covariance_a + covariance_b,
        )


def _variance_and_correlation(z: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The hinge on the deviations, and the mean squared correlation, of one view."""
    batch, dim = z.shape
    centered = center(z)
    squares = centered.square().sum(dim=0)
    hinge = nn.functional.relu(1 - (squares / (batch - 1) + eps).sqrt()).mean()
    unit = centered * squares.clamp_min(1e-24).rsqrt()
    return hinge, self_product_sums(unit).rest / dim**2


class VIbCRegLoss(nn.Module):
    """`vibcreg_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self,
        *,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 200.0,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight
        self.eps = eps

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        """Return the loss of two views, `(batch, dim)` each."""
        return vibcreg_loss(
            z_a,
            z_b,
            invariance_weight=self.invariance_weight,
            variance_weight=self.variance_weight,
            covariance_weight=self.covariance_weight,
            eps=self.eps,
        )
