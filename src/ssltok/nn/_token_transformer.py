"""The bidirectional prior: guess hidden tokens from the visible ones (MaskGIT, TimeVQVAE)."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_codes,
    check_ratio,
    check_size,
)
from ssltok.nn._class_labels import check_labels, drop_labels, label_vectors
from ssltok.nn._level_embedding import LevelEmbedding
from ssltok.nn._noise import drop_elements
from ssltok.nn._places import unless_all
from ssltok.nn._state_names import store_as
from ssltok.nn._token_embedding import TokenEmbedding
from ssltok.nn._token_head import TokenHead, token_logits
from ssltok.nn._transformer import Transformer

__all__ = ["TokenTransformer"]


class TokenTransformer(nn.Module):
    """Predict the codes of chosen tokens from all visible tokens, a class, and a context.

    Input is the normed sum of token embedding and learned position, plus the context if there is
    one. In front stand, without positions, the class token and the registers; behind the trunk,
    a head (linear, GELU, LayerNorm, linear) reads **only the tokens that are asked for**. The
    parts decide the rest: the trunk may be causal, rotary, share its layers; if it has a
    `condition_dim`, the class steers its norms instead of standing in front as a token.

    **Tokens of several codes** (a `LevelEmbedding`) are `(batch, tokens, levels)`, and a call
    returns the logits of *one* level, coarse levels first as in SoundStorm: the codes of the levels
    before it are known, of its own those that are not hidden, and those of the levels behind it
    are not read. Each level has a head, and a learned vector says which one is asked.

    **Tokens on a grid**, such as `(channels, freq, frames)`: with `grid` the position of a token
    is the sum of a learned vector for its place on each axis, the last axis counting fastest.

    Departures from TimeVQVAE: the bias of the head is one per code and not per position and
    code; labels are dropped in training only; [MASK] has no logit, so it is never predicted.

    Args:
        embedding: Embedding of the codes, `dim` features; a `LevelEmbedding` for several a token.
        trunk: The transformer, of the same `dim`.
        tokens: The most tokens of a sequence.
        classes: Number of classes; 0 makes the prior unconditional.
        label_dropout: Share of labels replaced by the null class in training. TimeVQVAE uses 0.2,
            MaskGIT 0.1. Guidance needs a null class that was trained.
        registers: Extra learned tokens in front, where the trunk can keep notes.
        tied: Whether the head's last weights are the embedding's own.
        learned_positions: Whether positions are learned; False leaves them to a rotary trunk.
        dropout: Share of the input's elements dropped in training.
        context: Turns low-frequency tokens into a context, such as `ContextEmbedding`. The prior
            then needs a context.
        grid: The axes of the tokens, whose product is `tokens`, for positions by axis. By default
            each of the tokens has a position of its own.

    Attributes:
        codebook_sizes: Number of codes of each level.
        codebook_size: The largest of them: the index of [MASK] at every level.

    Raises:
        ValueError: If sizes, ratios or shapes are not as described, if labels are given to a prior
            without classes, or if a context is missing.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import TokenEmbedding, TokenTransformer, Transformer
        >>> prior = TokenTransformer(
        ...     TokenEmbedding(32, 16), Transformer(16, depth=2, heads=2), tokens=8, classes=3
        ... )
        >>> where = torch.tensor([[True] * 3 + [False] * 5, [False] * 6 + [True] * 2])
        >>> codes = torch.randint(32, (2, 8)).masked_fill(where, 32)
        >>> prior(codes, where, torch.tensor([2, -1])).shape
        torch.Size([5, 32])
        >>> from ssltok.nn import LevelEmbedding
        >>> prior = TokenTransformer(
        ...     LevelEmbedding([32, 8], 16), Transformer(16, depth=2, heads=2), tokens=8
        ... )
        >>> codes = torch.stack([codes, torch.randint(8, (2, 8))], dim=-1)
        >>> prior(codes, where, level=1).shape
        torch.Size([5, 8])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.
        Lee et al., *Vector Quantized Time Series Generation with a Bidirectional Prior Model*,
        2023, <https://arxiv.org/abs/2303.04743>, section 3.2.
        Darcet et al. (registers), 2023, <https://arxiv.org/abs/2309.16588>.
        Borsos et al., *SoundStorm*, 2023, <https://arxiv.org/abs/2305.09636>, section 3.
    """

    def __init__(
        self,
        embedding: TokenEmbedding | LevelEmbedding,
        trunk: Transformer,
        *,
        tokens: int,
        classes: int = 0,
        label_dropout: float = 0.2,
        registers: int = 0,
        tied: bool = False,
        learned_positions: bool = True,
        dropout: float = 0.0,
        context: nn.Module | None = None,
        grid: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_at_least("TokenTransformer", "tokens", tokens, 1)
        check_at_least("TokenTransformer", "classes", classes, 0)
        check_at_least("TokenTransformer", "registers", registers, 0)
        check_ratio("TokenTransformer", "label_dropout", label_dropout)
        check_ratio("TokenTransformer", "dropout", dropout)
        dim = trunk.dim
        if embedding.dim != dim:
            raise ValueError(
                "TokenTransformer: embedding and trunk must share dim; "
                f"got {embedding.dim} and {dim}"
            )
        if trunk.condition_dim is not None and not classes:
            raise ValueError("TokenTransformer: classes must be >= 1 with adaptive norms; got 0")
        if grid is not None and (math.prod(grid) != tokens or not learned_positions):
            raise ValueError(
                f"TokenTransformer: grid must hold all tokens, {tokens}, at learned positions; "
                f"got {tuple(grid)} and learned_positions {learned_positions}"
            )
        self.tokens, self.classes, self.registers = tokens, classes, registers
        self.grid = None if grid is None else tuple(grid)
        self.label_dropout, self.dropout, self.tied = label_dropout, dropout, tied
        self.learned_positions = learned_positions
        self.codebook_size, self.codebook_sizes = embedding.codebook_size, embedding.codebook_sizes
        self.embedding, self.trunk, self.context = embedding, trunk, context
        self.norm = nn.LayerNorm(dim)

        def learned(rows: int, width: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(rows, width).normal_(std=embedding.scale))

        single = learned_positions and grid is None
        self.positions = learned(tokens, dim) if single else None
        self.register_tokens = learned(registers, dim) if registers else None
        store_as(self, register_tokens="registers")
        self.labels = learned(classes + 1, trunk.condition_dim or dim) if classes else None
        # The head of the first level has the names that it had when there was only one.
        head, *deeper = (
            TokenHead(dim, embedding.level(level), tied=tied)
            for level in range(len(self.codebook_sizes))
        )
        self.head_inner, self.head_norm = head.inner, head.norm
        self.head_weight, self.head_bias = head.weight, head.bias
        self.deeper_heads = nn.ModuleList(deeper)
        self.levels = learned(len(self.codebook_sizes), dim) if deeper else None
        self.axis_positions = nn.ParameterList(learned(size, dim) for size in grid or ())

    def forward(
        self,
        tokens: Tensor,
        where: Tensor,
        labels: Tensor | None = None,
        *,
        level: int = 0,
        valid: Tensor | None = None,
        context: Tensor | None = None,
        places: Tensor | None = None,
        allowed: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Return the logits of the tokens at `where`, `(where.sum(), codebook_sizes[level])`.

        Args:
            tokens: Codes int64 `(batch, tokens)`, or `(batch, tokens, levels)` if the embedding is
                a `LevelEmbedding`; `codebook_size` where hidden.
            where: Boolean `(batch, tokens)`, True where logits are wanted; the rows of the
                result follow it row by row.
            labels: Classes int64 `(batch,)`, -1 for the null class; None is -1 for all. One that
                is no class is refused on the CPU and an index error elsewhere.
            level: The level that is asked; 0 is the coarsest. Levels behind it are not read.
            valid: Boolean `(batch, tokens)`, False at padding, whose codes may have any value:
                nobody reads them, and their logits mean nothing. By default where a code is -1.
            context: `(batch, tokens, dim)`, from `embed_context`.
            places: Where each token stands, int64 `(batch, tokens)`; None counts from 0. A place
                may be taken twice, so that a row and a copy of it go through together.
            allowed: Boolean `(batch, tokens + 1, tokens)`, True where the token of the second axis
                may read that of the third; its first row is for what stands in front (class token
                and registers, which all may read). A token always reads itself.
            generator: Source of label dropout, dropout and stochastic depth in training, on the
                tokens' device; None is torch's own. In evaluation nothing is drawn.
        """
        self._check_tokens(tokens, level)
        check_bool_mask("TokenTransformer", "where", where, tokens.shape[:2])
        features = self.features(
            tokens, labels, level=level, valid=valid, context=context, places=places,
            allowed=allowed, generator=generator,
        )  # fmt: skip
        return self.head(features[where], level=level)

    def features(
        self,
        tokens: Tensor,
        labels: Tensor | None = None,
        *,
        level: int = 0,
        valid: Tensor | None = None,
        context: Tensor | None = None,
        places: Tensor | None = None,
        allowed: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Return what the head reads, `(batch, tokens, dim)`; arguments as in `forward`.

        Raises:
            ValueError: As of `forward`.
            TypeError: If an input is not a tensor.
        """
        self._check_tokens(tokens, level)
        self._check(tokens, labels, valid, context, places)
        if not self.training:
            generator = None
        if valid is None:
            valid = unless_all((tokens if tokens.ndim == 2 else tokens[..., 0]) >= 0)
        if valid is not None:
            padding = ~valid if tokens.ndim == 2 else ~valid.unsqueeze(-1)
            tokens = tokens.masked_fill(padding, self.codebook_size)
        if tokens.ndim == 3:
            behind = tokens.shape[2] - level - 1
            known = tokens[..., : level + 1]
            tokens = functional.pad(known, (0, behind), value=self.codebook_size)
        x: Tensor = self.embedding(tokens)
        if self.positions is not None or self.grid is not None:
            table = self._grid_positions() if self.positions is None else self.positions
            x = x + (table[: tokens.shape[1]] if places is None else table[places])
        if self.levels is not None:
            x = x + self.levels[level]
        x = self.norm(x)
        if context is not None:
            x = x + context
        if self.training:
            x = drop_elements(x, self.dropout, generator=generator)
        front: list[Tensor] = []
        condition = None
        if self.labels is not None:
            if self.training:
                labels = drop_labels(labels, self.label_dropout, generator)
            chosen = label_vectors(self.labels, labels, len(tokens))
            if self.trunk.condition_dim is None:
                front.append(chosen.unsqueeze(1))
            else:
                condition = chosen
        if self.register_tokens is not None:
            front.append(self.register_tokens.expand(len(x), -1, -1))
        prefix = sum(part.shape[1] for part in front)
        if front:
            x = torch.cat([*front, x], dim=1)
            if valid is not None:
                valid = functional.pad(valid, (prefix, 0), value=True)
        if allowed is not None:
            check_bool_mask(
                "TokenTransformer", "allowed", allowed,
                (len(x), tokens.shape[1] + 1, tokens.shape[1]),
            )  # fmt: skip
            front_reads = allowed[:, :1].expand(-1, prefix, -1)
            allowed = torch.cat([front_reads, allowed[:, 1:]], dim=1)
            allowed = functional.pad(allowed, (prefix, 0), value=True)
        x = self.trunk(
            x, valid=valid, condition=condition, prefix=prefix, allowed=allowed,
            places=places if self.trunk.rotary is not None else None, generator=generator,
        )  # fmt: skip
        return x.narrow(1, prefix, tokens.shape[1])

    def head(self, features: Tensor, *, level: int = 0) -> Tensor:
        """Turn features, `(..., dim)`, into logits, `(..., codebook_sizes[level])`."""
        embedding = self.embedding.level(level)
        if level > 0:
            logits: Tensor = self.deeper_heads[level - 1](features, embedding)
            return logits
        parts = self.head_inner, self.head_norm, self.head_weight, self.head_bias
        return token_logits(features, *parts, embedding)

    def embed_context(self, low_tokens: Tensor, *, valid: Tensor | None = None) -> Tensor:
        """Turn low-frequency codes into the `context` of `forward`; keep it for a whole run.

        Raises:
            ValueError: If the transformer was built without a context.
        """
        if self.context is None:
            raise ValueError("TokenTransformer: context must be given when built; got None")
        context: Tensor = self.context(low_tokens, valid=valid)
        return context

    def _grid_positions(self) -> Tensor:
        """Sum the vectors of the axes: `(tokens, dim)`, the last axis counting fastest."""
        summed, *others = self.axis_positions
        for vectors in others:
            summed = summed.unsqueeze(-2) + vectors
        positions: Tensor = summed.flatten(0, -2)
        return positions

    def _check_tokens(self, tokens: Tensor, level: int) -> None:
        who, levels = "TokenTransformer", len(self.codebook_sizes)
        several = isinstance(self.embedding, LevelEmbedding)
        check_axes(who, "tokens", tokens, "batch tokens levels" if several else "batch tokens")
        check_codes(who, "tokens", tokens)
        if several:
            check_size(who, "tokens", tokens, 2, levels)
        if not 0 <= level < levels:
            raise ValueError(f"{who}: level must lie in [0, {levels - 1}]; got {level}")

    def _check(
        self, tokens: Tensor, labels: Tensor | None, valid: Tensor | None, context: Tensor | None,
        places: Tensor | None,
    ) -> None:  # fmt: skip
        who = "TokenTransformer"
        check_at_least(who, "batch", tokens.shape[0], 1)
        if places is not None:
            check_codes(who, "places", places)
            if places.shape != tokens.shape[:2]:
                raise ValueError(
                    f"{who}: places must have shape {tuple(tokens.shape[:2])}; "
                    f"got {tuple(places.shape)}"
                )
        elif not 1 <= tokens.shape[1] <= self.tokens:
            raise ValueError(f"{who}: tokens must be 1 to {self.tokens}; got {tokens.shape[1]}")
        if labels is not None:
            check_labels(who, labels, tokens.shape[0], self.classes)
        if valid is not None:
            check_bool_mask(who, "valid", valid, tokens.shape[:2])
        if context is None:
            if self.context is not None:
                raise ValueError(f"{who}: context must be given (see embed_context); got None")
        elif context.shape != (*tokens.shape[:2], self.trunk.dim):
            raise ValueError(
                f"{who}: context must have shape {(*tokens.shape[:2], self.trunk.dim)}; "
                f"got {tuple(context.shape)}"
            )
