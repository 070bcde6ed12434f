"""NT-Xent of labels as an objective: each positive pair against the negatives of its anchor."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.losses import label_pairs, labelled_nt_xent_loss
from ssltok.training._objectives._labelled import Miner, labelled_rows
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["LabelledNTXent"]


class LabelledNTXent(nn.Module):
    """Tell each pair of one class apart from all rows of other classes.

    `labelled_nt_xent_loss` of the projections of all views and processes; see there for the
    formula. Rows and labels are those of `SupCon`: a series of label -1 has its own other views as
    positives, so that without any label it is `NTXent`.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection; 128 by default, as `SupCon`'s.
        hidden_dim: Width of the projector's hidden layer.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        temperature: Above 0; 0.07 in pytorch-metric-learning.
        miner: From rows and labels to the pairs that count; all by default, such as
            `multi_similarity_pairs`.
        views: How many views it wants.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

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

    by_token = False

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
        if not callable(miner):
            raise TypeError(f"LabelledNTXent: miner must be callable; got {type(miner).__name__}")
        check_at_least("LabelledNTXent", "views", views, 2)
        self.projector, self.projector_dim = projector_of(
            "LabelledNTXent", encoder, projector=projector, pool=pool, hidden_dim=hidden_dim,
            out_dim=projector_dim, layers=2,
        )  # fmt: skip
        self.hidden_dim, self.pool, self.views = hidden_dim, pool, views
        self.temperature, self.miner = temperature, miner

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views and their labels."""
        z, labels = labelled_rows(
            "LabelledNTXent", encoder, batch, head=self.projector, pool=self.pool, views=self.views
        )
        loss = labelled_nt_xent_loss(z, labels, temperature=self.temperature, miner=self.miner)
        return ObjectiveOutput(loss, logged(contrast=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
