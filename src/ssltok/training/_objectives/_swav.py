"""SwAV as an objective: a view says which prototypes another view was assigned to."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.distributed import gather
from ssltok.losses import sinkhorn, swapped_prediction_loss
from ssltok.state import Prototypes
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    check_views,
    logged,
    projected,
    same_rows,
    whole_batch_mean,
)

__all__ = ["SwAV"]


class SwAV(nn.Module):
    """Predict, from each view, the prototypes that the first two views were assigned to.

    `swapped_prediction_loss` of the cosines of projections and prototypes; the assignments are
    `sinkhorn` of each of the first two views over the rows of all processes, which uses all
    prototypes equally. Views may have two lengths, such as those of `multi_crop`, large ones
    first; then features are pooled. The prototypes get the length 1 again in `update`. SwAV holds
    them still in its first steps: set `objective.assign.weight.grad = None` before the
    optimizer's step.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection; the paper's 128.
        hidden_dim: Width of the projector's hidden layer.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        prototypes: How many there are. The paper has 3000 for 1000 classes; 256 by default.
        temperature: Of the predictions, above 0; 0.1 in the paper.
        epsilon: Softness of the assignments, above 0; 0.05 in the paper.
        views: How many views it wants, 2 or more; 8 in the paper.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, SwAV
        >>> encoder = torch.nn.Sequential(torch.nn.AdaptiveAvgPool1d(4), torch.nn.Flatten())
        >>> encoder.dim = 8
        >>> objective = SwAV(encoder, prototypes=16, views=3)
        >>> large, small = torch.randn(2, 6, 2, 20), torch.randn(6, 2, 10)
        >>> objective(encoder, ObjectiveBatch((*large, small))).loss.shape
        torch.Size([])

    References:
        Caron et al., *SwAV*, 2020, <https://arxiv.org/abs/2006.09882>, section 3, algorithm 1.
    """

    by_token = False

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 128,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        prototypes: int = 256,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_positive("SwAV", "temperature", temperature)
        check_positive("SwAV", "epsilon", epsilon)
        check_at_least("SwAV", "views", views, 2)
        self.projector, self.projector_dim = projector_of(
            "SwAV", encoder, projector=projector, pool=pool, hidden_dim=hidden_dim,
            out_dim=projector_dim, layers=2,
        )  # fmt: skip
        self.assign = Prototypes(self.projector_dim, prototypes)
        self.hidden_dim, self.pool, self.prototypes = hidden_dim, pool, prototypes
        self.temperature, self.epsilon, self.views = temperature, epsilon, views

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views, the large ones first."""
        check_views("SwAV", batch, self.views)
        views = projected("SwAV", encoder, batch, head=self.projector, pool=self.pool)
        scores = self.assign(torch.stack(same_rows("SwAV", views)))
        targets = sinkhorn(scores[:2], epsilon=self.epsilon, gather=gather)
        local = swapped_prediction_loss(scores, targets, temperature=self.temperature)
        loss = whole_batch_mean(local, scores.shape[1])
        return ObjectiveOutput(loss, logged(cross_entropy=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Give every prototype the length 1 again."""
        self.assign.update()
