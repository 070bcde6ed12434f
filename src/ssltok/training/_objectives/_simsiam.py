"""SimSiam as an objective: predict what the network itself makes of another view."""

import torch
from torch import nn

from ssltok.losses import negative_cosine_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._parts import predictor_of
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged, whole_batch_mean

__all__ = ["SimSiam"]


@documented
class SimSiam(PlainObjective):
    """Predict, from each view, the projection of the other view, which is held still.

    `negative_cosine_loss` in both directions, halved. No teacher and no negatives: the predictor
    and the stopped gradient keep the features from collapsing. The projector ends in a BatchNorm
    without scale and shift.

    Args:
        projector_dim: Features of a projection, and of the projector's two hidden layers. The
            paper uses 2048 behind 2048 features; 512 by default, for encoders of some 64.
        predictor_dim: Width of the predictor's hidden layer, a quarter of that as in the paper.
        predictor: A module of your own instead of the `Predictor`, which keeps the width.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, SimSiam
        >>> encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 8))
        >>> encoder.dim = 8
        >>> objective = SimSiam(encoder, projector_dim=16, predictor_dim=4)
        >>> loss = objective(encoder, ObjectiveBatch((torch.randn(6, 2, 10),) * 2)).loss
        >>> bool(loss.abs() <= 1)
        True

    References:
        Chen and He, *SimSiam*, 2020, <https://arxiv.org/abs/2011.10566>, algorithm 1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 512,
        predictor_dim: int = 128,
        projector: nn.Module | None = None,
        predictor: nn.Module | None = None,
        pool: Pool | None = None,
    ) -> None:
        super().__init__()
        self._build_projector(
            encoder, projector, pool, hidden_dim=projector_dim, out_dim=projector_dim, layers=3,
            whiten=lambda: nn.BatchNorm1d(projector_dim, affine=False),
        )  # fmt: skip
        self.predictor = predictor_of("SimSiam", predictor, self.projector_dim, predictor_dim)
        self.predictor_dim = predictor_dim

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        z_a, z_b = self._projections(encoder, batch)
        rows = len(z_a)
        pred_a, pred_b = self.predictor(torch.cat([z_a, z_b])).split([rows, len(z_b)])
        both = negative_cosine_loss(pred_a, z_b) + negative_cosine_loss(pred_b, z_a)
        loss = whole_batch_mean(both / 2, rows)
        return ObjectiveOutput(loss, logged(distance=loss))
