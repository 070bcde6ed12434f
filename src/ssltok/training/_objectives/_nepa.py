"""NEPA as an objective: point where the next embedding points."""

from torch import Tensor, nn

from ssltok.losses import nepa_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._next import Embed, causal_predictor, predicted, sequence_sizes
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import logged, whole_batch_mean

__all__ = ["NEPA"]


@documented
class NEPA(PlainObjective):
    """Predict the direction of each token from those before it, without any augmentation.

    `nepa_loss` along time, for each row of tokens by itself. The predictor is causal; targets are
    detached, so that the encoder learns through what the predictor reads. The paper's network is
    a causal transformer over patch embeddings: its encoder is `embed` here, its transformer the
    `predictor`, or give a causal encoder, `predictor=nn.Identity()` and an `embed`. Tokens of an
    encoder that looks ahead know of the next one, which makes the task easier, not void.

    Args:
        encoder: Gives `dim`, `frames` and `rows`; see `Objective` for what it must be.
        predictor: A causal module of your own, from `(sequences, frames, dim)` to the shape of the
            embeddings, instead of a transformer of two layers.
        embed: From encoder, series and what is real of them, or None, to the embeddings
            `(batch, tokens, dim)` that are predicted; the encoder's features by default.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If a part or a batch does not fit.

    Example:
        >>> import torch
        >>> from ssltok.nn import PatchEmbed1d
        >>> from ssltok.training import NEPA, ObjectiveBatch
        >>> encoder = PatchEmbed1d(2, 8, patch=4)
        >>> encoder.dim, encoder.frames, encoder.rows = 8, 5, 1
        >>> objective = NEPA(encoder)
        >>> objective(encoder, ObjectiveBatch((torch.randn(6, 2, 20),))).loss.shape
        torch.Size([])

    References:
        Xu et al., *Next-Embedding Prediction Makes Strong Vision Learners*, 2025,
        <https://arxiv.org/abs/2512.16922>.
    """

    views = 1

    by_token = True

    def __init__(
        self,
        encoder: nn.Module,
        *,
        predictor: nn.Module | None = None,
        embed: Embed | None = None,
    ) -> None:
        super().__init__()
        dim, self.frames, self.rows = sequence_sizes("NEPA", encoder)
        self.predictor = causal_predictor("NEPA", predictor, embed, dim, self.frames)
        self.embed = embed

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of one view."""
        pred, embeddings, real = predicted(
            "NEPA", encoder, batch, predictor=self.predictor, embed=self.embed,
            frames=self.frames, rows=self.rows,
        )  # fmt: skip
        loss = nepa_loss(pred, embeddings, real)
        count: Tensor | int = len(pred) * (self.frames - 1)
        if real is not None:
            count = (real[:, 1:] & real[:, :-1]).sum()
        loss = whole_batch_mean(loss, count)
        return ObjectiveOutput(loss, logged(cosine=-loss))
