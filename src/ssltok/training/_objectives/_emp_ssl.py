"""EMP-SSL as an objective: many crops point to their mean, and series spread."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.distributed import gather
from ssltok.losses import emp_ssl_terms
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, check_views, logged, projected, same_rows

__all__ = ["EMPSSL"]


class EMPSSL(nn.Module):
    r"""Turn many projected views of a series to their mean, and keep the coding rate of each high.

    `emp_ssl_loss`. The paper takes 20 to 200 small crops of each sample, and a single epoch.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection, and width of its hidden layers; 512 by default.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        agreement_weight: $\lambda$, 0 or more; the authors' 200.
        eps: The squared precision of the rate, above 0; the authors' 0.2.
        views: How many views it wants, 2 or more.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

    Example:
        >>> import torch
        >>> from ssltok.training import EMPSSL, ObjectiveBatch
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> view = torch.randn(6, 2, 10)
        >>> objective = EMPSSL(encoder, projector_dim=8).eval()
        >>> objective(encoder, ObjectiveBatch((view, view))).logged["agreement"].round(decimals=4)
        tensor(1.)

    References:
        Tong et al., *EMP-SSL*, 2023, <https://arxiv.org/abs/2304.03977>.
    """

    by_token = False

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        agreement_weight: float = 200.0,
        eps: float = 0.2,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_at_least("EMPSSL", "agreement_weight", agreement_weight, 0)
        check_positive("EMPSSL", "eps", eps)
        check_at_least("EMPSSL", "views", views, 2)
        self.projector, self.projector_dim = projector_of(
            "EMPSSL", encoder, projector=projector, pool=pool, hidden_dim=projector_dim,
            out_dim=projector_dim, layers=2,
        )  # fmt: skip
        self.pool, self.views = pool, views
        self.agreement_weight, self.eps = agreement_weight, eps

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        check_views("EMPSSL", batch, self.views)
        views = projected("EMPSSL", encoder, batch, head=self.projector, pool=self.pool)
        views = same_rows("EMPSSL", list(map(gather, views)))
        terms = emp_ssl_terms(*views, eps=self.eps)
        loss = -terms.rate - self.agreement_weight * terms.agreement
        return ObjectiveOutput(loss, logged(**terms._asdict()))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
