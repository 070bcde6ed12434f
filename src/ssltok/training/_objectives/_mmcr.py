"""MMCR as an objective: the centroids of the views fill as much room as they can."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok.distributed import gather
from ssltok.losses import mmcr_loss
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, check_views, logged, projected, same_rows

__all__ = ["MMCR"]


class MMCR(nn.Module):
    r"""Raise the nuclear norm of the centroids of the projected views of each series.

    `mmcr_loss`. Singular values cost the smaller of rows and features squared, times the other:
    where each token is a row, give it a `pool`.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection, and width of its hidden layers; 512 by default.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        compression_weight: $\lambda$, 0 or more; 0 in the authors' scripts, 0.005 in lightly.
        views: How many views it wants, 2 or more.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

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

    by_token = False

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
        self.projector, self.projector_dim = projector_of(
            "MMCR", encoder, projector=projector, pool=pool, hidden_dim=projector_dim,
            out_dim=projector_dim, layers=3,
        )  # fmt: skip
        self.pool, self.views = pool, views
        self.compression_weight = compression_weight

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        check_views("MMCR", batch, self.views)
        views = projected("MMCR", encoder, batch, head=self.projector, pool=self.pool)
        views = same_rows("MMCR", list(map(gather, views)))
        loss = mmcr_loss(*views, compression_weight=self.compression_weight)
        return ObjectiveOutput(loss, logged(capacity=-loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
