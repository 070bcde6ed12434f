"""VICReg as an objective: views agree, every feature varies, and no two vary together."""

from torch import nn

from ssltok._shared.checks import check_at_least
from ssltok.distributed import gather
from ssltok.losses import vicreg_terms
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["VICReg"]


@documented
class VICReg(PlainObjective):
    """Make two projected views agree while every feature keeps varying on its own.

    `vicreg_loss` of the projections of two views; see there for the formula. The defaults are the
    paper's, and NC-VQVAE's.

    Args:
        projector_dim: Width of the projector, three linear layers. The paper uses 8192 behind 2048
            features; 512 by default, for encoders of some 64.
        invariance_weight: The weight of the distance of the views.
        variance_weight: The weight of the hinge on the deviations.
        covariance_weight: The weight of the covariances.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, VICReg
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> view = torch.randn(6, 2, 10)
        >>> output = VICReg(encoder, projector_dim=16).eval()(encoder, ObjectiveBatch((view, view)))
        >>> output.logged["invariance"]  # equal views
        tensor(0.)

    References:
        Bardes et al., *VICReg*, 2022, <https://arxiv.org/abs/2105.04906>, section 4.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_at_least("VICReg", "invariance_weight", invariance_weight, 0)
        check_at_least("VICReg", "variance_weight", variance_weight, 0)
        check_at_least("VICReg", "covariance_weight", covariance_weight, 0)
        self._build_projector(
            encoder, projector, pool, hidden_dim=projector_dim, out_dim=projector_dim, layers=3
        )
        self.invariance_weight, self.variance_weight = invariance_weight, variance_weight
        self.covariance_weight = covariance_weight

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        views = self._projections(encoder, batch)
        terms = vicreg_terms(*map(gather, views))
        loss = (
            self.invariance_weight * terms.invariance
            + self.variance_weight * terms.variance
            + self.covariance_weight * terms.covariance
        )
        return ObjectiveOutput(loss, logged(**terms._asdict()))
