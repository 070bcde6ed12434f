"""The causal prior: each token from those before it, with a cache to draw them one by one (GPT)."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_codes,
    check_ratio,
)
from ssltok.nn._class_labels import check_labels, drop_labels, label_vectors
from ssltok.nn._key_value_cache import (
    KeyValueCache,
    all_valid,
    check_cache,
    check_room,
    count_places,
)
from ssltok.nn._noise import drop_elements
from ssltok.nn._token_embedding import TokenEmbedding
from ssltok.nn._token_head import TokenHead
from ssltok.nn._transformer import Transformer

__all__ = ["CausalTokenTransformer", "NextToken"]


class NextToken(NamedTuple):
    """What is known of the token that comes next.

    Attributes:
        logits: Of each code, `(batch, codebook_size)`.
        cache: The longer cache, to go on from.
    """

    logits: Tensor
    cache: KeyValueCache


class CausalTokenTransformer(nn.Module):
    r"""Predict every token from those before it: $p(s) = \prod_i p(s_i \mid s_{<i}, \text{class})$.

    Input is the normed sum of token embedding and learned position. In front stands a start token
    that takes no place: the class's vector, or a learned one where there are no classes or where
    the class steers the norms of a trunk with a `condition_dim`. Behind the trunk stands the head
    of `TokenTransformer` (linear, GELU, LayerNorm, linear).

    `forward` is for training: all tokens at once. `extend` is for drawing: it reads new tokens and
    a `KeyValueCache` of those before, and returns the logits of the next one at a cost that does
    not hold the earlier tokens' layers again; `ssltok.decoding.causal_decode` calls it.

    Places count the valid tokens of a row from 0, so that padding may stand on either side.

    Args:
        embedding: Embedding of the codes, `dim` features; its [MASK] is what padding reads.
        trunk: The transformer, causal and of the same `dim`.
        tokens: The most tokens of a sequence.
        classes: Number of classes; 0 makes the prior unconditional.
        label_dropout: Share of labels replaced by the null class in training; 0.2 as in
            `TokenTransformer`. Guidance needs a null class that was trained.
        tied: Whether the head's last weights are the embedding's own.
        learned_positions: Whether positions are learned; False leaves them to a rotary trunk.
        dropout: Share of the input's elements dropped in training.

    Attributes:
        codebook_size: Number of codes.

    Raises:
        ValueError: If sizes, ratios or shapes are not as described, if the trunk is not causal or
            its rotary positions are too few, or if labels are given to a prior without classes.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import CausalTokenTransformer, TokenEmbedding, Transformer
        >>> trunk = Transformer(16, depth=2, heads=2, causal=True)
        >>> prior = CausalTokenTransformer(TokenEmbedding(32, 16), trunk, tokens=8)
        >>> codes = torch.randint(32, (3, 8))
        >>> logits = prior(codes)  # of each token, from those before it
        >>> logits.shape
        torch.Size([3, 8, 32])
        >>> first = prior.extend(codes[:, :5])
        >>> torch.allclose(first.logits, logits[:, 5], atol=1e-6)
        True
        >>> then = prior.extend(codes[:, 5:7], first.cache)
        >>> torch.allclose(then.logits, logits[:, 7], atol=1e-6)
        True

    References:
        Radford et al., *Improving language understanding by generative pre-training*, 2018.
        van den Oord et al., *Neural discrete representation learning*, 2017,
        <https://arxiv.org/abs/1711.00937>, section 3.3.
        Pope et al., *Efficiently scaling transformer inference*, 2022,
        <https://arxiv.org/abs/2211.05102>, section 2.1.
    """

    def __init__(
        self,
        embedding: TokenEmbedding,
        trunk: Transformer,
        *,
        tokens: int,
        classes: int = 0,
        label_dropout: float = 0.2,
        tied: bool = False,
        learned_positions: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        who = "CausalTokenTransformer"
        check_at_least(who, "tokens", tokens, 1)
        check_at_least(who, "classes", classes, 0)
        check_ratio(who, "label_dropout", label_dropout)
        check_ratio(who, "dropout", dropout)
        if embedding.dim != trunk.dim:
            raise ValueError(
                f"{who}: embedding and trunk must share dim; got {embedding.dim} and {trunk.dim}"
            )
        if not trunk.causal:
            raise ValueError(f"{who}: trunk must be causal; got causal=False")
        if trunk.condition_dim is not None and not classes:
            raise ValueError(f"{who}: classes must be >= 1 with adaptive norms; got 0")
        if trunk.rotary is not None and trunk.rotary.cos.shape[0] < tokens - 1:
            raise ValueError(
                f"{who}: rotary positions must be {tokens - 1} or more; "
                f"got {trunk.rotary.cos.shape[0]}"
            )
        self.tokens, self.classes, self.label_dropout = tokens, classes, label_dropout
        self.tied, self.learned_positions, self.dropout = tied, learned_positions, dropout
        self.codebook_size = embedding.codebook_size
        self.embedding, self.trunk = embedding, trunk
        self.norm = nn.LayerNorm(trunk.dim)

        def learned(rows: int, width: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(rows, width).normal_(std=embedding.scale))

        # The last token of a sequence is predicted and never read: it needs no position.
        self.positions = learned(tokens - 1, trunk.dim) if learned_positions else None
        self.labels = learned(classes + 1, trunk.condition_dim or trunk.dim) if classes else None
        in_front = classes == 0 or trunk.condition_dim is not None
        self.start = learned(1, trunk.dim) if in_front else None
        self.head = TokenHead(trunk.dim, embedding, tied=tied)

    def forward(
        self,
        tokens: Tensor,
        labels: Tensor | None = None,
        *,
        valid: Tensor | None = None,
        context: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Return the logits of all tokens, `(batch, tokens, codebook_size)`.

        Those of a token depend on the tokens before it, and not on itself.

        Args:
            tokens: Codes int64 `(batch, tokens)`.
            labels: Classes int64 `(batch,)`, -1 for the null class; None is -1 for all.
            valid: Boolean `(batch, tokens)`, False at padding, whose codes may have any value:
                nobody reads them, and their logits mean nothing.
            context: `(batch, tokens, dim)`: what is known of each token beforehand, such as from
                a `ConditionEmbedding`; it is added to the input from which the token is predicted.
            generator: Source of label dropout, dropout and stochastic depth in training, on the
                tokens' device; None is torch's own. In evaluation nothing is drawn.
        """
        self._check(tokens, labels, valid)
        if not 1 <= tokens.shape[1] <= self.tokens:
            raise ValueError(
                f"CausalTokenTransformer: tokens must be 1 to {self.tokens}; got {tokens.shape[1]}"
            )
        if self.training:
            labels = drop_labels(labels, self.label_dropout, generator)
        front, condition = self._front(labels, len(tokens))
        read = None if valid is None else valid[:, :-1]  # the last token is read by nobody
        x = self._embed(tokens[:, :-1], read, None)
        if self.training:
            x = drop_elements(x, self.dropout, generator=generator)
        x = self.trunk(
            _beside(torch.cat([*front, x], dim=1), context),
            condition=condition, prefix=1, generator=generator,
            valid=None if read is None else functional.pad(read, (1, 0), value=True),
            places=None if read is None or self.trunk.rotary is None else count_places(read),
        )  # fmt: skip
        if read is not None:  # a token is predicted from the last real one before it
            column = torch.arange(1, x.shape[1], device=x.device) * read
            last = functional.pad(column, (1, 0)).cummax(dim=1).values
            x = x.gather(1, last.unsqueeze(-1).expand_as(x))
        logits: Tensor = self.head(x, self.embedding)
        return logits

    def extend(
        self,
        tokens: Tensor,
        cache: KeyValueCache | None = None,
        labels: Tensor | None = None,
        *,
        valid: Tensor | None = None,
        context: Tensor | None = None,
    ) -> NextToken:
        """Read new tokens behind those of a cache; return the logits of the token that follows.

        Nothing is dropped, in training either.

        Args:
            tokens: Codes int64 `(batch, tokens)`; without a cache perhaps no columns at all.
            cache: What was read before, from the call before; None at the start.
            labels: As in `forward`, the same in every call.
            valid: Boolean `(batch, tokens)`, False at padding, on either side. A row that has no
                valid token beside a cache keeps its place, and its logits mean nothing.
            context: As in `forward`, of the tokens that each of these inputs predicts:
                `(batch, tokens, dim)` beside a cache, and one more token, the first, without.

        Raises:
            ValueError: Beside what `forward` asks, if the cache is not of this prior, of these rows
                and of this dtype, or there is no token left to follow.
            TypeError: If an input is not a tensor, or the cache no `KeyValueCache`.
        """
        self._check(tokens, labels, valid)
        if cache is not None:
            who = "CausalTokenTransformer"
            check_cache(who, cache, self.trunk, len(tokens))
            if cache.prefix != 1:
                raise ValueError(f"{who}: prefix of cache must be 1; got {cache.prefix}")
            check_at_least(who, "tokens beside a cache", tokens.shape[1], 1)
        front, condition = self._front(labels, len(tokens))
        prefix = 0
        x = self._embed(tokens, valid, cache)
        if cache is None:
            prefix, x = 1, torch.cat([*front, x], dim=1)
            valid = None if valid is None else functional.pad(valid, (1, 0), value=True)
        x = _beside(x, context)
        x, cache = self.trunk.extend(x, cache, valid=valid, condition=condition, prefix=prefix)
        if valid is None:
            return NextToken(self.head(x[:, -1], self.embedding), cache)
        column = torch.arange(x.shape[1], device=x.device) * valid
        last = column.amax(dim=1)[:, None, None].expand(-1, 1, x.shape[2])
        return NextToken(self.head(x.gather(1, last)[:, 0], self.embedding), cache)

    def _front(self, labels: Tensor | None, batch: int) -> tuple[list[Tensor], Tensor | None]:
        """Return the start token, `(batch, 1, dim)`, and the condition of the norms."""
        front = [] if self.start is None else [self.start.expand(batch, 1, -1)]
        if self.labels is None:
            return front, None
        chosen = label_vectors(self.labels, labels, batch)
        return (front, chosen) if front else ([chosen.unsqueeze(1)], None)

    def _embed(self, tokens: Tensor, valid: Tensor | None, cache: KeyValueCache | None) -> Tensor:
        """Embed new tokens at the places behind those of a cache."""
        if valid is not None:
            tokens = tokens.masked_fill(~valid, self.codebook_size)
        x: Tensor = self.embedding(tokens)
        new, before = tokens.shape[1], 0 if cache is None else cache.tokens - cache.prefix
        padding = all_valid(cache, valid, new)
        if padding is None:
            if before + new >= self.tokens:
                raise ValueError(
                    f"CausalTokenTransformer: tokens to read must be fewer than {self.tokens}; "
                    f"got {before + new}"
                )
            places: slice | Tensor = slice(before, before + new)
        else:
            places = count_places(padding[:, 0 if cache is None else cache.prefix :])
            places = places[:, places.shape[1] - new :]
            check_room("CausalTokenTransformer", places, self.tokens - 1)
        if self.positions is not None:
            x = x + self.positions[places]
        normed: Tensor = self.norm(x)
        return normed

    def _check(self, tokens: Tensor, labels: Tensor | None, valid: Tensor | None) -> None:
        who = "CausalTokenTransformer"
        check_axes(who, "tokens", tokens, "batch tokens")
        check_codes(who, "tokens", tokens)
        check_at_least(who, "batch", tokens.shape[0], 1)
        if labels is not None:
            check_labels(who, labels, tokens.shape[0], self.classes)
        if valid is not None:
            check_bool_mask(who, "valid", valid, tokens.shape)


def _beside(x: Tensor, context: Tensor | None) -> Tensor:
    """The inputs with what is known of the tokens that they predict."""
    if context is None:
        return x
    if context.shape != x.shape:
        raise ValueError(
            f"CausalTokenTransformer: context must be (batch, tokens to predict, dim), "
            f"{tuple(x.shape)}; got {tuple(context.shape)}"
        )
    return x + context
