"""The bidirectional prior: guess hidden tokens from the visible ones (MaskGIT, TimeVQVAE)."""

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
from ssltok.nn._noise import drop_elements
from ssltok.nn._token_embedding import TokenEmbedding
from ssltok.nn._transformer import Transformer

__all__ = ["TokenTransformer"]


class TokenTransformer(nn.Module):
    """Predict the codes of chosen tokens from all visible tokens, a class, and a context.

    Input is the normed sum of token embedding and learned position, plus the context if there is
    one. In front stand, without positions, the class token and the registers; behind the trunk,
    a head (linear, GELU, LayerNorm, linear) reads **only the tokens that are asked for**. The
    parts decide the rest: the trunk may be causal, rotary, share its layers; if it has a
    `condition_dim`, the class steers its norms instead of standing in front as a token.

    Departures from TimeVQVAE: the bias of the head is one per code and not per position and
    code; labels are dropped in training only; [MASK] has no logit, so it is never predicted.

    Args:
        embedding: Embedding of the codes, `dim` features.
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

    Raises:
        ValueError: If sizes, ratios or shapes are not as described, if labels are given to a prior
            without classes, or if a context is missing.

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

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.
        Lee et al., *Vector Quantized Time Series Generation with a Bidirectional Prior Model*,
        2023, <https://arxiv.org/abs/2303.04743>, section 3.2.
        Darcet et al. (registers), 2023, <https://arxiv.org/abs/2309.16588>.
    """

    def __init__(
        self,
        embedding: TokenEmbedding,
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
        self.tokens, self.classes, self.codebook_size = tokens, classes, embedding.codebook_size
        self.label_dropout, self.dropout = label_dropout, dropout
        self.embedding, self.trunk, self.context = embedding, trunk, context
        self.norm = nn.LayerNorm(dim)

        def learned(rows: int, width: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(rows, width).normal_(std=embedding.scale))

        self.positions = learned(tokens, dim) if learned_positions else None
        self.registers = learned(registers, dim) if registers else None
        self.labels = learned(classes + 1, trunk.condition_dim or dim) if classes else None
        width = embedding.embedding_dim if tied else dim
        self.head_inner, self.head_norm = nn.Linear(dim, width), nn.LayerNorm(width)
        self.head_weight = None if tied else nn.Linear(width, self.codebook_size).weight
        self.head_bias = nn.Parameter(torch.zeros(self.codebook_size))
        if tied:  # logits of variance 1 or less, whatever the scale of the codebook
            nn.init.constant_(self.head_norm.weight, min(1, 1 / (width**0.5 * embedding.scale)))

    def forward(
        self,
        tokens: Tensor,
        where: Tensor,
        labels: Tensor | None = None,
        *,
        valid: Tensor | None = None,
        context: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Return the logits of the tokens at `where`, `(where.sum(), codebook_size)`.

        Args:
            tokens: Codes int64 `(batch, tokens)`; `codebook_size` where hidden.
            where: Boolean `(batch, tokens)`, True where logits are wanted; the rows of the
                result follow it row by row.
            labels: Classes int64 `(batch,)`, -1 for the null class; None is -1 for all.
            valid: Boolean `(batch, tokens)`, False at padding, whose codes may have any value:
                nobody reads them, and their logits mean nothing.
            context: `(batch, tokens, dim)`, from `embed_context`.
            generator: Source of label dropout, dropout and stochastic depth in training, on the
                tokens' device; None is torch's own. In evaluation nothing is drawn.
        """
        check_axes("TokenTransformer", "tokens", tokens, "batch tokens")
        check_bool_mask("TokenTransformer", "where", where, tokens.shape)
        features = self.features(tokens, labels, valid=valid, context=context, generator=generator)
        return self.head(features[where])

    def features(
        self,
        tokens: Tensor,
        labels: Tensor | None = None,
        *,
        valid: Tensor | None = None,
        context: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Return what the head reads, `(batch, tokens, dim)`; arguments as in `forward`."""
        self._check(tokens, labels, valid, context)
        if not self.training:
            generator = None
        if valid is not None:
            tokens = tokens.masked_fill(~valid, self.codebook_size)
        x: Tensor = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions[: tokens.shape[1]]
        x = self.norm(x)
        if context is not None:
            x = x + context
        if self.training:
            x = drop_elements(x, self.dropout, generator=generator)
        front: list[Tensor] = []
        condition = None
        if self.labels is not None:
            chosen = self._label_vectors(self.labels, labels, tokens, generator)
            if self.trunk.condition_dim is None:
                front.append(chosen.unsqueeze(1))
            else:
                condition = chosen
        if self.registers is not None:
            front.append(self.registers.expand(len(x), -1, -1))
        prefix = sum(part.shape[1] for part in front)
        if front:
            x = torch.cat([*front, x], dim=1)
            if valid is not None:
                valid = functional.pad(valid, (prefix, 0), value=True)
        x = self.trunk(x, valid=valid, condition=condition, prefix=prefix, generator=generator)
        return x.narrow(1, prefix, tokens.shape[1])

    def head(self, features: Tensor) -> Tensor:
        """Turn features, `(..., dim)`, into logits, `(..., codebook_size)`."""
        inner = self.head_norm(functional.gelu(self.head_inner(features)))
        tied = self.embedding.table.weight[: self.codebook_size]
        weight = tied if self.head_weight is None else self.head_weight
        return functional.linear(inner, weight, self.head_bias)

    def embed_context(self, low_tokens: Tensor, *, valid: Tensor | None = None) -> Tensor:
        """Turn low-frequency codes into the `context` of `forward`; keep it for a whole run."""
        if self.context is None:
            raise ValueError("TokenTransformer: context must be given when built; got None")
        context: Tensor = self.context(low_tokens, valid=valid)
        return context

    def _label_vectors(
        self, table: Tensor, labels: Tensor | None, tokens: Tensor, generator: Generator | None
    ) -> Tensor:
        if labels is None:
            return table[-1].expand(len(tokens), -1)
        if self.training and self.label_dropout > 0:
            drawn = torch.rand(len(tokens), device=tokens.device, generator=generator)
            labels = labels.masked_fill(drawn < self.label_dropout, -1)
        return functional.embedding(labels.where(labels >= 0, self.classes), table)

    def _check(
        self, tokens: Tensor, labels: Tensor | None, valid: Tensor | None, context: Tensor | None
    ) -> None:
        who = "TokenTransformer"
        check_axes(who, "tokens", tokens, "batch tokens")
        check_codes(who, "tokens", tokens)
        check_at_least(who, "batch", tokens.shape[0], 1)
        if not 1 <= tokens.shape[1] <= self.tokens:
            raise ValueError(f"{who}: tokens must be 1 to {self.tokens}; got {tokens.shape[1]}")
        if labels is not None:
            if self.labels is None:
                raise ValueError(f"{who}: labels must be None without classes; got a tensor")
            check_codes(who, "labels", labels)
            if labels.shape != tokens.shape[:1]:
                raise ValueError(
                    f"{who}: labels must have shape {tuple(tokens.shape[:1])}; "
                    f"got {tuple(labels.shape)}"
                )
        if valid is not None:
            check_bool_mask(who, "valid", valid, tokens.shape)
        if context is None:
            if self.context is not None:
                raise ValueError(f"{who}: context must be given (see embed_context); got None")
        elif context.shape != (*tokens.shape, self.trunk.dim):
            raise ValueError(
                f"{who}: context must have shape {(*tokens.shape, self.trunk.dim)}; "
                f"got {tuple(context.shape)}"
            )
