"""SIGReg (LeJEPA) as an objective: views agree, and their features are Gaussian."""

from itertools import combinations

import torch
from torch import nn

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.losses import sigreg_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["SIGReg"]


@documented
class SIGReg(PlainObjective):
    r"""Make projected views agree while each is an isotropic Gaussian, seen from any direction.

    $$(1 - \lambda)\, \tfrac{2}{V (V - 1)} \sum_{i < j} \tfrac{1}{B D} \lVert z_i - z_j \rVert^2
      + \tfrac{\lambda}{V} \sum_i \mathrm{SIGReg}(z_i)$$

    with `sigreg_loss`, along directions drawn from `ObjectiveBatch.seed`. Departure: LeJEPA takes
    the distances from the mean of the views, for two views a quarter of the first term.

    Args:
        projector_dim: Features of a projection; 16 by default.
        hidden_dim: Width of the projector's two hidden layers.
        gaussian_weight: $\lambda$, in [0, 1]; 0.05 in the paper.
        slices: How many directions are drawn; 1024 in the authors' package, 256 in the paper.
        views: How many views it wants.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, SIGReg
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> view = torch.randn(6, 2, 10)
        >>> objective = SIGReg(encoder, hidden_dim=32, slices=8)
        >>> objective(encoder, ObjectiveBatch((view, view), seed=3)).logged["invariance"]
        tensor(0.)

    References:
        Balestriero and LeCun, *LeJEPA*, 2025, <https://arxiv.org/abs/2511.08544>, section 5.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 16,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        gaussian_weight: float = 0.05,
        slices: int = 1024,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_ratio("SIGReg", "gaussian_weight", gaussian_weight)
        check_at_least("SIGReg", "slices", slices, 1)
        check_at_least("SIGReg", "views", views, 2)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=3
        )
        self.hidden_dim, self.views = hidden_dim, views
        self.gaussian_weight, self.slices = gaussian_weight, slices

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        views = self._gathered(encoder, batch)
        generator = torch.Generator(views[0].device).manual_seed(batch.seed)
        pairs = [(z_a - z_b).square().mean() for z_a, z_b in combinations(views, 2)]
        invariance = torch.stack(pairs).mean()
        each = [sigreg_loss(z, slices=self.slices, generator=generator) for z in views]
        gaussian = torch.stack(each).mean()
        weight = self.gaussian_weight
        loss = (1 - weight) * invariance + weight * gaussian
        return ObjectiveOutput(loss, logged(invariance=invariance, gaussian=gaussian))
