"""Act 2. Hidden tokens are guessed from the visible ones; the tokenizer does not move."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok.distributed import reduce_sum
from ssltok.losses import masked_token_loss
from ssltok.nn import ContextEmbedding, TokenEmbedding, TokenTransformer, Transformer
from ssltok.pipelines._config import PriorConfig
from ssltok.pipelines._tokenizer import Tokenizer

__all__ = ["Prior", "PriorBatch", "PriorOutput", "prior_step"]


class PriorBatch(NamedTuple):
    """What a step needs: true codes and masks, `(batch, tokens)`, and labels, `(batch,)`.

    Codes are -1 at padding, masks True at hidden tokens, labels -1 where there is none.
    """

    codes: Tensor
    masks: Tensor
    labels: Tensor

    def take(self, cases: Tensor) -> "PriorBatch":
        """The cases at these indices."""
        return PriorBatch(self.codes[cases], self.masks[cases], self.labels[cases])


class PriorOutput(NamedTuple):
    """The loss and what is recorded."""

    loss: Tensor
    logged: dict[str, Tensor]


class Prior(nn.Module):
    """A transformer for each branch's tokens; that of the high branch reads the low tokens.

    Args:
        config: Sizes.
        tokenizer: Whose tokens are guessed: it gives their grids and the size of the codebooks.
        classes: Number of labels; 0 for none.
        codebooks: Embeddings to start from, a codebook for each branch; None starts from noise.

    Attributes:
        sizes: Tokens of each branch.
        classes: Number of labels.
        mask_index: The index of `[MASK]`, the size of the codebook.
    """

    def __init__(
        self,
        config: PriorConfig,
        tokenizer: Tokenizer,
        *,
        classes: int,
        codebooks: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.sizes, self.classes = config, tokenizer.sizes, classes
        self.mask_index = tokenizer.config.codebook_size
        width = tokenizer.config.dim

        def embedding(number: int, dim: int) -> TokenEmbedding:
            start = None if codebooks is None else codebooks[number]
            return TokenEmbedding(self.mask_index, dim, embedding_dim=width, codebook=start)

        low, high = (config.dim, config.depth, config.heads), (
            config.high_dim, config.high_depth, config.high_heads
        )  # fmt: skip
        self.transformers = nn.ModuleList()
        for number, (dim, depth, heads) in enumerate([low, high][: len(self.sizes)]):
            context = None
            if number:
                context = ContextEmbedding(
                    embedding(0, dim), grid=tokenizer.grids[0], onto=tokenizer.grids[1]
                )
            trunk = Transformer(
                dim,
                depth=depth,
                heads=heads,
                mlp_ratio=config.mlp_ratio,
                norm=nn.RMSNorm,
                dropout=config.dropout,
            )
            self.transformers.append(
                TokenTransformer(
                    embedding(number, dim),
                    trunk,
                    tokens=self.sizes[number],
                    classes=classes,
                    label_dropout=0.0,  # the batch comes with its labels hidden
                    context=context,
                )
            )

    def transformer(self, number: int) -> TokenTransformer:
        """The transformer of a branch."""
        part = self.transformers[number]
        if not isinstance(part, TokenTransformer):
            raise TypeError(f"Prior: parts must be TokenTransformers; got {type(part).__name__}")
        return part

    def context(self, low_codes: Tensor) -> Tensor:
        """What the high branch reads of the low tokens; constant in a decoding run."""
        return self.transformer(1).embed_context(low_codes, valid=_or_none(low_codes >= 0))

    def logits_of(
        self, number: int, labels: Tensor, context: Tensor | None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The logits function of a branch for the decoder, with labels and context bound."""
        transformer = self.transformer(number)

        def logits(tokens: Tensor, where: Tensor) -> Tensor:
            known = labels if self.classes else None
            result: Tensor = transformer(
                tokens.clamp(min=0), where, known, valid=_or_none(tokens >= 0), context=context
            )
            return result

        return logits


def prior_step(prior: Prior, batch: PriorBatch) -> PriorOutput:
    r"""One batch through the prior: cross-entropy of the hidden tokens, and of those alone.

    $$L = \sum_{\text{branches}} \frac{1}{|M|} \sum_{i \in M} -\log p(s_i \mid s_{\bar M}, y)$$

    The high branch reads the true low tokens, as in TimeVQVAE. Under several processes the mean
    is over the masked tokens of the whole batch.

    Args:
        prior: The model.
        batch: Codes, masks and labels.

    Returns:
        The loss and what is recorded.

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, equation 2.
        Lee et al., *TimeVQVAE*, 2023, <https://arxiv.org/abs/2303.04743>, section 3.2.
    """
    sizes = list(prior.sizes)
    codes, masks = torch.split(batch.codes, sizes, dim=1), torch.split(batch.masks, sizes, dim=1)
    logged = {}
    for number, name in enumerate(["low", "high"][: len(sizes)]):
        context = prior.context(codes[0]) if number else None
        hidden = codes[number].masked_fill(masks[number], prior.mask_index)
        logits = prior.logits_of(number, batch.labels, context)(hidden, masks[number])
        own = masked_token_loss(
            logits, codes[number], masks[number], label_smoothing=prior.config.label_smoothing
        )
        count = masks[number].sum().to(own.dtype)
        logged[name] = reduce_sum(own * count) / reduce_sum(count)
    loss = torch.stack(list(logged.values())).sum()
    return PriorOutput(loss, {"loss": loss, **logged} if len(sizes) > 1 else {"loss": loss})


def _or_none(valid: Tensor) -> Tensor | None:
    """None where everything is valid, which attention computes faster."""
    return None if bool(valid.all()) else valid
