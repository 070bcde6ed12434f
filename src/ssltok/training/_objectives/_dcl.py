"""DCL as an objective: pull two views of a series together, push them from all other series."""

from torch import nn

from ssltok._shared.checks import check_positive
from ssltok.losses import dcl_loss, dclw_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["DCL"]


@documented
class DCL(PlainObjective):
    """Pull two views of a series together, and push them from all others: NT-Xent, decoupled.

    `dcl_loss` of the projections of all processes, or `dclw_loss` where the positives are weighted;
    see there for the formulas.

    Args:
        projector_dim: Features of a projection; 128 as in SimCLR.
        temperature: Above 0; 0.1 in the paper.
        weight_temperature: Above 0, of the weights of `dclw_loss`, 0.5 in the paper; `None` for
            `dcl_loss`.

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
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=2
        )
        self.hidden_dim = hidden_dim
        self.temperature, self.weight_temperature = temperature, weight_temperature

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views."""
        z_a, z_b = self._gathered(encoder, batch)
        if self.weight_temperature is None:
            loss = dcl_loss(z_a, z_b, temperature=self.temperature)
        else:
            loss = dclw_loss(
                z_a, z_b, temperature=self.temperature, weight_temperature=self.weight_temperature
            )
        return ObjectiveOutput(loss, logged(contrast=loss))
