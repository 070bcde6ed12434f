"""SimSiam as an objective: predict what the network itself makes of another view."""

import torch
from torch import Tensor, nn

from ssltok.losses import negative_cosine_loss
from ssltok.training._objectives._parts import predictor_of, projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, check_views, logged, projected, whole_batch_mean

__all__ = ["SimSiam"]


class SimSiam(nn.Module):
    """Predict, from each view, the projection of the other view, which is held still.

    `negative_cosine_loss` in both directions, halved. No teacher and no negatives: the predictor
    and the stopped gradient keep the features from collapsing. The projector ends in a BatchNorm
    without scale and shift.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection, and of the projector's two hidden layers. The
            paper uses 2048 behind 2048 features; 512 by default, for encoders of some 64.
        predictor_dim: Width of the predictor's hidden layer, a quarter of that as in the paper.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        predictor: A module of your own instead of the `Predictor`, which keeps the width.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

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

    views = 2

    by_token = False

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
        self.projector, self.projector_dim = projector_of(
            "SimSiam", encoder, projector=projector, pool=pool, hidden_dim=projector_dim,
            out_dim=projector_dim, layers=3,
            whiten=lambda: nn.BatchNorm1d(projector_dim, affine=False),
        )  # fmt: skip
        self.predictor = predictor_of("SimSiam", predictor, self.projector_dim, predictor_dim)
        self.predictor_dim, self.pool = predictor_dim, pool

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        check_views("SimSiam", batch, self.views)
        z_a, z_b = projected("SimSiam", encoder, batch, head=self.projector, pool=self.pool)
        rows = len(z_a)
        pred_a, pred_b = self.predictor(torch.cat([z_a, z_b])).split([rows, len(z_b)])
        both = negative_cosine_loss(pred_a, z_b) + negative_cosine_loss(pred_b, z_a)
        loss = whole_batch_mean(both / 2, rows)
        return ObjectiveOutput(loss, logged(distance=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
