"""DCL as an objective: pull two views of a series together, push them from all other series."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_positive
from ssltok.distributed import gather
from ssltok.losses import dcl_loss, dclw_loss
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, check_views, logged, projected, same_rows

__all__ = ["DCL"]


class DCL(nn.Module):
    """Pull two views of a series together, and push them from all others: NT-Xent, decoupled.

    `dcl_loss` of the projections of all processes, or `dclw_loss` where the positives are weighted;
    see there for the formulas.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection; 128 as in SimCLR.
        hidden_dim: Width of the projector's hidden layer.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        temperature: Above 0; 0.1 in the paper.
        weight_temperature: Above 0, of the weights of `dclw_loss`, 0.5 in the paper; `None` for
            `dcl_loss`.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

    Example:
        >>> import torch
        >>> from ssltok.training import DCL, ObjectiveBatch
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> objective = DCL(encoder, projector=torch.nn.Identity())
        >>> alike = torch.ones(4, 2, 10)  # eight rows all alike: log(8 - 2)
        >>> objective(encoder, ObjectiveBatch((alike, alike))).loss
        tensor(1.7918)

    References:
        Yeh et al., *Decoupled Contrastive Learning*, 2022, <https://arxiv.org/abs/2110.06848>.
    """

    views = 2

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
        weight_temperature: float | None = None,
    ) -> None:
        super().__init__()
        check_positive("DCL", "temperature", temperature)
        if weight_temperature is not None:
            check_positive("DCL", "weight_temperature", weight_temperature)
        self.projector, self.projector_dim = projector_of(
            "DCL", encoder, projector=projector, pool=pool, hidden_dim=hidden_dim,
            out_dim=projector_dim, layers=2,
        )  # fmt: skip
        self.hidden_dim, self.pool = hidden_dim, pool
        self.temperature, self.weight_temperature = temperature, weight_temperature

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        check_views("DCL", batch, self.views)
        views = projected("DCL", encoder, batch, head=self.projector, pool=self.pool)
        z_a, z_b = same_rows("DCL", list(map(gather, views)))
        if self.weight_temperature is None:
            loss = dcl_loss(z_a, z_b, temperature=self.temperature)
        else:
            loss = dclw_loss(
                z_a, z_b, temperature=self.temperature, weight_temperature=self.weight_temperature
            )
        return ObjectiveOutput(loss, logged(contrast=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
