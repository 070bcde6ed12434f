"""EMP-SSL as an objective: many crops point to their mean, and series spread."""

from torch import nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.losses import emp_ssl_terms
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["EMPSSL"]


@documented
class EMPSSL(PlainObjective):
    r"""Turn many projected views of a series to their mean, and keep the coding rate of each high.

    `emp_ssl_loss`. The paper takes 20 to 200 small crops of each sample, and a single epoch.

    Args:
        projector_dim: Features of a projection, and width of its hidden layers; 512 by default.
        agreement_weight: $\lambda$, 0 or more; the authors' 200.
        eps: The squared precision of the rate, above 0; the authors' 0.2.

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
        self._build_projector(
            encoder, projector, pool, hidden_dim=projector_dim, out_dim=projector_dim, layers=2
        )
        self.views = views
        self.agreement_weight, self.eps = agreement_weight, eps

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        views = self._gathered(encoder, batch)
        terms = emp_ssl_terms(*views, eps=self.eps)
        loss = -terms.rate - self.agreement_weight * terms.agreement
        return ObjectiveOutput(loss, logged(**terms._asdict()))
