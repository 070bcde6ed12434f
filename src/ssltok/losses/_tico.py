"""TiCo: views agree, and rows keep out of the directions that were used before."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_axes,
    check_floating,
    check_ratio,
    check_view_pair,
    check_weights,
)
from ssltok._shared.numerics import full_precision, upcast_pair
from ssltok.losses._products_fast import unit_rows

__all__ = ["TiCoLoss", "TiCoTerms", "tico_loss", "tico_terms"]


class TiCoTerms(NamedTuple):
    """The two unweighted terms of `tico_loss`; each is a scalar.

    Attributes:
        invariance: 1 less the mean cosine of the views, in [0, 2].
        contrast: Mean of $z^T C z$, in [0, 1]; 1 at full collapse, $1 / D$ at best.
    """

    invariance: Tensor
    contrast: Tensor


def tico_loss(
    z_a: Tensor,
    z_b: Tensor,
    moment: Tensor | None = None,
    *,
    contrast_weight: float = 8.0,
    momentum: float = 0.9,
) -> Tensor:
    r"""Make views agree, and penalise rows for lying where rows have lain.

    $$1 - \frac{1}{B} \sum_b \bar z_{ab} \cdot \bar z_{bb}
      + \rho\, \frac{1}{B} \sum_b \bar z_{ab}^\top C\, \bar z_{ab}, \qquad
      C = \beta\, C_{\text{before}} + (1 - \beta) \tfrac{1}{B} \sum_b \bar z_{ab} \bar z_{ab}^\top$$

    on rows of norm 1. $C$ is detached: a queue of all rows there ever were, in `dim x dim` numbers.
    Read it from a `RunningMoment`, and update that after the loss, with the same rows and the same
    `momentum`. Without one it is 0, as in the first step; then no `dim x dim` product is built
    while `batch < dim`.

    Over several processes, give it `gather(z_a)` and `gather(z_b)`.

    Args:
        z_a: Projections of one view, `(batch, dim)`, of any length.
        z_b: Projections of the other view, of the same shape; TiCo takes them of a momentum
            encoder, without a gradient.
        moment: $C_{\text{before}}$, `(dim, dim)`; detached.
        contrast_weight: $\rho$; 8 as in lightly.
        momentum: $\beta$, in [0, 1]; 0.9 as in lightly.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If the shapes differ or are not `(batch, dim)`, the moment is not
            `(dim, dim)`, or `momentum` is not in [0, 1].
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import tico_loss
        >>> z = torch.eye(2)  # equal views; z C z = 0.5 with C = I / 2
        >>> tico_loss(z, z, contrast_weight=1.0, momentum=0.0)
        tensor(0.5000)

    References:
        Zhu et al., *TiCo*, 2022, <https://arxiv.org/abs/2206.10698>, whose listing was not at
        hand: the form is that of lightly 1.6.0.
    """
    check_weights("tico_loss", contrast_weight=contrast_weight)
    terms = _terms("tico_loss", z_a, z_b, moment, momentum)
    return terms.invariance + contrast_weight * terms.contrast


def tico_terms(
    z_a: Tensor, z_b: Tensor, moment: Tensor | None = None, *, momentum: float = 0.9
) -> TiCoTerms:
    """Compute the terms of `tico_loss` separately, for logging or other weights.

    Args:
        z_a: Projections of one view, `(batch, dim)`.
        z_b: Projections of the other view, of the same shape.
        moment: What was before, `(dim, dim)`.
        momentum: Its share, in [0, 1].

    Returns:
        The unweighted `TiCoTerms`.

    Raises:
        ValueError: As `tico_loss` does.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import tico_terms
        >>> tico_terms(torch.eye(2), -torch.eye(2)).invariance
        tensor(2.)

    References:
        Zhu et al., *TiCo*, 2022, <https://arxiv.org/abs/2206.10698>.
    """
    return _terms("tico_terms", z_a, z_b, moment, momentum)


def _terms(who: str, z_a: Tensor, z_b: Tensor, moment: Tensor | None, momentum: float) -> TiCoTerms:
    check_view_pair(who, z_a, z_b, least_batch=1)
    check_ratio(who, "momentum", momentum)
    batch, dim = z_a.shape
    if moment is not None:
        check_floating(who, "moment", moment)
        check_axes(who, "moment", moment, "dim dim")
        if moment.shape != (dim, dim):
            raise ValueError(f"{who}: moment must be {(dim, dim)}; got {tuple(moment.shape)}")
    with full_precision(z_a):
        a, b = map(unit_rows, upcast_pair(z_a, z_b))
        rows = a.detach()
        share = (1 - momentum) / batch
        if moment is None and batch < dim:
            contrast = share * (a @ rows.mT).square().sum() / batch
        else:
            used = share * (rows.mT @ rows)
            if moment is not None:
                used = torch.add(used, moment.detach().to(a.dtype), alpha=momentum)
            contrast = torch.linalg.vecdot(a @ used, a).mean()
        return TiCoTerms(invariance=1 - torch.linalg.vecdot(a, b).mean(), contrast=contrast)


class TiCoLoss(nn.Module):
    """`tico_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, contrast_weight: float = 8.0, momentum: float = 0.9) -> None:
        super().__init__()
        self.contrast_weight, self.momentum = contrast_weight, momentum

    def forward(self, z_a: Tensor, z_b: Tensor, moment: Tensor | None = None) -> Tensor:
        """Return the loss of two views, `(batch, dim)` each, and what was before."""
        return tico_loss(
            z_a, z_b, moment, contrast_weight=self.contrast_weight, momentum=self.momentum
        )
