"""VICReg: views agree, every feature varies, and no two features vary together."""

from typing import NamedTuple

from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_floating, check_same_shape, check_weights
from ssltok._shared.numerics import center, full_precision, upcast
from ssltok._shared.transforms import can_be_read
from ssltok.losses import _products as plain
from ssltok.losses._products_fast import self_product_sums

__all__ = ["VICRegLoss", "VICRegTerms", "vicreg_loss", "vicreg_terms"]


class VICRegTerms(NamedTuple):
    r"""The three unweighted terms of `vicreg_loss`; each is a scalar.

    Attributes:
        invariance: Mean squared difference of the views, over batch and dim.
        variance: Hinge on the standard deviation, $v(z_a) + v(z_b)$; 1.98 at full collapse.
        covariance: Squared covariances of different features, $c(z_a) + c(z_b)$.
    """

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicreg_loss(
    z_a: Tensor,
    z_b: Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    eps: float = 1e-4,
) -> Tensor:
    r"""Make views agree while every feature keeps varying on its own.

    $$\lambda\, s + \mu\, [v(z_a) + v(z_b)] + \nu\, [c(z_a) + c(z_b)]$$

    $$s = \tfrac{1}{B D} \sum (z_a - z_b)^2, \quad
      v(z) = \tfrac{1}{D} \sum_i \max\bigl(0,\, 1 - \sqrt{\mathrm{Var}(z_i) + \epsilon}\bigr), \quad
      c(z) = \tfrac{1}{D} \sum_{i \ne j} \mathrm{Cov}(z)_{ij}^2$$

    with variance and covariance over the batch, divided by $B - 1$. The invariance is the mean
    over batch **and** dim, as in the authors' code: the paper's equation 5 sums over dim, but its
    weight of 25 belongs to the mean. The paper's target $\gamma = 1$ is fixed: scale `z` instead.

    Constants: the paper's 25, 25, 1 are the defaults. The authors' code halves the variance:
    `variance_weight=12.5`.

    Rows may be tokens or a grid, `(batch, ..., dim)`, as in lightly: variance and covariance are
    those of each place over the batch, averaged over the places.

    Over several processes, give it `gather(z_a)` and `gather(z_b)`.

    Args:
        z_a: Projections of one view, `(batch, dim)` or `(batch, ..., dim)`, at least two rows.
        z_b: Projections of the other view, of the same shape.
        invariance_weight: $\lambda$.
        variance_weight: $\mu$.
        covariance_weight: $\nu$.
        eps: $\epsilon \ge 0$ under the root; it bounds the gradient of a constant feature.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If the shapes differ or are not `(batch, ..., dim)`, `batch < 2`, or `eps < 0`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import vicreg_loss
        >>> z = 2 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> vicreg_loss(z, z).item()  # equal views, deviations above 1, no covariance
        0.0
        >>> vicreg_loss(z, z + 1).item()  # the views differ by 1 everywhere: 25 * 1
        25.0

    References:
        Bardes et al., *VICReg*, 2022, <https://arxiv.org/abs/2105.04906>, equations 1 to 6.
    """
    check_weights(
        "vicreg_loss",
        invariance_weight=invariance_weight,
        variance_weight=variance_weight,
        covariance_weight=covariance_weight,
    )
    terms = _terms("vicreg_loss", z_a, z_b, eps)
    return (
        invariance_weight * terms.invariance
        + variance_weight * terms.variance
        + covariance_weight * terms.covariance
    )


def vicreg_terms(z_a: Tensor, z_b: Tensor, *, eps: float = 1e-4) -> VICRegTerms:
    r"""Compute the terms of `vicreg_loss` separately, for logging or other weights.

    Args:
        z_a: Projections of one view, `(batch, dim)` or `(batch, ..., dim)`, at least two rows.
        z_b: Projections of the other view, of the same shape.
        eps: $\epsilon \ge 0$ under the root.

    Returns:
        The unweighted `VICRegTerms`.

    Raises:
        ValueError: If the shapes differ or are not `(batch, ..., dim)`, `batch < 2`, or `eps < 0`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import vicreg_terms
        >>> z = torch.full((4, 3), 5.0)  # collapse: no variance at all, 2 * (1 - sqrt(1e-4))
        >>> [round(term.item(), 3) for term in vicreg_terms(z, z)]
        [0.0, 1.98, 0.0]

    References:
        Bardes et al., *VICReg*, 2022, <https://arxiv.org/abs/2105.04906>, equations 1 to 5.
    """
    return _terms("vicreg_terms", z_a, z_b, eps)


def _terms(who: str, z_a: Tensor, z_b: Tensor, eps: float) -> VICRegTerms:
    check_floating(who, "z_a", z_a)
    check_floating(who, "z_b", z_b)
    check_same_shape(who, "z_a and z_b", z_a, z_b)
    if z_a.ndim < 2:
        raise ValueError(f"{who}: z_a must be (batch, ..., dim); got shape {tuple(z_a.shape)}")
    check_at_least(who, "batch", z_a.shape[0], 2)
    if z_a.ndim > 2:
        check_at_least(who, "places", z_a[0, ..., 0].numel(), 1)
    check_at_least(who, "eps", eps, 0)
    with full_precision(z_a):
        a, b = upcast(z_a), upcast(z_b)
        variance_a, covariance_a = _variance_and_covariance(a, eps)
        variance_b, covariance_b = _variance_and_covariance(b, eps)
        return VICRegTerms(
            invariance=nn.functional.mse_loss(a, b),
            variance=variance_a + variance_b,
            covariance=covariance_a + covariance_b,
        )


def _variance_and_covariance(z: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The hinge on the deviations, and the mean squared covariance, of one view."""
    batch, dim, places = z.shape[0], z.shape[-1], 1
    if z.ndim == 2:
        squares, rest = _product_sums(center(z))
    else:
        rows = center(z).flatten(1, -2).transpose(0, 1)  # (places, batch, dim)
        places = len(rows)
        squares, rest = _product_sums_of_places(rows)
    hinge = nn.functional.relu(1 - (squares / (batch - 1) + eps).sqrt()).mean()
    return hinge, rest / ((batch - 1) ** 2 * dim * places)


def _product_sums_of_places(rows: Tensor) -> plain.DiagonalAndRest:
    """The sums of each of `(places, batch, dim)`, the rest added up, by the smaller product."""
    if rows.shape[1] >= rows.shape[2] or rows.device.type == "mps":
        return plain.self_product_sums(rows)
    wide = rows.double()  # what is taken away at the end would cost the digits of the rest
    diagonal = wide.square().sum(dim=1)
    rest = (wide @ wide.mT).square().sum() - diagonal.square().sum()
    return plain.DiagonalAndRest(diagonal.to(rows.dtype), rest.to(rows.dtype))


def _product_sums(z: Tensor) -> plain.DiagonalAndRest:
    """The sums over the products of features, to the digits of their precision.

    The product of rows is smaller where `batch < dim`, but its diagonal's part is taken away at the
    end: in float32 a large feature, or many that vary alone, take the digits of the others.
    """
    batch, dim = z.shape
    if batch >= dim:
        return self_product_sums(z)
    if can_be_read(z):
        sums = self_product_sums(z)
        if sums.diagonal.detach().square().sum().item() <= 8 * sums.rest.detach().item():
            return sums
    if z.device.type == "mps":  # no float64: the product of features, where nothing cancels
        return plain.self_product_sums(z)
    squares, rest = self_product_sums(z.double())
    return plain.DiagonalAndRest(squares.to(z.dtype), rest.to(z.dtype))


class VICRegLoss(nn.Module):
    """`vicreg_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self,
        *,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight
        self.eps = eps

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        """Return the loss of two views, `(batch, dim)` or `(batch, ..., dim)` each."""
        return vicreg_loss(
            z_a,
            z_b,
            invariance_weight=self.invariance_weight,
            variance_weight=self.variance_weight,
            covariance_weight=self.covariance_weight,
            eps=self.eps,
        )
