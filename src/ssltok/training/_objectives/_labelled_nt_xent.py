"""NT-Xent of labels as an objective: each positive pair against the negatives of its anchor."""

from torch import nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.losses import label_pairs, labelled_nt_xent_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._labelled import Miner, check_miner, labelled_rows
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["LabelledNTXent"]


@documented
class LabelledNTXent(PlainObjective):
    """Tell each pair of one class apart from all rows of other classes.

    `labelled_nt_xent_loss` of the projections of all views and processes; see there for the
    formula. Rows and labels are those of `SupCon`: a series of label -1 has its own other views as
    positives, so that without any label it is `NTXent`.

    Args:
        projector_dim: Features of a projection; 128 by default, as `SupCon`'s.
        temperature: Above 0; 0.07 in pytorch-metric-learning.
        miner: From rows and labels to the pairs that count; all by default, such as
            `multi_similarity_pairs`.
        views: How many views it wants.

    Example:
        >>> import torch
        >>> from ssltok.training import LabelledNTXent, ObjectiveBatch
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> objective = LabelledNTXent(encoder, projector=torch.nn.Identity())
        >>> alike, labels = torch.ones(4, 2, 10), torch.tensor([0, 0, 1, 1])
        >>> objective(encoder, ObjectiveBatch((alike, alike), labels=labels)).loss  # log(1 + 4)
        tensor(1.6094)

    References:
        Chen et al., *SimCLR*, 2020, <https://arxiv.org/abs/2002.05709>, equation 1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 128,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        temperature: float = 0.07,
        miner: Miner = label_pairs,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_positive("LabelledNTXent", "temperature", temperature)
        check_miner("LabelledNTXent", miner)
        check_at_least("LabelledNTXent", "views", views, 2)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=2
        )
        self.hidden_dim, self.views = hidden_dim, views
        self.temperature, self.miner = temperature, miner

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views and their labels."""
        z, labels = labelled_rows(self, encoder, batch)
        loss = labelled_nt_xent_loss(z, labels, temperature=self.temperature, miner=self.miner)
        return ObjectiveOutput(loss, logged(contrast=loss))
