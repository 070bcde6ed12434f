"""SupCon as an objective: series of one class attract each other, and views of one series."""

from torch import nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.losses import supcon_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._labelled import labelled_rows
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["SupCon"]


@documented
class SupCon(PlainObjective):
    """Pull series of one class together, against all others; the labels may be few.

    `supcon_loss` of the projections of all views and processes; see there for the formula. A
    series of label -1 has its own other views as positives and nothing else: without any label it
    is `NTXent`. Where each token is a row, it has the label of its series; a token without a label
    has the same token of the other views as positives.

    Args:
        projector_dim: Features of a projection; the paper's 128.
        temperature: Above 0; 0.1 in the paper.
        views: How many views it wants; 2 in the paper.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, SupCon
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> objective = SupCon(encoder, projector=torch.nn.Identity())
        >>> alike, labels = torch.ones(4, 2, 10), torch.tensor([0, 0, 1, -1])
        >>> objective(encoder, ObjectiveBatch((alike, alike), labels=labels)).loss  # log(8 - 1)
        tensor(1.9459)

    References:
        Khosla et al., *Supervised Contrastive Learning*, 2020,
        <https://arxiv.org/abs/2004.11362>, section 3.2.
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
        check_positive("SupCon", "temperature", temperature)
        check_at_least("SupCon", "views", views, 2)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=2
        )
        self.hidden_dim, self.views = hidden_dim, views
        self.temperature = temperature

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views and their labels."""
        z, labels = labelled_rows(self, encoder, batch)
        loss = supcon_loss(z, labels, temperature=self.temperature)
        return ObjectiveOutput(loss, logged(contrast=loss))
