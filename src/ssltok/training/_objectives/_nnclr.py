"""NNCLR as an objective: the neighbour of one view among old rows finds the other view."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_positive
from ssltok.distributed import gather
from ssltok.losses import nearest_in_queue, nnclr_loss
from ssltok.state import FeatureQueue
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._parts import predictor_of
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged, same_rows

__all__ = ["NNCLR"]


@documented
class NNCLR(PlainObjective):
    """Replace a view by the nearest row of past batches, and find the other view from it.

    `nnclr_loss` of both directions, the mean of them: the target is `nearest_in_queue` of one
    view's projection, the prediction a predictor's of the other's. No teacher; all processes push
    the projections of their first views into the queue in `update`, in one order.

    Args:
        projector_dim: Features of a projection; the paper's 256.
        hidden_dim: Width of the projector's two hidden layers and of the predictor's one; 2048 and
            4096 in the paper, 512 by default, for encoders of some 64 features.
        predictor: A module of your own that keeps the width.
        queue_size: How many rows are kept. The paper keeps 98,304 of a million images; 4096 by
            default.
        temperature: Above 0; 0.1 in the paper.

    Example:
        >>> import torch
        >>> from ssltok.training import NNCLR, ObjectiveBatch
        >>> encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 8))
        >>> encoder.dim = 8
        >>> objective = NNCLR(encoder, queue_size=64)
        >>> output = objective(encoder, ObjectiveBatch((torch.randn(6, 2, 10),) * 2))
        >>> objective.update(encoder, output.memory)
        >>> torch.equal(objective.queue()[:6], output.memory[0])
        True

    References:
        Dwibedi et al., *With a Little Help from My Friends (NNCLR)*, 2021,
        <https://arxiv.org/abs/2104.14548>, algorithm 1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 256,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        predictor: nn.Module | None = None,
        pool: Pool | None = None,
        queue_size: int = 4096,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        check_positive("NNCLR", "temperature", temperature)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=3
        )
        self.predictor = predictor_of("NNCLR", predictor, self.projector_dim, hidden_dim)
        self.hidden_dim, self.queue_size = hidden_dim, queue_size
        self.temperature = temperature
        self.queue = FeatureQueue(queue_size, self.projector_dim)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        views = self._projections(encoder, batch)
        z_a, z_b = same_rows("NNCLR", views)
        pred_a, pred_b = self.predictor(torch.cat([z_a, z_b])).chunk(2)
        queue = self.queue()
        directions = [
            nnclr_loss(
                gather(pred), gather(nearest_in_queue(z, queue)), temperature=self.temperature
            )
            for pred, z in ((pred_a, z_b), (pred_b, z_a))
        ]
        loss = (directions[0] + directions[1]) / 2
        memory = nn.functional.normalize(z_a.detach(), dim=1)
        return ObjectiveOutput(loss, logged(contrast=loss), (memory,))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Push the projections of all processes into the queue."""
        self.queue.update(gather(memory[0]))
