"""Barlow Twins as an objective: two views agree, and no two features say the same thing."""

from torch import nn

from ssltok._shared.checks import check_at_least
from ssltok.distributed import gather
from ssltok.losses import barlow_twins_terms
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["BarlowTwins"]


@documented
class BarlowTwins(PlainObjective):
    """Pull the cross-correlation of two projected views towards the identity.

    `barlow_twins_loss` of the projections of two views; see there for the formula. NC-VQVAE
    divides the loss by the width of the projector (`divide_by_dim=True`).

    Args:
        projector_dim: Width of the projector, three linear layers. The paper uses 8192 behind 2048
            features; 512 by default, for encoders of some 64.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series, such as `partial(mean_pool, channel_dim=-1)`. By default each real
            token is a row of its own.
        redundancy_weight: The price of correlation between different features.
        divide_by_dim: Whether the loss is divided by the width of the projections.

    Example:
        >>> import torch
        >>> from ssltok.training import BarlowTwins, ObjectiveBatch
        >>> encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 8))
        >>> encoder.dim = 8
        >>> objective = BarlowTwins(encoder, projector_dim=16)
        >>> views = torch.randn(6, 2, 10), torch.randn(6, 2, 10)
        >>> output = objective(encoder, ObjectiveBatch(views))
        >>> output.loss.shape, sorted(output.logged)
        (torch.Size([]), ['invariance', 'redundancy'])

    References:
        Zbontar et al., *Barlow Twins*, 2021, <https://arxiv.org/abs/2103.03230>, section 2.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        redundancy_weight: float = 5e-3,
        divide_by_dim: bool = False,
    ) -> None:
        super().__init__()
        check_at_least("BarlowTwins", "redundancy_weight", redundancy_weight, 0)
        self._build_projector(
            encoder, projector, pool, hidden_dim=projector_dim, out_dim=projector_dim, layers=3
        )
        self.redundancy_weight, self.divide_by_dim = redundancy_weight, divide_by_dim

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        views = self._projections(encoder, batch)
        z_a, z_b = map(gather, views)
        terms = barlow_twins_terms(z_a, z_b)
        loss = terms.invariance + self.redundancy_weight * terms.redundancy
        if self.divide_by_dim:
            loss = loss / z_a.shape[1]
        return ObjectiveOutput(loss, logged(**terms._asdict()))
