"""VISReg as an objective: views agree, with the scale and the shape of a Gaussian."""

import torch
from torch import nn

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.losses import visreg_terms
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    check_global,
    logged,
)

__all__ = ["VISReg"]


@documented
class VISReg(PlainObjective):
    r"""Make projected views agree while scale, shape and centre of each are a Gaussian's.

    `visreg_loss` with all three parts of weight 1, along directions drawn from
    `ObjectiveBatch.seed`. Departure: over several processes statistics and directions are those of
    the whole batch, where the paper takes those of each process.

    Args:
        projector_dim: Features of a projection, and width of its hidden layers; 512 by default.
        regularization_weight: $\lambda$, in [0, 1]; the paper's 0.9 for large sets, where it
            recommends 0.6 for small ones.
        slices: How many directions are drawn; 256 as in stable-pretraining, 4096 in lightly.

    Example:
        >>> import torch
        >>> from ssltok.training import VISReg, ObjectiveBatch
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> view = torch.randn(6, 2, 10)
        >>> objective = VISReg(encoder, projector_dim=8, slices=8).eval()
        >>> objective(encoder, ObjectiveBatch((view, view), seed=3)).logged["invariance"]
        tensor(0.)

    References:
        Wu et al., *VISReg*, 2026, <https://arxiv.org/abs/2606.02572>, algorithm 1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        global_views: int | None = None,
        regularization_weight: float = 0.9,
        slices: int = 256,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_ratio("VISReg", "regularization_weight", regularization_weight)
        check_at_least("VISReg", "slices", slices, 1)
        check_global("VISReg", global_views, views)
        check_at_least("VISReg", "views", views, 2)
        self._build_projector(
            encoder, projector, pool, hidden_dim=projector_dim, out_dim=projector_dim, layers=3
        )
        self.views = views
        self.global_views = global_views
        self.regularization_weight, self.slices = regularization_weight, slices

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        views = self._gathered(encoder, batch)
        generator = torch.Generator(views[0].device).manual_seed(batch.seed)
        terms = visreg_terms(
            *views, global_views=self.global_views, slices=self.slices, generator=generator
        )
        weight = self.regularization_weight
        regularization = terms.scale + terms.shape + terms.center
        loss = (1 - weight) * terms.invariance + weight * regularization
        return ObjectiveOutput(loss, logged(**terms._asdict()))
