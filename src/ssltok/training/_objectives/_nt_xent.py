"""NT-Xent (SimCLR) as an objective: find the other views of a series in the batch."""

from torch import nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.distributed import gather
from ssltok.losses import nt_xent_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["NTXent"]


@documented
class NTXent(PlainObjective):
    """Tell the views of one series apart from everything else in the batch (SimCLR).

    `nt_xent_loss` of the projections of all processes; see there for the formula.

    Args:
        projector_dim: Features of a projection; the paper's 128.
        temperature: Above 0; 0.1 in the authors' code, 0.5 is usual for small batches.
        views: How many views it wants; 2 in SimCLR.

    Example:
        >>> import torch
        >>> from ssltok.training import NTXent, ObjectiveBatch
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> objective = NTXent(encoder, projector=torch.nn.Identity())
        >>> alike = torch.ones(4, 2, 10)  # eight rows all alike: log(8 - 1)
        >>> objective(encoder, ObjectiveBatch((alike, alike))).loss
        tensor(1.9459)

    References:
        Chen et al., *SimCLR*, 2020, <https://arxiv.org/abs/2002.05709>, algorithm 1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 128,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        temperature: float = 0.1,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_positive("NTXent", "temperature", temperature)
        check_at_least("NTXent", "views", views, 2)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=2
        )
        self.hidden_dim, self.views = hidden_dim, views
        self.temperature = temperature

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        views = self._projections(encoder, batch)
        loss = nt_xent_loss(*map(gather, views), temperature=self.temperature)
        return ObjectiveOutput(loss, logged(contrast=loss))
