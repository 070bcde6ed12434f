"""Multi-similarity as an objective: pairs of a class and of two, each by how it compares."""

from torch import nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.losses import label_pairs, multi_similarity_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._labelled import Miner, check_miner, labelled_rows
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, logged

__all__ = ["MultiSimilarity"]


@documented
class MultiSimilarity(PlainObjective):
    """Raise the similarities of one class, and lower those of two, the hardest pairs most.

    `multi_similarity_loss` of the projections of all views and processes; see there for the
    formula. Rows and labels are those of `SupCon`: a series of label -1 has its own other views as
    positives.

    Args:
        projector_dim: Features of a projection; 128 by default, as `SupCon`'s.
        positive_scale: How much the least similar positives count before others, above 0.
        negative_scale: How much the most similar negatives do, above 0.
        miner: From rows and labels to the pairs that count; all by default, such as
            `multi_similarity_pairs`.
        views: How many views it wants.

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
        check_miner("MultiSimilarity", miner)
        check_at_least("MultiSimilarity", "views", views, 2)
        self._build_projector(
            encoder, projector, pool, hidden_dim=hidden_dim, out_dim=projector_dim, layers=2
        )
        self.hidden_dim, self.views = hidden_dim, views
        self.positive_scale, self.negative_scale = positive_scale, negative_scale
        self.miner = miner

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views and their labels."""
        z, labels = labelled_rows(self, encoder, batch)
        loss = multi_similarity_loss(
            z, labels, positive_scale=self.positive_scale, negative_scale=self.negative_scale,
            miner=self.miner,
        )  # fmt: skip
        return ObjectiveOutput(loss, logged(contrast=loss))
