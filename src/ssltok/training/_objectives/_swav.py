"""SwAV as an objective: a view says which prototypes another view was assigned to."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.distributed import gather
from ssltok.losses import sinkhorn, swapped_prediction_loss
from ssltok.state import Prototypes
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    logged,
    same_rows,
    whole_batch_mean,
)

__all__ = ["SwAV"]


@documented
class SwAV(PlainObjective):
    """Predict, from each view, the prototypes that the first two views were assigned to.

    `swapped_prediction_loss` of the cosines of projections and prototypes; the assignments are
    `sinkhorn` of each of the first two views over the rows of all processes, which uses all
    prototypes equally. Views may have two lengths, such as those of `multi_crop`, large ones
    first; then features are pooled. The prototypes get the length 1 again in `update`. SwAV holds
    them still in its first steps: set `objective.assign.weight.grad = None` before the
    optimizer's step.

    Args:
        projector_dim: Features of a projection; the paper's 128.
        prototypes: How many there are. The paper has 3000 for 1000 classes; 256 by default.
        temperature: Of the predictions, above 0; 0.1 in the paper.
        epsilon: Softness of the assignments, above 0; 0.05 in the paper.
        views: How many views it wants, 2 or more; 8 in the paper.

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
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=2
        )
        self.assign = Prototypes(self.projector_dim, prototypes)
        self.hidden_dim, self.prototypes = hidden_dim, prototypes
        self.temperature, self.epsilon, self.views = temperature, epsilon, views

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views, the large ones first."""
        views = self._projections(encoder, batch)
        scores = self.assign(torch.stack(same_rows("SwAV", views)))
        targets = sinkhorn(scores[:2], epsilon=self.epsilon, gather=gather)
        local = swapped_prediction_loss(scores, targets, temperature=self.temperature)
        loss = whole_batch_mean(local, scores.shape[1])
        return ObjectiveOutput(loss, logged(cross_entropy=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Give every prototype the length 1 again."""
        self.assign.update()
