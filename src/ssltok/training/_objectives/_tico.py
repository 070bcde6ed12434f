"""TiCo as an objective: agree with a slow teacher, and keep out of the directions used before."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.distributed import gather
from ssltok.losses import tico_terms
from ssltok.state import EMATeacher, RunningMoment
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    Tower,
    logged,
    same_rows,
)

__all__ = ["TiCo"]


@documented
class TiCo(PlainObjective):
    """Agree with what a slow teacher makes of the other view, and use new directions.

    `tico_loss` of the rows of both views, each against the teacher's of the other, with the
    `RunningMoment` of all rows there were; teacher and moment move in `update`. The teacher is in
    training mode, as `BYOL`'s.

    Args:
        projector_dim: Features of a projection; 256 by default.
        hidden_dim: Width of the projector's hidden layer; 512 by default.
        momentum: Share of the teacher that an update keeps, in [0, 1]. The attribute of that name
            may be set before each update, to follow a schedule.
        moment_momentum: Share of the moment that an update keeps, in [0, 1]; lightly's 0.9.
        contrast_weight: The weight of used directions, 0 or more; lightly's 8.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, TiCo
        >>> encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 8))
        >>> encoder.dim = 8
        >>> objective = TiCo(encoder, projector_dim=16)
        >>> output = objective(encoder, ObjectiveBatch((torch.randn(6, 2, 10),) * 2))
        >>> output.loss.backward()  # a step of the optimizer follows, then:
        >>> objective.update(encoder, output.memory)

    References:
        Zhu et al., *TiCo*, 2022, <https://arxiv.org/abs/2206.10698>.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 256,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        momentum: float = 0.99,
        moment_momentum: float = 0.9,
        contrast_weight: float = 8.0,
    ) -> None:
        super().__init__()
        check_ratio("TiCo", "momentum", momentum)
        check_ratio("TiCo", "moment_momentum", moment_momentum)
        check_at_least("TiCo", "contrast_weight", contrast_weight, 0)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=2
        )
        self.hidden_dim, self.momentum = hidden_dim, momentum
        self.moment_momentum, self.contrast_weight = moment_momentum, contrast_weight
        self.teacher = EMATeacher(Tower(encoder, self.projector, pool), training=True)
        self.moment = RunningMoment(self.projector_dim, momentum=moment_momentum)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        views = self._projections(encoder, batch, read=True)
        rows = torch.cat(same_rows("TiCo", views))
        known = torch.cat(self.teacher(batch.views, batch.valid)[::-1])
        terms = tico_terms(
            gather(rows), gather(known), self.moment(), momentum=self.moment_momentum
        )
        loss = terms.invariance + self.contrast_weight * terms.contrast
        return ObjectiveOutput(loss, logged(**terms._asdict()), (rows.detach(),))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move the teacher towards encoder and projector, and the moment."""
        self._follow(self.teacher, encoder, momentum=self.momentum)
        self.moment.update(memory[0])
