"""VIbCReg as an objective: VICReg behind iterative whitening, with a normalised covariance."""

from torch import nn

from ssltok._shared.checks import check_at_least
from ssltok.distributed import gather
from ssltok.losses import vibcreg_terms
from ssltok.nn import IterNorm
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["VIbCReg"]


@documented
class VIbCReg(PlainObjective):
    """Make two whitened views agree while every feature keeps varying on its own.

    `vibcreg_loss` of the projections of two views, which end in `IterNorm`; see there for the
    formulas. NC-VQVAE runs with `covariance_weight=100`.

    Args:
        projector_dim: Width of the projector, three linear layers. The paper uses 4096; 512 by
            default, for encoders of some 64 features.
        group_size: Features whitened together; it divides `projector_dim`, and both views together
            have twice as many rows or more in each process. NC-VQVAE uses 64.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`,
            with its own whitening; its width takes the place of `projector_dim`.
        invariance_weight: The weight of the distance of the views.
        variance_weight: The weight of the hinge on the deviations.
        covariance_weight: The weight of the correlations.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, VIbCReg
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> objective = VIbCReg(encoder, projector_dim=16, group_size=4, covariance_weight=100)
        >>> view = torch.randn(6, 2, 10)
        >>> objective(encoder, ObjectiveBatch((view, view))).logged["invariance"]  # equal views
        tensor(0.)

    References:
        Lee and Aune, *VIbCReg*, 2021, <https://arxiv.org/abs/2109.00783>, section 3.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 512,
        group_size: int = 64,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 200.0,
    ) -> None:
        super().__init__()
        check_at_least("VIbCReg", "invariance_weight", invariance_weight, 0)
        check_at_least("VIbCReg", "variance_weight", variance_weight, 0)
        check_at_least("VIbCReg", "covariance_weight", covariance_weight, 0)
        self._build_projector(
            encoder, projector, pool, hidden_dim=projector_dim, out_dim=projector_dim, layers=3,
            whiten=lambda: IterNorm(projector_dim, group_size=group_size),
        )  # fmt: skip
        self.group_size = group_size
        self.invariance_weight, self.variance_weight = invariance_weight, variance_weight
        self.covariance_weight = covariance_weight

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        views = self._projections(encoder, batch)
        terms = vibcreg_terms(*map(gather, views))
        loss = (
            self.invariance_weight * terms.invariance
            + self.variance_weight * terms.variance
            + self.covariance_weight * terms.covariance
        )
        return ObjectiveOutput(loss, logged(**terms._asdict()))
