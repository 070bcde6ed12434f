"""FroSSL as an objective: views agree, and their features share the variance evenly."""

from torch import nn

from ssltok._shared.checks import check_at_least
from ssltok.losses import frossl_terms
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["FroSSL"]


@documented
class FroSSL(PlainObjective):
    r"""Make projected views agree while the eigenvalues of each stay even.

    `frossl_loss`: the views' agreement, and the logarithm of the Frobenius norm of each view's
    covariance, at a cost that is linear in the smaller of rows and features.

    Args:
        projector_dim: Features of a projection, and width of its hidden layers; 512 by default.
        invariance_weight: $w$, 0 or more; 1 in the authors' code.

    Example:
        >>> import torch
        >>> from ssltok.training import FroSSL, ObjectiveBatch
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> view = torch.randn(6, 2, 10)
        >>> objective = FroSSL(encoder, projector_dim=8).eval()
        >>> objective(encoder, ObjectiveBatch((view, view))).logged["invariance"]
        tensor(0.)

    References:
        Skean et al., *FroSSL*, 2024, <https://arxiv.org/abs/2310.02903>, equations 3 and 6.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        invariance_weight: float = 1.0,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_at_least("FroSSL", "invariance_weight", invariance_weight, 0)
        check_at_least("FroSSL", "views", views, 2)
        self._build_projector(
            encoder, projector, pool, hidden_dim=projector_dim, out_dim=projector_dim, layers=3
        )
        self.views = views
        self.invariance_weight = invariance_weight

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        views = self._gathered(encoder, batch)
        terms = frossl_terms(*views)
        loss = terms.concentration + self.invariance_weight * terms.invariance
        return ObjectiveOutput(loss, logged(**terms._asdict()))
