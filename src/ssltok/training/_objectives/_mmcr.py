"""MMCR as an objective: the centroids of the views fill as much room as they can."""

from torch import nn

from ssltok._shared.checks import check_at_least
from ssltok.losses import mmcr_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["MMCR"]


@documented
class MMCR(PlainObjective):
    r"""Raise the nuclear norm of the centroids of the projected views of each series.

    `mmcr_loss`. Singular values cost the smaller of rows and features squared, times the other:
    where each token is a row, give it a `pool`.

    Args:
        projector_dim: Features of a projection, and width of its hidden layers; 512 by default.
        compression_weight: $\lambda$, 0 or more; 0 in the authors' scripts, 0.005 in lightly.

    Example:
        >>> import torch
        >>> from ssltok.training import MMCR, ObjectiveBatch
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> view = torch.randn(6, 2, 10)
        >>> objective = MMCR(encoder, projector_dim=8).eval()
        >>> objective(encoder, ObjectiveBatch((view, view))).loss.shape
        torch.Size([])

    References:
        Yerxa et al., *Learning Efficient Coding of Natural Images with Maximum Manifold Capacity
        Representations*, 2023, <https://arxiv.org/abs/2303.03307>.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        compression_weight: float = 0.0,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_at_least("MMCR", "compression_weight", compression_weight, 0)
        check_at_least("MMCR", "views", views, 2)
        self._build_projector(
            encoder, projector, pool, hidden_dim=projector_dim, out_dim=projector_dim, layers=3
        )
        self.views = views
        self.compression_weight = compression_weight

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        views = self._gathered(encoder, batch)
        loss = mmcr_loss(*views, compression_weight=self.compression_weight)
        return ObjectiveOutput(loss, logged(capacity=-loss))
