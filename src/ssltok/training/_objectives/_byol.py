"""BYOL as an objective: predict what a slow teacher makes of another view."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_ratio
from ssltok.losses import cosine_regression_loss
from ssltok.state import EMATeacher
from ssltok.training._objectives._parts import predictor_of, projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    Tower,
    check_views,
    logged,
    projected,
    whole_batch_mean,
)

__all__ = ["BYOL"]


class BYOL(nn.Module):
    """Predict, from each view, the projection that a slow teacher makes of the other view.

    `cosine_regression_loss` in both directions, added. The teacher follows encoder and projector
    by an exponential moving average in `update`; it is in training mode, so its BatchNorm uses
    the statistics of the batch, as published.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection; the paper's 256.
        hidden_dim: Width of the projector's hidden layer. The paper uses 4096 behind 2048
            features; 512 by default, for encoders of some 64.
        predictor_dim: Width of the predictor's hidden layer; 4096 in the paper.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        predictor: A module of your own instead of the `Predictor`, which keeps the width.
        momentum: Share of the teacher that an update keeps, in [0, 1]; 0.996 at the paper's start.
            The attribute of that name may be set before each update, to follow a schedule.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

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

    views = 2

    by_token = False

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
        self.projector, self.projector_dim = projector_of(
            "BYOL", encoder, projector=projector, pool=pool, hidden_dim=hidden_dim,
            out_dim=projector_dim, layers=2,
        )  # fmt: skip
        self.predictor = predictor_of("BYOL", predictor, self.projector_dim, predictor_dim)
        self.hidden_dim, self.predictor_dim, self.pool = hidden_dim, predictor_dim, pool
        self.momentum = momentum
        self.teacher = EMATeacher(Tower(encoder, self.projector, pool), training=True)

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        check_views("BYOL", batch, self.views, read=True)
        z_a, z_b = projected("BYOL", encoder, batch, head=self.projector, pool=self.pool)
        rows = len(z_a)
        pred_a, pred_b = self.predictor(torch.cat([z_a, z_b])).split([rows, len(z_b)])
        target_a, target_b = self.teacher(batch.views, batch.valid)
        both = cosine_regression_loss(pred_a, target_b) + cosine_regression_loss(pred_b, target_a)
        loss = whole_batch_mean(both, rows)
        return ObjectiveOutput(loss, logged(distance=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move the teacher towards encoder and projector."""
        tower = Tower(encoder, self.projector, self.pool)
        self.teacher.update(tower, momentum=self.momentum)
