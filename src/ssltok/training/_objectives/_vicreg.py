"""VICReg as an objective: views agree, every feature varies, and no two vary together."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok.distributed import gather
from ssltok.losses import vicreg_terms
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, check_views, logged, projected

__all__ = ["VICReg"]


class VICReg(nn.Module):
    """Make two projected views agree while every feature keeps varying on its own.

    `vicreg_loss` of the projections of two views; see there for the formula. The defaults are the
    paper's, and NC-VQVAE's.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Width of the projector, three linear layers. The paper uses 8192 behind 2048
            features; 512 by default, for encoders of some 64.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        invariance_weight: The weight of the distance of the views.
        variance_weight: The weight of the hinge on the deviations.
        covariance_weight: The weight of the covariances.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

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

    views = 2

    by_token = False

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
        self.projector, self.projector_dim = projector_of(
            "VICReg", encoder, projector=projector, pool=pool, hidden_dim=projector_dim,
            out_dim=projector_dim, layers=3,
        )  # fmt: skip
        self.pool = pool
        self.invariance_weight, self.variance_weight = invariance_weight, variance_weight
        self.covariance_weight = covariance_weight

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        check_views("VICReg", batch, self.views)
        views = projected("VICReg", encoder, batch, head=self.projector, pool=self.pool)
        terms = vicreg_terms(*map(gather, views))
        loss = (
            self.invariance_weight * terms.invariance
            + self.variance_weight * terms.variance
            + self.covariance_weight * terms.covariance
        )
        return ObjectiveOutput(loss, logged(**terms._asdict()))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
