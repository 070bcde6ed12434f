"""LeNEPA as an objective: predict the next latent, and be Gaussian along time."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok.losses import lenepa_terms
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._next import Embed, causal_predictor, predicted, sequence_sizes
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import logged, whole_batch_mean

__all__ = ["LeNEPA"]


@documented
class LeNEPA(PlainObjective):
    r"""Predict each token from those before it, in a projected space that is Gaussian along time.

    `lenepa_loss` for each row of tokens by itself, along directions drawn from
    `ObjectiveBatch.seed`: no augmentation, no teacher, no stop-gradient. A causal predictor reads
    the encoder's tokens; one projector sees its outputs and its inputs, one after the other, so
    that its BatchNorm takes the statistics of each, as in the authors' code. The paper's network is
    a causal transformer over patch embeddings: its encoder is `embed` here, its transformer the
    `predictor`, or give a causal encoder, `predictor=nn.Identity()` and an `embed`. Tokens of an
    encoder that looks ahead know of the next one, which makes the task easier, not void.

    Args:
        encoder: Gives `dim`, `frames` and `rows`; see `Objective` for what it must be.
        projector_dim: Features of a projection; the paper's 64.
        hidden_dim: Width of the projector's hidden layer; 1536 behind 192 features in the paper,
            512 by default, for encoders of some 64.
        predictor: A causal module of your own, from `(sequences, frames, dim)` to the shape of the
            embeddings, instead of a transformer of two layers.
        embed: From encoder, series and what is real of them, or None, to the embeddings
            `(batch, tokens, dim)` that are predicted; the encoder's features by default.
        gaussian_weight: $\lambda$, 0 or more; the paper's 20, and 2.5 in its run for UCR.
        slices: How many directions are drawn; the authors' 256.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a part or a batch does not fit.

    Example:
        >>> import torch
        >>> from ssltok.nn import PatchEmbed1d
        >>> from ssltok.training import LeNEPA, ObjectiveBatch
        >>> encoder = PatchEmbed1d(2, 8, patch=4)
        >>> encoder.dim, encoder.frames, encoder.rows = 8, 5, 1
        >>> objective = LeNEPA(encoder, hidden_dim=16, slices=8)
        >>> sorted(objective(encoder, ObjectiveBatch((torch.randn(6, 2, 20),))).logged)
        ['gaussian', 'prediction']

    References:
        Chemeris et al., *LeNEPA*, 2026, <https://arxiv.org/abs/2607.00958>.
    """

    views = 1

    by_token = True

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 64,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        predictor: nn.Module | None = None,
        embed: Embed | None = None,
        gaussian_weight: float = 20.0,
        slices: int = 256,
    ) -> None:
        super().__init__()
        dim, self.frames, self.rows = sequence_sizes("LeNEPA", encoder)
        check_at_least("LeNEPA", "gaussian_weight", gaussian_weight, 0)
        check_at_least("LeNEPA", "slices", slices, 1)
        self.projector, self.projector_dim = projector_of(
            "LeNEPA", encoder, projector=projector, pool=None, hidden_dim=hidden_dim,
            out_dim=projector_dim, layers=2,
        )  # fmt: skip
        self.predictor = causal_predictor("LeNEPA", predictor, embed, dim, self.frames)
        self.hidden_dim, self.embed = hidden_dim, embed
        self.gaussian_weight, self.slices = gaussian_weight, slices

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of one view."""
        pred, embeddings, real = predicted(
            "LeNEPA", encoder, batch, predictor=self.predictor, embed=self.embed,
            frames=self.frames, rows=self.rows,
        )  # fmt: skip
        generator = torch.Generator(pred.device).manual_seed(batch.seed)
        p, e = self._projected(pred, real), self._projected(embeddings, real)
        local = lenepa_terms(p, e, real, slices=self.slices, generator=generator)
        pairs: Tensor | int = len(pred) * (self.frames - 1)
        sequences: Tensor | int = len(pred)
        if real is not None:
            pairs, sequences = (real[:, 1:] & real[:, :-1]).sum(), real.any(dim=1).sum()
        prediction = whole_batch_mean(local.prediction, pairs)
        gaussian = whole_batch_mean(local.gaussian, sequences)
        loss = prediction + self.gaussian_weight * gaussian
        return ObjectiveOutput(loss, logged(prediction=prediction, gaussian=gaussian))

    def _projected(self, tokens: Tensor, real: Tensor | None) -> Tensor:
        """Project the real tokens; 0 stands for the others."""
        if real is None:
            every: Tensor = self.projector(tokens.flatten(0, 1))
            return every.view(*tokens.shape[:2], -1)
        rows: Tensor = self.projector(tokens[real])
        empty = rows.new_zeros(*real.shape, rows.shape[1])
        filled: Tensor = empty.masked_scatter(real.unsqueeze(2), rows)
        return filled
