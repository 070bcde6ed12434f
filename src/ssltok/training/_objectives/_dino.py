"""DINO as an objective: every view is told apart as a slow teacher tells the large ones."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive, check_ratio
from ssltok.losses import center_and_sharpen, dino_loss
from ssltok.state import EMATeacher, RunningCenter
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._parts import feature_dim, head_of
from ssltok.training._objectives._plain import PlainObjective
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

__all__ = ["DINO"]


@documented
class DINO(PlainObjective):
    """Follow, from each view, a slow teacher's centred and sharpened scores of the first two.

    `dino_loss` of the scores of prototypes, at the paper's student temperature of 0.1. Views may
    have two lengths, such as those of `multi_crop`, large ones first; then features are pooled.
    `update` moves the teacher, which is in training mode, and then the centre, by the scores of
    all processes.

    Args:
        prototypes: How many scores there are; 65,536 in the paper, 1024 by default.
        hidden_dim: Width of the hidden layers of the `DINOHead`; the paper's 2048.
        bottleneck_dim: Features of its bottleneck; the paper's 256.
        head: A module of your own instead, from `(rows, dim)` to `(rows, prototypes)`; its width
            takes the place of `prototypes`.
        momentum: Share of the teacher that an update keeps, in [0, 1]; 0.996 at the paper's start.
            The attribute of that name may be set before each update, to follow a schedule.
        teacher_temperature: Above 0; 0.04 at the start of the paper, 0.07 at most. An attribute as
            `momentum`.
        views: How many views it wants, 2 or more; 10 in the paper.

    Example:
        >>> import torch
        >>> from ssltok.training import DINO, ObjectiveBatch
        >>> encoder = torch.nn.Sequential(torch.nn.AdaptiveAvgPool1d(4), torch.nn.Flatten())
        >>> encoder.dim = 8
        >>> objective = DINO(encoder, prototypes=32, hidden_dim=16, bottleneck_dim=8, views=3)
        >>> large, small = torch.randn(2, 6, 2, 20), torch.randn(6, 2, 10)
        >>> output = objective(encoder, ObjectiveBatch((*large, small)))
        >>> output.memory[0].shape  # the teacher's scores of the large views
        torch.Size([12, 32])

    References:
        Caron et al., *DINO*, 2021, <https://arxiv.org/abs/2104.14294>, algorithm 1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        prototypes: int = 1024,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        head: nn.Module | None = None,
        pool: Pool | None = None,
        momentum: float = 0.996,
        teacher_temperature: float = 0.04,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_ratio("DINO", "momentum", momentum)
        check_positive("DINO", "teacher_temperature", teacher_temperature)
        check_at_least("DINO", "views", views, 2)
        dim = feature_dim("DINO", encoder, pool)
        self.head, self.prototypes = head_of(
            "DINO", head, dim, prototypes=prototypes, hidden_dim=hidden_dim,
            bottleneck_dim=bottleneck_dim,
        )  # fmt: skip
        self.hidden_dim, self.bottleneck_dim, self.pool = hidden_dim, bottleneck_dim, pool
        self.momentum, self.teacher_temperature = momentum, teacher_temperature
        self.views = views
        self.teacher = EMATeacher(Tower(encoder, self.head, pool), training=True)
        self.center = RunningCenter(self.prototypes)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views, the large ones first."""
        check_views("DINO", batch, self.views, read=True)
        views = projected("DINO", encoder, batch, head=self.head, pool=self.pool)
        scores = torch.stack(same_rows("DINO", views))
        known = torch.stack(same_rows("DINO", self.teacher(batch.views[:2], batch.valid)))
        targets = center_and_sharpen(known, self.center(), temperature=self.teacher_temperature)
        loss = whole_batch_mean(dino_loss(scores, targets), scores.shape[1])
        return ObjectiveOutput(loss, logged(cross_entropy=loss), (known.flatten(0, 1),))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move the teacher, then the centre."""
        tower = Tower(encoder, self.head, self.pool)
        self.teacher.update(tower, momentum=self.momentum)
        self.center.update(memory[0])
