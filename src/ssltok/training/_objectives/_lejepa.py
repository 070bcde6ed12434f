"""LeJEPA as an objective: views agree with the mean of the global ones, and are Gaussian."""

import torch
from torch import nn

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.losses import lejepa_terms
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    check_global,
    logged,
)

__all__ = ["LeJEPA"]


@documented
class LeJEPA(PlainObjective):
    r"""Pull projected views to the mean of the global ones, and each to an isotropic Gaussian.

    `lejepa_loss`, along directions drawn from `ObjectiveBatch.seed`: no teacher, no predictor, one
    knob. It is LeJEPA as its authors have it; `SIGReg` takes the views' distances by pairs and
    directions of each view.

    Args:
        projector_dim: Features of a projection; 16 by default.
        hidden_dim: Width of the projector's two hidden layers.
        gaussian_weight: $\lambda$, in [0, 1]; 0.05 in the paper.
        slices: How many directions are drawn; 1024 in the authors' package, 256 in the paper.

    Example:
        >>> import torch
        >>> from ssltok.training import LeJEPA, ObjectiveBatch
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> view = torch.randn(6, 2, 10)
        >>> objective = LeJEPA(encoder, hidden_dim=32, slices=8).eval()
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
        global_views: int | None = None,
        gaussian_weight: float = 0.05,
        slices: int = 1024,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_ratio("LeJEPA", "gaussian_weight", gaussian_weight)
        check_at_least("LeJEPA", "slices", slices, 1)
        check_global("LeJEPA", global_views, views)
        check_at_least("LeJEPA", "views", views, 2)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=3
        )
        self.hidden_dim, self.views = hidden_dim, views
        self.global_views = global_views
        self.gaussian_weight, self.slices = gaussian_weight, slices

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        views = self._gathered(encoder, batch)
        generator = torch.Generator(views[0].device).manual_seed(batch.seed)
        terms = lejepa_terms(
            *views, global_views=self.global_views, slices=self.slices, generator=generator
        )
        weight = self.gaussian_weight
        loss = (1 - weight) * terms.invariance + weight * terms.gaussian
        return ObjectiveOutput(loss, logged(**terms._asdict()))
