"""NT-Xent (SimCLR) as an objective: find the other views of a series in the batch."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.distributed import gather
from ssltok.losses import nt_xent_loss
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, check_views, logged, projected

__all__ = ["NTXent"]


class NTXent(nn.Module):
    """Tell the views of one series apart from everything else in the batch (SimCLR).

    `nt_xent_loss` of the projections of all processes; see there for the formula.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection; the paper's 128.
        hidden_dim: Width of the projector's hidden layer.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        temperature: Above 0; 0.1 in the authors' code, 0.5 is usual for small batches.
        views: How many views it wants; 2 in SimCLR.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

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

    by_token = False

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
        self.projector, self.projector_dim = projector_of(
            "NTXent", encoder, projector=projector, pool=pool, hidden_dim=hidden_dim,
            out_dim=projector_dim, layers=2,
        )  # fmt: skip
        self.hidden_dim, self.pool, self.views = hidden_dim, pool, views
        self.temperature = temperature

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        check_views("NTXent", batch, self.views)
        views = projected("NTXent", encoder, batch, head=self.projector, pool=self.pool)
        loss = nt_xent_loss(*map(gather, views), temperature=self.temperature)
        return ObjectiveOutput(loss, logged(contrast=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
