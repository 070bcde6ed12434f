"""ReSSL as an objective: be as near to old keys as a slow teacher is that saw another view."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_positive, check_ratio
from ssltok.distributed import gather
from ssltok.losses import ressl_loss
from ssltok.state import EMATeacher, FeatureQueue
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    Tower,
    check_views,
    logged,
    projected,
    same_rows,
    whole_batch_mean,
)

__all__ = ["ReSSL"]


class ReSSL(nn.Module):
    """Compare two views by their similarities to keys of past batches, without any positive.

    `ressl_loss` of one direction against a `FeatureQueue`: the first view goes through encoder and
    projector, the second, which should be the weaker one, through a slow teacher in training mode;
    all processes push its keys into the queue in `update`, in one order.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection; the authors' 512.
        hidden_dim: Width of the projector's hidden layer; 4096 in the authors' code, 512 by
            default, for encoders of some 64 features.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        queue_size: How many keys are kept. The authors keep 131,072 of a million images; 4096 by
            default.
        temperature: The student's, above 0; 0.1 in the paper.
        teacher_temperature: The teacher's, above 0 and lower; 0.04 in the paper.
        momentum: Share of the teacher that an update keeps, in [0, 1]; 0.999 in the paper.
            The attribute of that name may be set before each update, to follow a schedule.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

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

    views = 2

    by_token = False

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
        self.projector, self.projector_dim = projector_of(
            "ReSSL", encoder, projector=projector, pool=pool, hidden_dim=hidden_dim,
            out_dim=projector_dim, layers=2,
        )  # fmt: skip
        self.hidden_dim, self.pool, self.queue_size = hidden_dim, pool, queue_size
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.momentum = momentum
        self.teacher = EMATeacher(Tower(encoder, self.projector, pool), training=True)
        self.queue = FeatureQueue(queue_size, self.projector_dim)

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of a view for the student and a weaker one for the teacher."""
        check_views("ReSSL", batch, self.views, read=True)
        features = None if batch.features is None else batch.features[:1]
        first = batch._replace(views=batch.views[:1], features=features)
        (query,) = projected("ReSSL", encoder, first, head=self.projector, pool=self.pool)
        (key,) = self.teacher(batch.views[1:], batch.valid)
        same_rows("ReSSL", [query, key])
        local = ressl_loss(
            query, key, self.queue(), temperature=self.temperature,
            teacher_temperature=self.teacher_temperature,
        )  # fmt: skip
        loss = whole_batch_mean(local, len(query))
        return ObjectiveOutput(loss, logged(divergence=loss), (key,))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move the teacher, and push the keys of all processes into the queue."""
        tower = Tower(encoder, self.projector, self.pool)
        self.teacher.update(tower, momentum=self.momentum)
        self.queue.update(gather(memory[0]))
