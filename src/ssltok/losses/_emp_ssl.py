"""EMP-SSL: many small crops point to their mean, while the coding rate of each stays high."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_positive, check_weights
from ssltok._shared.numerics import full_precision
from ssltok.losses._coding_rate import coding_rate
from ssltok.losses._products_fast import unit_rows
from ssltok.losses._views import check_views, stack_views

__all__ = ["EMPSSLLoss", "EMPSSLTerms", "emp_ssl_loss", "emp_ssl_terms"]


class EMPSSLTerms(NamedTuple):
    """The two unweighted terms of `emp_ssl_loss`; each is a scalar that should be high.

    Attributes:
        rate: The coding rate of each view, averaged.
        agreement: Mean cosine of the views and their mean.
    """

    rate: Tensor
    agreement: Tensor


def emp_ssl_loss(*views: Tensor, agreement_weight: float = 200.0, eps: float = 0.2) -> Tensor:
    r"""Turn many views of a sample towards their mean, and spread the samples of each view.

    $$-\frac{1}{V} \sum_v R_\epsilon(\bar z_v) - \lambda\, \frac{1}{V B} \sum_{v, b}
      \cos(\bar z_{vb}, m_b), \qquad m_b = \frac{1}{V} \sum_v \bar z_{vb}$$

    with rows of norm 1, as the authors' projector gives them, and their `coding_rate` $R$. The
    paper takes 20 to 200 small crops of each sample and a single epoch.

    Constants: $\lambda = 200$ and $\epsilon = 0.2$ (the paper's $\epsilon^2$) are the authors'.

    Over several processes, give it `gather(z)` of each view.

    Args:
        *views: Two or more views, `(batch, dim)` each; row $b$ of each is the same sample.
        agreement_weight: $\lambda$.
        eps: $\epsilon > 0$, the squared precision of the rate.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If there are fewer than two views, shapes differ or are not `(batch, dim)`, or
            `eps <= 0`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import emp_ssl_loss
        >>> z = torch.eye(2)  # equal views: -1; the rate is log(1 + 2 / (2 * 0.5)) = log 3
        >>> round(emp_ssl_loss(z, z, agreement_weight=1.0, eps=0.5).item(), 4)
        -2.0986

    References:
        Tong et al., *EMP-SSL*, 2023, <https://arxiv.org/abs/2304.03977>; signs and
        constants are those of the authors' code (lightly 1.6.0 has the rate with the other sign).
    """
    check_weights("emp_ssl_loss", agreement_weight=agreement_weight)
    terms = _terms("emp_ssl_loss", views, eps)
    return -terms.rate - agreement_weight * terms.agreement


def emp_ssl_terms(*views: Tensor, eps: float = 0.2) -> EMPSSLTerms:
    """Compute the terms of `emp_ssl_loss` separately, for logging or other weights.

    Args:
        *views: Two or more views, `(batch, dim)` each.
        eps: The squared precision of the rate, above 0.

    Returns:
        The unweighted `EMPSSLTerms`.

    Raises:
        ValueError: As `emp_ssl_loss` does.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import emp_ssl_terms
        >>> z = torch.eye(2)
        >>> emp_ssl_terms(z, 3 * z).agreement.round(decimals=4)
        tensor(1.)

    References:
        Tong et al., *EMP-SSL*, 2023, <https://arxiv.org/abs/2304.03977>.
    """
    return _terms("emp_ssl_terms", views, eps)


def _terms(who: str, views: tuple[Tensor, ...], eps: float) -> EMPSSLTerms:
    check_views(who, views)
    check_positive(who, "eps", eps)
    with full_precision(views[0]):
        z = unit_rows(stack_views(views))
        cosines = torch.linalg.vecdot(z, unit_rows(z.mean(dim=0)).expand_as(z))
        return EMPSSLTerms(rate=coding_rate(z, eps=eps).mean(), agreement=cosines.mean())


class EMPSSLLoss(nn.Module):
    """`emp_ssl_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, agreement_weight: float = 200.0, eps: float = 0.2) -> None:
        super().__init__()
        self.agreement_weight, self.eps = agreement_weight, eps

    def forward(self, *views: Tensor) -> Tensor:
        """Return the loss of two or more views, `(batch, dim)` each."""
        return emp_ssl_loss(*views, agreement_weight=self.agreement_weight, eps=self.eps)
