"""VISReg: views agree; scale, shape and centre of each are those of a standard Gaussian."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive, check_ratio, check_weights
from ssltok._shared.numerics import full_precision
from ssltok.losses._directions import directions_for
from ssltok.losses._views import check_views, how_many_global, stack_views

__all__ = ["VISRegLoss", "VISRegTerms", "visreg_loss", "visreg_terms"]


class VISRegTerms(NamedTuple):
    r"""The four unweighted terms of `visreg_loss`; each is a scalar.

    Attributes:
        invariance: Mean squared distance of all views from the mean of the global ones.
        scale: Mean squared difference of the deviations from 1; 1 at full collapse.
        shape: Squared Wasserstein distance of standardised rows from a Gaussian, along lines.
        center: Mean square of the features' means.
    """

    invariance: Tensor
    scale: Tensor
    shape: Tensor
    center: Tensor


def visreg_loss(
    *views: Tensor,
    global_views: int | None = None,
    regularization_weight: float = 0.9,
    scale_weight: float = 1.0,
    shape_weight: float = 1.0,
    center_weight: float = 1.0,
    slices: int = 4096,
    eps: float = 1e-4,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Make views agree while each keeps its scale, its centre and a Gaussian's shape.

    $$(1 - \lambda)\, \frac{1}{V B D} \sum_{v, b} \lVert \mu_b - z_{vb} \rVert^2
      + \frac{\lambda}{V} \sum_v \Bigl[ \frac{\alpha}{D} \sum_d (1 - \sigma_{vd})^2
      + \frac{\beta}{B S} \sum_{s, i} \bigl(p_{vs(i)} - \Phi^{-1}(\tfrac{i}{B + 1})\bigr)^2
      + \frac{\gamma}{D} \sum_d m_{vd}^2 \Bigr]$$

    with mean $m$ and biased deviation $\sigma$ over the batch, $\mu$ the mean of the global views,
    and $p_{vs(i)}$ the $i$-th smallest of $u_s \cdot (z_{vb} - m_v) / (\sigma_v + \epsilon)$ along
    $S$ random unit directions. The divisor $\sigma_v + \epsilon$ is detached, so that shape does
    not pull at scale. A feature that is exactly constant has no direction to grow in: its scale
    costs 1 and gets no gradient.

    Constants: the defaults are those the paper found best for large sets; for small ones it
    recommends `regularization_weight=0.6`.

    Over several processes the paper looks at local rows, along directions of each process; for
    the statistics of the whole batch give it `gather(z)` and generators of one seed.

    Args:
        *views: One or more views, `(batch, dim)` each, at least two rows, the global (large) ones
            first; row $b$ of each is the same sample.
        global_views: How many of them are global; all if None.
        regularization_weight: $\lambda$, in [0, 1].
        scale_weight: $\alpha$.
        shape_weight: $\beta$.
        center_weight: $\gamma$.
        slices: $S$, the number of directions.
        eps: $\epsilon > 0$.
        generator: The source of the directions, on the device of the views; torch's own by default.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If there is no view, shapes differ or are not `(batch, dim)`, `batch < 2`, or
            an option is out of its range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import visreg_loss
        >>> z = torch.full((4, 3), 2.0)  # collapsed at 2: scale 1, centre 4, shape of zeros
        >>> visreg_loss(z, z, regularization_weight=1.0, shape_weight=0.0)
        tensor(5.)

    References:
        Wu et al., *VISReg*, 2026, <https://arxiv.org/abs/2606.02572>, equations 1 to 8 and
        algorithm 1; written from the authors' project page and from lightly's transcription.
    """
    check_weights(
        "visreg_loss",
        scale_weight=scale_weight,
        shape_weight=shape_weight,
        center_weight=center_weight,
    )
    check_ratio("visreg_loss", "regularization_weight", regularization_weight)
    terms = _terms("visreg_loss", views, global_views, slices, eps, generator)
    regularization = (
        scale_weight * terms.scale + shape_weight * terms.shape + center_weight * terms.center
    )
    weight = regularization_weight
    return (1 - weight) * terms.invariance + weight * regularization


def visreg_terms(
    *views: Tensor,
    global_views: int | None = None,
    slices: int = 4096,
    eps: float = 1e-4,
    generator: torch.Generator | None = None,
) -> VISRegTerms:
    """Compute the terms of `visreg_loss` separately, for logging or other weights.

    Args:
        *views: As those of `visreg_loss`.
        global_views: How many of them are global; all if None.
        slices: The number of directions.
        eps: Above 0, beside the deviation in the divisor.
        generator: The source of the directions.

    Returns:
        The unweighted `VISRegTerms`.

    Raises:
        ValueError: As `visreg_loss` does.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import visreg_terms
        >>> z = torch.full((4, 3), 2.0)
        >>> visreg_terms(z, z).center
        tensor(4.)

    References:
        Wu et al., *VISReg*, 2026, <https://arxiv.org/abs/2606.02572>.
    """
    return _terms("visreg_terms", views, global_views, slices, eps, generator)


def _terms(
    who: str,
    views: tuple[Tensor, ...],
    global_views: int | None,
    slices: int,
    eps: float,
    generator: torch.Generator | None,
) -> VISRegTerms:
    check_views(who, views, least_views=1, least_batch=2)
    count = how_many_global(who, views, global_views)
    check_at_least(who, "slices", slices, 1)
    check_positive(who, "eps", eps)
    with full_precision(views[0]):
        z = stack_views(views)
        batch = z.shape[1]
        mean = z.mean(dim=1, keepdim=True)
        near = z - mean
        near = near - near.detach().mean(dim=1, keepdim=True)  # the digits that the mean has lost
        scale = torch.linalg.vector_norm(near, dim=1, keepdim=True) / batch**0.5
        unit = near / (scale.detach() + eps)
        projected = directions_for(z, slices, generator).mT @ unit.mT  # (views, slices, batch)
        order = projected.detach().argsort(dim=-1)
        places = torch.arange(1, batch + 1, device=z.device, dtype=z.dtype) / (batch + 1)
        quantiles = torch.special.ndtri(places).expand_as(projected)
        wanted = torch.zeros_like(projected).scatter(-1, order, quantiles)
        return VISRegTerms(
            invariance=(z[:count].mean(dim=0) - z).square().mean(),
            scale=(1 - scale).square().mean(),
            shape=(projected - wanted).square().mean(),
            center=mean.square().mean(),
        )


class VISRegLoss(nn.Module):
    """`visreg_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self,
        *,
        global_views: int | None = None,
        regularization_weight: float = 0.9,
        scale_weight: float = 1.0,
        shape_weight: float = 1.0,
        center_weight: float = 1.0,
        slices: int = 4096,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        self.global_views, self.regularization_weight = global_views, regularization_weight
        self.scale_weight, self.shape_weight = scale_weight, shape_weight
        self.center_weight, self.slices, self.eps = center_weight, slices, eps

    def forward(self, *views: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of views, `(batch, dim)` each, the global ones first."""
        return visreg_loss(
            *views,
            global_views=self.global_views,
            regularization_weight=self.regularization_weight,
            scale_weight=self.scale_weight,
            shape_weight=self.shape_weight,
            center_weight=self.center_weight,
            slices=self.slices,
            eps=self.eps,
            generator=generator,
        )
