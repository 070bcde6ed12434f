"""A causal prior from a config's numbers, and what either prior is told of conditions."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssltok.nn import CausalTokenTransformer, ConditionEmbedding, TokenEmbedding, Transformer
from ssltok.pipelines._stage_two._causal_prior import CausalPrior
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._words._config import PriorConfig

__all__ = ["build_causal", "condition_embeddings"]


def build_causal(
    config: PriorConfig,
    tokenizer: Tokenizer,
    *,
    classes: int,
    codebooks: Sequence[Tensor] | None,
    conditions: tuple[int, int],
) -> CausalPrior:
    """Build one causal transformer over all codes of a tokenizer; arguments as in `build_prior`."""
    codes = tokenizer.codes_per_token
    books = None
    if codebooks is not None and len({book.shape[-1] for book in codebooks}) == 1:
        books = torch.cat([book.reshape(-1, book.shape[-1]) for book in codebooks])
    size = sum(map(sum, tokenizer.codebook_sizes))
    embedding = TokenEmbedding(
        size, config.dim, codebook=books,
        embedding_dim=None if books is not None else tokenizer.parts[0].dim,
    )  # fmt: skip
    trunk = Transformer(
        config.dim, depth=config.depth, heads=config.heads, mlp_ratio=config.mlp_ratio,
        norm=nn.RMSNorm, dropout=config.dropout, causal=True,
    )  # fmt: skip
    model = CausalTokenTransformer(
        embedding, trunk, tokens=sum(tokenizer.sizes) * codes, classes=classes,
        label_dropout=0.0,  # the batch comes with its labels hidden
        tied=config.tied,
    )  # fmt: skip
    embeddings = condition_embeddings([config.dim] * len(tokenizer.sizes), tokenizer, conditions)
    return CausalPrior(
        model, sizes=tokenizer.sizes, classes=classes, codebook_sizes=tokenizer.codebook_sizes,
        order=time_order(tokenizer), embeddings=embeddings,
        limits=tokenizer.limits if any(tokenizer.limits) else None,
    )  # fmt: skip


def time_order(tokenizer: Tokenizer) -> list[int]:
    """Places as their stretches of time end; the first branch, row and code of a time come first.

    So what is known up to some moment stands before all that is not.
    """
    ends = []
    for branch, grid in zip(tokenizer.parts, tokenizer.grids, strict=True):
        begins = branch.begins(tokenizer.length)
        each = torch.cat([begins[1:], torch.tensor([float(tokenizer.length)])])
        ends.append(each.repeat(math.prod(grid[:-1])).repeat_interleave(tokenizer.codes_per_token))
    order: list[int] = torch.cat(ends).argsort(stable=True).tolist()
    return order


def condition_embeddings(
    dims: Sequence[int], tokenizer: Tokenizer, conditions: tuple[int, int]
) -> Any:
    """What tells each branch of covariates and known channels; None where there are none."""
    if conditions == (0, 0):
        return None
    features, channels = conditions
    return [
        ConditionEmbedding(
            dim, features=features, channels=channels,
            length=tokenizer.length if channels else 0, grid=grid,
        )
        for dim, grid in zip(dims, tokenizer.grids, strict=True)
    ]  # fmt: skip
