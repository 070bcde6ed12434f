"""FroSSL as an objective: views agree, and their features share the variance evenly."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok.distributed import gather
from ssltok.losses import frossl_terms
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, check_views, logged, projected, same_rows

__all__ = ["FroSSL"]


class FroSSL(nn.Module):
    r"""Make projected views agree while the eigenvalues of each stay even.

    `frossl_loss`: the views' agreement, and the logarithm of the Frobenius norm of each view's
    covariance, at a cost that is linear in the smaller of rows and features.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection, and width of its hidden layers; 512 by default.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        invariance_weight: $w$, 0 or more; 1 in the authors' code.
        views: How many views it wants, 2 or more.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

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

    by_token = False

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
        self.projector, self.projector_dim = projector_of(
            "FroSSL", encoder, projector=projector, pool=pool, hidden_dim=projector_dim,
            out_dim=projector_dim, layers=3,
        )  # fmt: skip
        self.pool, self.views = pool, views
        self.invariance_weight = invariance_weight

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        check_views("FroSSL", batch, self.views)
        views = projected("FroSSL", encoder, batch, head=self.projector, pool=self.pool)
        views = same_rows("FroSSL", list(map(gather, views)))
        terms = frossl_terms(*views)
        loss = terms.concentration + self.invariance_weight * terms.invariance
        return ObjectiveOutput(loss, logged(**terms._asdict()))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
