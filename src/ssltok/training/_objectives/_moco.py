"""MoCo as an objective: find a slow teacher's key of another view among a queue of old keys."""

from torch import nn

from ssltok._shared.checks import check_positive, check_ratio
from ssltok.losses import info_nce_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._keyed import KeyedObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    logged,
    whole_batch_mean,
)

__all__ = ["MoCo"]


@documented
class MoCo(KeyedObjective):
    """Find the key of the second view for a query from the first, among the keys of past batches.

    `info_nce_loss` of one direction against a `FeatureQueue`. The keys come from a slow teacher in
    training mode; all processes push theirs into the queue in `update`, in one order.

    Args:
        projector_dim: Features of a projection; the paper's 128.
        queue_size: How many keys are kept. The paper keeps 65,536 of a million images; 4096 by
            default.
        temperature: Above 0; 0.2 as in MoCo v2, 0.07 in v1.
        momentum: Share of the teacher that an update keeps, in [0, 1]; 0.999 in the paper.
            The attribute of that name may be set before each update, to follow a schedule.

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
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=2
        )
        self.hidden_dim, self.temperature = hidden_dim, temperature
        self._build_queue(encoder, queue_size, momentum)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of a view for queries and a view for keys."""
        query, key = self._query_and_key(encoder, batch)
        local = info_nce_loss(query, key, self.queue(), temperature=self.temperature)
        loss = whole_batch_mean(local, len(query))
        return ObjectiveOutput(loss, logged(contrast=loss), (key,))
