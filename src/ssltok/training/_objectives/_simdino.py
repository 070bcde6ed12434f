"""SimDINO as an objective: follow a slow teacher, and keep the coding rate high."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive, check_ratio
from ssltok.distributed import gather
from ssltok.losses import simdino_terms
from ssltok.state import EMATeacher
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    Tower,
    logged,
    same_rows,
)

__all__ = ["SimDINO"]


@documented
class SimDINO(PlainObjective):
    """Turn each view to what a slow teacher makes of another, while the rows spread.

    `simdino_loss` of all views by the student and of the first two by the teacher: DINO without
    prototypes, centre and temperatures. The teacher is in training mode, as `BYOL`'s. Departure:
    over several processes the coding rate is that of the whole batch, where the authors' script
    takes that of each process.

    Args:
        projector_dim: Features of a projection; the authors' 256.
        hidden_dim: Width of the projector's two hidden layers; 2048 in the authors' code, 512 by
            default, for encoders of some 64 features.
        momentum: Share of the teacher that an update keeps, in [0, 1]; 0.996 at the authors' start.
            The attribute of that name may be set before each update, to follow a schedule.
        agreement_weight: The weight of following the teacher, 0 or more; 1 in the authors' script.
        eps: The squared precision of the rate, above 0; the authors' 0.5.
        views: How many views it wants, 2 or more; the first two are the large ones.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, SimDINO
        >>> encoder = torch.nn.Sequential(torch.nn.AdaptiveAvgPool1d(4), torch.nn.Flatten())
        >>> encoder.dim = 8
        >>> objective = SimDINO(encoder, projector_dim=8, hidden_dim=16, views=3)
        >>> large, small = torch.randn(2, 6, 2, 20), torch.randn(6, 2, 10)
        >>> sorted(objective(encoder, ObjectiveBatch((*large, small))).logged)
        ['agreement', 'expansion']

    References:
        Wu et al., *SimDINO*, 2025, <https://arxiv.org/abs/2502.10385>.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 256,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        momentum: float = 0.996,
        agreement_weight: float = 1.0,
        eps: float = 0.5,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_ratio("SimDINO", "momentum", momentum)
        check_at_least("SimDINO", "agreement_weight", agreement_weight, 0)
        check_positive("SimDINO", "eps", eps)
        check_at_least("SimDINO", "views", views, 2)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=3
        )
        self.hidden_dim, self.views = hidden_dim, views
        self.momentum, self.agreement_weight, self.eps = momentum, agreement_weight, eps
        self.teacher = EMATeacher(Tower(encoder, self.projector, pool), training=True)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views, the large ones first."""
        views = self._projections(encoder, batch, read=True)
        known = self.teacher(batch.views[:2], batch.valid)
        student = torch.stack(list(map(gather, same_rows("SimDINO", views))))
        teacher = torch.stack(list(map(gather, same_rows("SimDINO", known))))
        terms = simdino_terms(student, teacher, eps=self.eps)
        loss = -self.agreement_weight * terms.agreement - terms.expansion
        return ObjectiveOutput(loss, logged(**terms._asdict()))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move the teacher towards encoder and projector."""
        self._follow(self.teacher, encoder, momentum=self.momentum)
