"""MoCo as an objective: find a slow teacher's key of another view among a queue of old keys."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_positive, check_ratio
from ssltok.distributed import gather
from ssltok.losses import info_nce_loss
from ssltok.state import EMATeacher, FeatureQueue
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    Tower,
    check_views,
    logged,
    projected,
    whole_batch_mean,
)

__all__ = ["MoCo"]


class MoCo(nn.Module):
    """Find the key of the second view for a query from the first, among the keys of past batches.

    `info_nce_loss` of one direction against a `FeatureQueue`. The keys come from a slow teacher in
    training mode; all processes push theirs into the queue in `update`, in one order.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection; the paper's 128.
        hidden_dim: Width of the projector's hidden layer.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        queue_size: How many keys are kept. The paper keeps 65,536 of a million images; 4096 by
            default.
        temperature: Above 0; 0.2 as in MoCo v2, 0.07 in v1.
        momentum: Share of the teacher that an update keeps, in [0, 1]; 0.999 in the paper.
            The attribute of that name may be set before each update, to follow a schedule.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

    Example:
        >>> import torch
        >>> from ssltok.training import MoCo, ObjectiveBatch
        >>> encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 8))
        >>> encoder.dim = 8
        >>> objective = MoCo(encoder, queue_size=64)
        >>> output = objective(encoder, ObjectiveBatch((torch.randn(6, 2, 10),) * 2))
        >>> objective.update(encoder, output.memory)
        >>> torch.equal(objective.queue()[:6], output.memory[0])
        True

    References:
        He et al., *MoCo*, 2020, <https://arxiv.org/abs/1911.05722>, algorithm 1.
        Chen et al., *MoCo v2*, 2020, <https://arxiv.org/abs/2003.04297> (the projector).
    """

    views = 2

    by_token = False

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 128,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        queue_size: int = 4096,
        temperature: float = 0.2,
        momentum: float = 0.999,
    ) -> None:
        super().__init__()
        check_positive("MoCo", "temperature", temperature)
        check_ratio("MoCo", "momentum", momentum)
        self.projector, self.projector_dim = projector_of(
            "MoCo", encoder, projector=projector, pool=pool, hidden_dim=hidden_dim,
            out_dim=projector_dim, layers=2,
        )  # fmt: skip
        self.hidden_dim, self.pool, self.queue_size = hidden_dim, pool, queue_size
        self.temperature, self.momentum = temperature, momentum
        self.teacher = EMATeacher(Tower(encoder, self.projector, pool), training=True)
        self.queue = FeatureQueue(queue_size, self.projector_dim)

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of a view for queries and a view for keys."""
        check_views("MoCo", batch, self.views, read=True)
        features = None if batch.features is None else batch.features[:1]
        first = batch._replace(views=batch.views[:1], features=features)
        (query,) = projected("MoCo", encoder, first, head=self.projector, pool=self.pool)
        (key,) = self.teacher(batch.views[1:], batch.valid)
        local = info_nce_loss(query, key, self.queue(), temperature=self.temperature)
        loss = whole_batch_mean(local, len(query))
        return ObjectiveOutput(loss, logged(contrast=loss), (key,))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move the teacher, and push the keys of all processes into the queue."""
        tower = Tower(encoder, self.projector, self.pool)
        self.teacher.update(tower, momentum=self.momentum)
        self.queue.update(gather(memory[0]))
