"""FroSSL: views agree, and each spreads its variance evenly, told from the Frobenius norm."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared import sizes
from ssltok._shared.checks import check_weights
from ssltok._shared.numerics import directed, full_precision, upcast
from ssltok.losses._products_fast import self_product_sums
from ssltok.losses._views import check_views

__all__ = ["FroSSLLoss", "FroSSLTerms", "frossl_loss", "frossl_terms"]


class FroSSLTerms(NamedTuple):
    r"""The two unweighted terms of `frossl_loss`; each is a scalar, summed over the views.

    Attributes:
        concentration: Logarithm of the squared Frobenius norm: 0 a view at full collapse,
            $-\log \min(B, D)$ where all directions are used alike.
        invariance: Squared distance of the views from their mean.
    """

    concentration: Tensor
    invariance: Tensor


def frossl_loss(*views: Tensor, invariance_weight: float = 1.0) -> Tensor:
    r"""Pull views together while the eigenvalues of each stay even.

    $$\sum_v \log \Bigl\lVert \frac{\hat z_v^\top \hat z_v}{\mathrm{tr}(\hat z_v^\top \hat z_v)}
      \Bigr\rVert_F^2 + w \sum_v \frac{V}{B} \sum_b \lVert \hat z_{vb} - \bar z_b \rVert^2$$

    where $\hat z$ has columns (features) of norm 1 over the batch and $\bar z$ is the mean of the
    views. The norm is that of $\hat z \hat z^\top$ too, so that it costs
    $\min(B, D)$ times the numbers of a view. This is the authors' loss of many views: columns are
    not centred; end the projector with BatchNorm, or `standardize` yourself, for the two-view form
    of the paper. A feature that is 0 everywhere counts in no term, and a view of zeros costs 0, as
    one in which all features say the same.

    Over several processes, give it `gather(z)` of each view.

    Args:
        *views: Two or more views, `(batch, dim)` each; row $b$ of each is the same sample.
        invariance_weight: $w$; 1 by default, as in the authors' code.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If there are fewer than two views, or shapes differ or are not `(batch, dim)`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import frossl_loss
        >>> z = torch.eye(4)  # four orthogonal features: -log 4 for each of two equal views
        >>> round(frossl_loss(z, 3 * z).item(), 4)
        -2.7726

    References:
        Skean et al., *FroSSL*, 2024, <https://arxiv.org/abs/2310.02903>, equations 3 and 6.
    """
    check_weights("frossl_loss", invariance_weight=invariance_weight)
    terms = _terms("frossl_loss", views)
    return terms.concentration + invariance_weight * terms.invariance


def frossl_terms(*views: Tensor) -> FroSSLTerms:
    """Compute the terms of `frossl_loss` separately, for logging or other weights.

    Args:
        *views: Two or more views, `(batch, dim)` each.

    Returns:
        The unweighted `FroSSLTerms`.

    Raises:
        ValueError: As `frossl_loss` does.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import frossl_terms
        >>> z = torch.ones(4, 3)  # collapse
        >>> round(frossl_terms(z, z).concentration.item(), 4)
        0.0

    References:
        Skean et al., *FroSSL*, 2024, <https://arxiv.org/abs/2310.02903>, equations 3 and 6.
    """
    return _terms("frossl_terms", views)


def _terms(who: str, views: tuple[Tensor, ...]) -> FroSSLTerms:
    check_views(who, views)
    few = views[0].numel() <= sizes.FEW_NUMBERS
    with full_precision(views[0]):
        wide = [upcast(view) for view in views]
        return _terms_at_once(wide) if few else _terms_by_view(wide)


def _terms_by_view(views: list[Tensor]) -> FroSSLTerms:
    """The terms at the least number of products."""
    count, dim = len(views), views[0].shape[1]
    unit = [_unit_columns(view) for view in views]
    mean = torch.stack(unit).mean(dim=0)
    distance = torch.stack([nn.functional.mse_loss(z, mean) for z in unit]).sum()
    sums = [self_product_sums(z) for z in unit]
    norms = torch.stack([rest + diagonal.square().sum() for diagonal, rest in sums])
    traces = torch.stack([diagonal.sum() for diagonal, _ in sums])
    return FroSSLTerms(_concentration(norms, traces), count * dim * distance)


def _terms_at_once(views: list[Tensor]) -> FroSSLTerms:
    """The same in few calls, which cost more than small products do."""
    count, (batch, dim) = len(views), views[0].shape
    unit = _unit_columns(torch.stack(views))
    products = unit @ unit.mT if batch < dim else unit.mT @ unit
    traces = products.diagonal(dim1=1, dim2=2).sum(dim=1)
    distance = (unit - unit.mean(dim=0)).square().sum()
    norms = products.square().sum(dim=(1, 2))
    return FroSSLTerms(_concentration(norms, traces), count / batch * distance)


def _unit_columns(z: Tensor) -> Tensor:
    columns, length = directed(z, dim=-2)
    return columns / length


def _concentration(norms: Tensor, traces: Tensor) -> Tensor:
    """Logarithms of the squared norms of covariances of trace 1, added; 0 where there is none."""
    traces = traces.detach()
    some = traces > 0
    each = torch.where(some, norms, 1).log() - 2 * torch.where(some, traces, 1).log()
    return each.sum()


class FroSSLLoss(nn.Module):
    """`frossl_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, invariance_weight: float = 1.0) -> None:
        super().__init__()
        self.invariance_weight = invariance_weight

    def forward(self, *views: Tensor) -> Tensor:
        """Return the loss of two or more views, `(batch, dim)` each."""
        return frossl_loss(*views, invariance_weight=self.invariance_weight)
