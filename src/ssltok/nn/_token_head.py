"""The head of a prior: from features to the logits of one level's codes. Private."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok.nn._token_embedding import TokenEmbedding

__all__ = ["TokenHead", "token_logits"]


class TokenHead(nn.Module):
    """Linear, GELU, LayerNorm, linear; tied, the last weights are those of the embedding."""

    def __init__(self, dim: int, embedding: TokenEmbedding, *, tied: bool) -> None:
        super().__init__()
        width = embedding.embedding_dim if tied else dim
        self.inner, self.norm = nn.Linear(dim, width), nn.LayerNorm(width)
        self.weight = None if tied else nn.Linear(width, embedding.codebook_size).weight
        self.bias = nn.Parameter(torch.zeros(embedding.codebook_size))
        if tied:  # logits of variance 1 or less, whatever the scale of the codebook
            nn.init.constant_(self.norm.weight, min(1, 1 / (width**0.5 * embedding.scale)))

    def forward(self, features: Tensor, embedding: TokenEmbedding) -> Tensor:
        """Turn features, `(..., dim)`, into logits, `(..., codebook_size)`."""
        return token_logits(features, self.inner, self.norm, self.weight, self.bias, embedding)


def token_logits(
    features: Tensor,
    inner: nn.Linear,
    norm: nn.LayerNorm,
    weight: Tensor | None,
    bias: Tensor,
    embedding: TokenEmbedding,
) -> Tensor:
    """Compute what `TokenHead` returns, from its parts."""
    hidden = norm(functional.gelu(inner(features)))
    tied = embedding.table.weight[: embedding.codebook_size]
    return functional.linear(hidden, tied if weight is None else weight, bias)
