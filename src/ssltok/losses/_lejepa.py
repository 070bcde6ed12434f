"""LeJEPA: views should agree with the mean of the global ones, and be isotropic Gaussians."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive, check_ratio
from ssltok._shared.numerics import full_precision
from ssltok.losses._directions import directions_for
from ssltok.losses._slice_errors_fast import slice_errors
from ssltok.losses._views import check_views, how_many_global, stack_views

__all__ = ["LeJEPALoss", "LeJEPATerms", "lejepa_loss", "lejepa_terms"]


class LeJEPATerms(NamedTuple):
    r"""The two unweighted terms of `lejepa_loss`; each is a scalar.

    Attributes:
        invariance: Mean squared distance of all views from the mean of the global ones.
        gaussian: `sigreg_loss` of each view along the same directions, averaged.
    """

    invariance: Tensor
    gaussian: Tensor


def lejepa_loss(
    *views: Tensor,
    global_views: int | None = None,
    gaussian_weight: float = 0.05,
    slices: int = 1024,
    points: int = 17,
    limit: float = 3.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Pull all views to the mean of the global ones, and each to a standard Gaussian.

    $$(1 - \lambda)\, \frac{1}{V B D} \sum_{v, b} \lVert \mu_b - z_{vb} \rVert^2
      + \frac{\lambda}{V} \sum_v \mathrm{SIGReg}(z_v), \qquad
      \mu_b = \frac{1}{G} \sum_{v \le G} z_{vb}$$

    There is no teacher, no predictor and no stop-gradient: $\lambda$ is the one knob. SIGReg is
    `sigreg_loss`; all views are looked at along the same directions.

    Constants: $\lambda = 0.05$ and the rest are those of the authors' package.

    Over several processes, give it `gather(z)` of each view and generators of one seed.

    Args:
        *views: One or more views, `(batch, dim)` each, the global (large) ones first; row $b$ of
            each is the same sample.
        global_views: $G$, how many of them are global; all if None.
        gaussian_weight: $\lambda$, in [0, 1].
        slices: The number of directions.
        points: Nodes of SIGReg's integral, at least 2.
        limit: The end of that integral, above 0.
        generator: The source of the directions, on the device of the views; torch's own by default.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If there is no view, shapes differ or are not `(batch, dim)`, or an option is
            out of its range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import lejepa_loss
        >>> z = torch.zeros(4, 3)  # 1 apart: each is 1/2 from the mean
        >>> lejepa_loss(z, z + 1, gaussian_weight=0.0)
        tensor(0.2500)
        >>> lejepa_loss(z, z + 1, global_views=1, gaussian_weight=0.0)  # 0 and 1 from the first
        tensor(0.5000)

    References:
        Balestriero and LeCun, *LeJEPA*, 2025, <https://arxiv.org/abs/2511.08544>, section 5.
    """
    check_ratio("lejepa_loss", "gaussian_weight", gaussian_weight)
    terms = _terms("lejepa_loss", views, global_views, slices, points, limit, generator)
    return (1 - gaussian_weight) * terms.invariance + gaussian_weight * terms.gaussian


def lejepa_terms(
    *views: Tensor,
    global_views: int | None = None,
    slices: int = 1024,
    points: int = 17,
    limit: float = 3.0,
    generator: torch.Generator | None = None,
) -> LeJEPATerms:
    """Compute the terms of `lejepa_loss` separately, for logging or other weights.

    Args:
        *views: As those of `lejepa_loss`.
        global_views: How many of them are global; all if None.
        slices: The number of directions.
        points: Nodes of SIGReg's integral, at least 2.
        limit: The end of that integral, above 0.
        generator: The source of the directions.

    Returns:
        The unweighted `LeJEPATerms`.

    Raises:
        ValueError: As `lejepa_loss` does.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import lejepa_terms
        >>> z = torch.zeros(4, 3)
        >>> lejepa_terms(z, z + 1).invariance
        tensor(0.2500)

    References:
        Balestriero and LeCun, *LeJEPA*, 2025, <https://arxiv.org/abs/2511.08544>, section 5.
    """
    return _terms("lejepa_terms", views, global_views, slices, points, limit, generator)


def _terms(
    who: str,
    views: tuple[Tensor, ...],
    global_views: int | None,
    slices: int,
    points: int,
    limit: float,
    generator: torch.Generator | None,
) -> LeJEPATerms:
    check_views(who, views, least_views=1)
    count = how_many_global(who, views, global_views)
    check_at_least(who, "slices", slices, 1)
    check_at_least(who, "points", points, 2)
    check_positive(who, "limit", limit)
    with full_precision(views[0]):
        z = stack_views(views)
        projected = z.transpose(0, 1) @ directions_for(z, slices, generator)
        return LeJEPATerms(
            invariance=(z[:count].mean(dim=0) - z).square().mean(),
            gaussian=slice_errors(projected, points=points, limit=limit).mean(),
        )


class LeJEPALoss(nn.Module):
    """`lejepa_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self,
        *,
        global_views: int | None = None,
        gaussian_weight: float = 0.05,
        slices: int = 1024,
        points: int = 17,
        limit: float = 3.0,
    ) -> None:
        super().__init__()
        self.global_views, self.gaussian_weight = global_views, gaussian_weight
        self.slices, self.points, self.limit = slices, points, limit

    def forward(self, *views: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of views, `(batch, dim)` each, the global ones first."""
        return lejepa_loss(
            *views,
            global_views=self.global_views,
            gaussian_weight=self.gaussian_weight,
            slices=self.slices,
            points=self.points,
            limit=self.limit,
            generator=generator,
        )
