"""Act 2. Hidden tokens are guessed from the visible ones; the tokenizer does not move."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssltok.nn import TokenTransformer
from ssltok.pipelines._stage_two._conditions import Conditions

__all__ = [
    "ConditionedPrior",
    "Prior",
    "PriorBatch",
    "PriorOutput",
    "TokenLoss",
    "context_of",
]

TokenLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From logits `(where.sum(), codebook_size)`, codes and where `(batch, tokens)` to a mean."""


class PriorBatch(NamedTuple):
    """What a step needs: true codes, masks and labels.

    Attributes:
        codes: int64 `(batch, tokens)`, or `(batch, tokens, codes)`; -1 at padding.
        masks: Boolean `(batch, tokens)`, True at hidden tokens.
        labels: int64 `(batch,)`, -1 where there is none.
        level: Which of several codes is asked; those before it are seen, those behind it not.
        conditions: What a `ConditionedPrior` is told of the series, at the model's scale.
    """

    codes: Tensor
    masks: Tensor
    labels: Tensor
    level: int = 0
    conditions: Conditions | None = None

    def take(self, cases: Tensor) -> "PriorBatch":
        """The cases at these indices."""
        conditions = None if self.conditions is None else self.conditions.take(cases)
        return PriorBatch(
            self.codes[cases].long(), self.masks[cases], self.labels[cases], self.level, conditions
        )


class PriorOutput(NamedTuple):
    """The loss of a step and what is recorded.

    Attributes:
        loss: The scalar to minimise.
        logged: `loss`, and with several branches the loss of each.
    """

    loss: Tensor
    logged: dict[str, Tensor]


class Prior(nn.Module):
    """A transformer for each branch's tokens; those after the first read the tokens before them.

    With several codes a token the coarse ones come first: a code is guessed from the coarser codes
    of all tokens and from the visible ones of its own level.

    Args:
        transformers: One for each branch, such as `TokenTransformer`s: those after the first with
            a context of the branch before.
        sizes: Tokens of each branch.
        classes: Number of labels; 0 for none.
        limits: For each branch how many codes each of its tokens may have, or None for all: where a
            codebook grows along the sequence, codes beyond have no probability.

    Attributes:
        mask_index: The index of `[MASK]` in the codes of all branches: the largest codebook's size.
        codes_per_token: Codes of a token.

    Raises:
        TypeError: If a transformer lacks `codebook_sizes`.
        ValueError: If they are not as many as sizes, or differ in the codes of a token, or if
            limits are not a number for each token.

    Example:
        >>> import torch
        >>> from ssltok.pipelines import PriorConfig, TokenizerConfig, build_prior, build_tokenizer
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> prior = build_prior(PriorConfig(dim=8, depth=1), tokenizer, classes=2)
        >>> prior.mask_index, prior.sizes
        (3, (40,))

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>.
        Borsos et al., *SoundStorm*, 2023, <https://arxiv.org/abs/2305.09636>, section 3 (levels).
    """

    def __init__(
        self,
        transformers: Sequence[nn.Module],
        *,
        sizes: Sequence[int],
        classes: int,
        limits: Sequence[list[int] | None] | None = None,
    ) -> None:
        super().__init__()
        if len(transformers) != len(sizes):
            raise ValueError(
                f"Prior: transformers must be as many as sizes; "
                f"got {len(transformers)} and {len(sizes)}"
            )
        for transformer in transformers:
            if not hasattr(transformer, "codebook_sizes"):
                raise TypeError(
                    "Prior: every transformer must have codebook_sizes; "
                    f"got {type(transformer).__name__} without"
                )
        self.transformers = nn.ModuleList(transformers)
        codes = [self.transformer(i).codebook_sizes for i in range(len(transformers))]
        self._set_sizes("Prior", sizes, classes, codes, limits)

    def _set_sizes(
        self,
        who: str,
        sizes: Sequence[int],
        classes: int,
        codebook_sizes: Sequence[Sequence[int]],
        limits: Sequence[list[int] | None] | None,
    ) -> None:
        """Check and keep what a prior says of its tokens."""
        self.sizes, self.classes = tuple(sizes), classes
        self.limits = [None] * len(self.sizes) if limits is None else list(limits)
        if [None if row is None else len(row) for row in self.limits] != [
            None if row is None else size
            for row, size in itertools.zip_longest(self.limits, self.sizes)
        ]:
            raise ValueError(
                f"{who}: limits must be None or a number for each token, {list(self.sizes)}; "
                f"got {self.limits}"
            )
        self.codebook_sizes = tuple(tuple(part) for part in codebook_sizes)
        counts = [len(part) for part in self.codebook_sizes]
        if len(set(counts)) > 1:
            raise ValueError(f"{who}: branches must have as many codes a token; got {counts}")
        self.codes_per_token = counts[0]
        self.mask_index = max(max(part) for part in self.codebook_sizes)

    def transformer(self, number: int) -> TokenTransformer:
        """The transformer of a branch."""
        return self.transformers[number]  # type: ignore[return-value]

    def context(self, codes: Tensor, number: int = 1) -> Tensor:
        """What a branch reads of the tokens of the one before; constant in a decoding run."""
        real = codes >= 0 if codes.ndim == 2 else codes[..., 0] >= 0
        return self.transformer(number).embed_context(codes, valid=_or_none(real))

    def logits_of(
        self,
        number: int,
        labels: Tensor,
        context: Tensor | None,
        *,
        level: int = 0,
        coarser: Tensor | None = None,
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The logits function of a branch for the decoder, with all but the tokens bound.

        Args:
            number: The branch.
            labels: int64 `(batch,)`, -1 for none.
            context: From `context`, for branches after the first.
            level: Which code of a token is asked.
            coarser: Codes of the levels before it, `(batch, tokens, level)`, where there are any.
        """
        transformer = self.transformer(number)

        def logits(tokens: Tensor, where: Tensor) -> Tensor:
            known = labels if self.classes else None
            valid = _or_none(tokens >= 0)
            shown = tokens.clamp(min=0)
            if self.codes_per_token > 1:
                finer = self.codes_per_token - level - 1
                hidden = shown.new_full((*shown.shape, finer), self.mask_index)
                front = [] if coarser is None else [coarser.clamp(min=0)]
                shown = torch.cat([*front, shown[..., None], hidden], dim=-1)
            options = {"level": level} if level else {}
            result: Tensor = transformer(
                shown, where, known, valid=valid, context=context, **options
            )
            return self.within_limits(result, where, number)

        return logits

    def within_limits(self, logits: Tensor, where: Tensor, number: int) -> Tensor:
        """Take the probability of codes at or beyond their token's limit; guidance stays finite.

        Args:
            logits: `(where.sum(), codebook_size)`, row by row.
            where: Boolean `(batch, tokens)`, the branch's tokens that they are of.
            number: The branch.
        """
        row = self.limits[number]
        if row is None:
            return logits
        limits = torch.tensor(row, device=where.device).expand_as(where)[where]
        beyond = torch.arange(logits.shape[-1], device=logits.device) >= limits[:, None]
        return logits.masked_fill(beyond, torch.finfo(logits.dtype).min / 64)


class ConditionedPrior(Prior):
    """A prior that is told of each series what `Conditions` hold beside its label.

    A vector for each token is added to what the branch reads of the one before, as its context.

    Args:
        transformers: As in `Prior`; the first one takes a context too.
        sizes: Tokens of each branch.
        classes: Number of labels; 0 for none.
        embeddings: One for each branch, such as `ssltok.nn.ConditionEmbedding`s of the
            transformer's `dim`; each has `features` and `channels`.
        limits: As in `Prior`.

    Attributes:
        conditions: Covariates and known channels that it is told.

    Raises:
        ValueError: If the embeddings are not as many as branches; and as `Prior`.

    Example:
        >>> import torch
        >>> from ssltok.nn import ConditionEmbedding
        >>> from ssltok.pipelines import ConditionedPrior, Conditions, PriorConfig, TokenizerConfig
        >>> from ssltok.pipelines import build_prior, build_tokenizer
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> plain = build_prior(PriorConfig(dim=8, depth=1), tokenizer, classes=0)
        >>> embedding = ConditionEmbedding(8, features=2, grid=tokenizer.grids[0])
        >>> prior = ConditionedPrior(
        ...     plain.transformers, sizes=plain.sizes, classes=0, embeddings=[embedding]
        ... )
        >>> prior.condition(Conditions(torch.zeros(5, 2)), 0).shape
        torch.Size([5, 40, 8])
    """

    def __init__(
        self,
        transformers: Sequence[nn.Module],
        *,
        sizes: Sequence[int],
        classes: int,
        embeddings: Sequence[nn.Module],
        limits: Sequence[list[int] | None] | None = None,
    ) -> None:
        super().__init__(list(transformers), sizes=sizes, classes=classes, limits=limits)
        if len(embeddings) != len(self.sizes):
            raise ValueError(
                f"ConditionedPrior: embeddings must be as many as sizes; "
                f"got {len(embeddings)} and {len(self.sizes)}"
            )
        self.embeddings = nn.ModuleList(embeddings)

    @property
    def conditions(self) -> tuple[int, int]:
        """Covariates and known channels that it is told of a series."""
        first: Any = self.embeddings[0]
        return int(first.features), int(first.channels)

    def condition(self, conditions: Conditions, number: int = 0) -> Tensor:
        """What a branch is told of each of its tokens, `(batch, tokens, dim)`."""
        covariates, channels, known = conditions
        added: Tensor = self.embeddings[number](covariates, channels, known=known)
        return added


def context_of(
    prior: Prior, number: int, before: Tensor | None, conditions: Conditions | None
) -> Tensor | None:
    """What a branch reads beside its own tokens: those of the branch before, and conditions.

    Args:
        prior: The model.
        number: The branch.
        before: Codes of the branch before, for all but the first.
        conditions: At the model's scale; for a `ConditionedPrior`, and for it alone.

    Raises:
        ValueError: If conditions are missing, or given to a prior that knows none.
    """
    context = None if before is None else prior.context(before, number)
    if isinstance(prior, ConditionedPrior) != (conditions is not None):
        raise ValueError(
            f"Prior: conditions must be given to a ConditionedPrior, and to no other; "
            f"got {'none' if conditions is None else 'some'} for {type(prior).__name__}"
        )
    if not isinstance(prior, ConditionedPrior) or conditions is None:
        return context
    added = prior.condition(conditions, number)
    return added if context is None else context + added


def _or_none(valid: Tensor) -> Tensor | None:
    """None where everything is valid, which attention computes faster."""
    return None if bool(valid.all()) else valid
