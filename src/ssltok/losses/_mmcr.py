"""MMCR: the means of the views fill as much room as they can, the views of a sample little."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_weights
from ssltok._shared.numerics import full_precision
from ssltok.losses._products_fast import unit_rows
from ssltok.losses._views import check_views, stack_views

__all__ = ["MMCRLoss", "mmcr_loss"]


def mmcr_loss(*views: Tensor, compression_weight: float = 0.0) -> Tensor:
    r"""Raise the nuclear norm of the samples' centroids, and lower that of each sample's views.

    $$-\lVert c \rVert_* + \lambda\, \frac{1}{B} \sum_b \lVert \bar z_b \rVert_*, \qquad
      c_b = \frac{1}{V} \sum_v \bar z_{vb}$$

    on rows of norm 1, where $\bar z_b$ holds the views of sample $b$ as rows and the nuclear norm
    is the sum of the singular values. A centroid is long only where the views agree, and the norm
    of all of them is high only where they point everywhere, so that the first term does both. At
    equal singular values of 0 the slope is one of many: views that are exactly equal have one.

    Constants: the authors train with $\lambda = 0$; lightly's default is 0.005.

    Over several processes, give it `gather(z)` of each view.

    Args:
        *views: Two or more views, `(batch, dim)` each, of any length; row $b$ of each is the same
            sample.
        compression_weight: $\lambda$; at a plain 0 the views' own norms are not computed.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If there are fewer than two views, or shapes differ or are not `(batch, dim)`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import mmcr_loss
        >>> z = torch.eye(3)  # equal views: the centroids have three singular values of 1
        >>> round(mmcr_loss(z, z).item(), 4)
        -3.0

    References:
        Yerxa et al., *Learning Efficient Coding of Natural Images with Maximum Manifold Capacity
        Representations*, 2023, <https://arxiv.org/abs/2303.03307>; the form is that of
        the authors' code.
    """
    check_weights("mmcr_loss", compression_weight=compression_weight)
    check_views("mmcr_loss", views)
    with full_precision(views[0]):
        z = unit_rows(stack_views(views))
        wide = z if z.device.type == "mps" else z.double()  # small singular values count too
        spread: Tensor = -torch.linalg.svdvals(wide.mean(dim=0)).sum().to(z.dtype)
        if type(compression_weight) in (int, float) and compression_weight == 0:
            return spread
        each: Tensor = torch.linalg.svdvals(z.transpose(0, 1)).sum(dim=-1).mean()
        return spread + compression_weight * each


class MMCRLoss(nn.Module):
    """`mmcr_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, compression_weight: float = 0.0) -> None:
        super().__init__()
        self.compression_weight = compression_weight

    def forward(self, *views: Tensor) -> Tensor:
        """Return the loss of two or more views, `(batch, dim)` each."""
        return mmcr_loss(*views, compression_weight=self.compression_weight)
