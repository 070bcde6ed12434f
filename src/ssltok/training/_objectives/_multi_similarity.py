"""Multi-similarity as an objective: pairs of a class and of two, each by how it compares."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.losses import label_pairs, multi_similarity_loss
from ssltok.training._objectives._labelled import Miner, labelled_rows
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["MultiSimilarity"]


class MultiSimilarity(nn.Module):
    """Raise the similarities of one class, and lower those of two, the hardest pairs most.

    `multi_similarity_loss` of the projections of all views and processes; see there for the
    formula. Rows and labels are those of `SupCon`: a series of label -1 has its own other views as
    positives.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection; 128 by default, as `SupCon`'s.
        hidden_dim: Width of the projector's hidden layer.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        positive_scale: How much the least similar positives count before others, above 0.
        negative_scale: How much the most similar negatives do, above 0.
        miner: From rows and labels to the pairs that count; all by default, such as
            `multi_similarity_pairs`.
        views: How many views it wants.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

    Example:
        >>> import torch
        >>> from ssltok.training import MultiSimilarity, ObjectiveBatch
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> objective = MultiSimilarity(encoder, projector=torch.nn.Identity())
        >>> alike, labels = torch.ones(4, 2, 10), torch.tensor([0, 0, 1, 1])
        >>> batch = ObjectiveBatch((alike, alike), labels=labels)
        >>> objective(encoder, batch).loss  # log(1 + 3 / e) / 2 + log(1 + 4 e^25) / 50
        tensor(0.8996)

    References:
        Wang et al., *Multi-Similarity Loss*, 2019, <https://arxiv.org/abs/1904.06627>.
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
        positive_scale: float = 2.0,
        negative_scale: float = 50.0,
        miner: Miner = label_pairs,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_positive("MultiSimilarity", "positive_scale", positive_scale)
        check_positive("MultiSimilarity", "negative_scale", negative_scale)
        if not callable(miner):
            raise TypeError(f"MultiSimilarity: miner must be callable; got {type(miner).__name__}")
        check_at_least("MultiSimilarity", "views", views, 2)
        self.projector, self.projector_dim = projector_of(
            "MultiSimilarity", encoder, projector=projector, pool=pool, hidden_dim=hidden_dim,
            out_dim=projector_dim, layers=2,
        )  # fmt: skip
        self.hidden_dim, self.pool, self.views = hidden_dim, pool, views
        self.positive_scale, self.negative_scale = positive_scale, negative_scale
        self.miner = miner

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views and their labels."""
        z, labels = labelled_rows(
            "MultiSimilarity", encoder, batch, head=self.projector, pool=self.pool, views=self.views
        )
        loss = multi_similarity_loss(
            z, labels, positive_scale=self.positive_scale, negative_scale=self.negative_scale,
            miner=self.miner,
        )  # fmt: skip
        return ObjectiveOutput(loss, logged(contrast=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
