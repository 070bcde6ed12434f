"""ReSSL as an objective: be as near to old keys as a slow teacher is that saw another view."""

from torch import nn

from ssltok._shared.checks import check_positive, check_ratio
from ssltok.losses import ressl_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._keyed import KeyedObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    logged,
    same_rows,
    whole_batch_mean,
)

__all__ = ["ReSSL"]


@documented
class ReSSL(KeyedObjective):
    """Compare two views by their similarities to keys of past batches, without any positive.

    `ressl_loss` of one direction against a `FeatureQueue`: the first view goes through encoder and
    projector, the second, which should be the weaker one, through a slow teacher in training mode;
    all processes push its keys into the queue in `update`, in one order.

    Args:
        projector_dim: Features of a projection; the authors' 512.
        hidden_dim: Width of the projector's hidden layer; 4096 in the authors' code, 512 by
            default, for encoders of some 64 features.
        queue_size: How many keys are kept. The authors keep 131,072 of a million images; 4096 by
            default.
        temperature: The student's, above 0; 0.1 in the paper.
        teacher_temperature: The teacher's, above 0 and lower; 0.04 in the paper.
        momentum: Share of the teacher that an update keeps, in [0, 1]; 0.999 in the paper.
            The attribute of that name may be set before each update, to follow a schedule.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, ReSSL
        >>> encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 8))
        >>> encoder.dim = 8
        >>> objective = ReSSL(encoder, queue_size=64)
        >>> output = objective(encoder, ObjectiveBatch((torch.randn(6, 2, 10),) * 2))
        >>> objective.update(encoder, output.memory)
        >>> torch.equal(objective.queue()[:6], output.memory[0])
        True

    References:
        Zheng et al., *ReSSL*, 2021, <https://arxiv.org/abs/2107.09282>, section 3.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 512,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        queue_size: int = 4096,
        temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        momentum: float = 0.999,
    ) -> None:
        super().__init__()
        check_positive("ReSSL", "temperature", temperature)
        check_positive("ReSSL", "teacher_temperature", teacher_temperature)
        check_ratio("ReSSL", "momentum", momentum)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=2
        )
        self.hidden_dim = hidden_dim
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self._build_queue(encoder, queue_size, momentum)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of a view for the student and a weaker one for the teacher."""
        query, key = self._query_and_key(encoder, batch)
        same_rows("ReSSL", [query, key])
        local = ressl_loss(
            query, key, self.queue(), temperature=self.temperature,
            teacher_temperature=self.teacher_temperature,
        )  # fmt: skip
        loss = whole_batch_mean(local, len(query))
        return ObjectiveOutput(loss, logged(divergence=loss), (key,))
