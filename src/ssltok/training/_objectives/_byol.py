"""BYOL as an objective: predict what a slow teacher makes of another view."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_ratio
from ssltok.losses import cosine_regression_loss
from ssltok.state import EMATeacher
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._parts import predictor_of
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    Tower,
    logged,
    whole_batch_mean,
)

__all__ = ["BYOL"]


@documented
class BYOL(PlainObjective):
    """Predict, from each view, the projection that a slow teacher makes of the other view.

    `cosine_regression_loss` in both directions, added. The teacher follows encoder and projector
    by an exponential moving average in `update`; it is in training mode, so its BatchNorm uses
    the statistics of the batch, as published.

    Args:
        projector_dim: Features of a projection; the paper's 256.
        hidden_dim: Width of the projector's hidden layer. The paper uses 4096 behind 2048
            features; 512 by default, for encoders of some 64.
        predictor_dim: Width of the predictor's hidden layer; 4096 in the paper.
        predictor: A module of your own instead of the `Predictor`, which keeps the width.
        momentum: Share of the teacher that an update keeps, in [0, 1]; 0.996 at the paper's start.
            The attribute of that name may be set before each update, to follow a schedule.

    Example:
        >>> import torch
        >>> from ssltok.training import BYOL, ObjectiveBatch
        >>> encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 8))
        >>> encoder.dim = 8
        >>> objective = BYOL(encoder, projector_dim=16, momentum=0.95)
        >>> output = objective(encoder, ObjectiveBatch((torch.randn(6, 2, 10),) * 2))
        >>> output.loss.backward()  # a step of the optimizer follows, then:
        >>> objective.update(encoder, output.memory)

    References:
        Grill et al., *BYOL*, 2020, <https://arxiv.org/abs/2006.07733>, section 3.1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 256,
        hidden_dim: int = 512,
        predictor_dim: int = 512,
        projector: nn.Module | None = None,
        predictor: nn.Module | None = None,
        pool: Pool | None = None,
        momentum: float = 0.996,
    ) -> None:
        super().__init__()
        check_ratio("BYOL", "momentum", momentum)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=2
        )
        self.predictor = predictor_of("BYOL", predictor, self.projector_dim, predictor_dim)
        self.hidden_dim, self.predictor_dim = hidden_dim, predictor_dim
        self.momentum = momentum
        self.teacher = EMATeacher(Tower(encoder, self.projector, pool), training=True)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        z_a, z_b = self._projections(encoder, batch, read=True)
        rows = len(z_a)
        pred_a, pred_b = self.predictor(torch.cat([z_a, z_b])).split([rows, len(z_b)])
        target_a, target_b = self.teacher(batch.views, batch.valid)
        both = cosine_regression_loss(pred_a, target_b) + cosine_regression_loss(pred_b, target_a)
        loss = whole_batch_mean(both, rows)
        return ObjectiveOutput(loss, logged(distance=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move the teacher towards encoder and projector."""
        self._follow(self.teacher, encoder, momentum=self.momentum)
