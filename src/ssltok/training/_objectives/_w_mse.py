"""W-MSE as an objective: whitened views agree."""

import torch
from torch import nn

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.distributed import gather
from ssltok.losses import w_mse_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["WMSE"]


@documented
class WMSE(PlainObjective):
    """Pull whitened projections of views together; whitening leaves no way to collapse.

    `w_mse_loss` of the projections; see there for the formula. The rows are those of all
    processes, and shuffles come from `ObjectiveBatch.seed`.

    Args:
        projector_dim: Features of a projection; 64 in the authors' code. Fewer than the rows that
            are whitened together, for whitening needs more rows than features.
        hidden_dim: Width of the projector's two hidden layers.
        sub_batch: Rows whitened together, which divide those of the batch; 128 in the authors'
            code. None takes all.
        eps: Share of the identity in the covariance, in [0, 1]. The paper has 0; 0.01 by default,
            with which a batch of fewer rows than features is whitened in part.
        views: How many views it wants.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, WMSE
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> view = torch.randn(6, 2, 10)
        >>> objective = WMSE(encoder, projector_dim=4, hidden_dim=32)
        >>> objective(encoder, ObjectiveBatch((view, view))).loss.detach()  # equal views
        tensor(0.)

    References:
        Ermolov et al., *Whitening for Self-Supervised Representation Learning*, 2021,
        <https://arxiv.org/abs/2007.06346>, section 3.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 64,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        sub_batch: int | None = None,
        eps: float = 0.01,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_ratio("WMSE", "eps", eps)
        check_at_least("WMSE", "views", views, 2)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=3
        )
        if sub_batch is not None:
            least = 2 if eps > 0 else self.projector_dim + 1
            check_at_least("WMSE", "sub_batch", sub_batch, least)
        self.hidden_dim, self.views = hidden_dim, views
        self.sub_batch, self.eps = sub_batch, eps

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        views = self._projections(encoder, batch)
        loss = w_mse_loss(
            *map(gather, views), sub_batch=self.sub_batch, eps=self.eps,
            generator=torch.Generator().manual_seed(batch.seed),
        )  # fmt: skip
        return ObjectiveOutput(loss, logged(invariance=loss))
