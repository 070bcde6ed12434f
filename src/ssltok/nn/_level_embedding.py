"""Tokens of several codes: a table for each level, and the sum of what they say."""

from collections.abc import Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_codes, check_size
from ssltok.nn._token_embedding import TokenEmbedding

__all__ = ["LevelEmbedding"]


class LevelEmbedding(nn.Module):
    r"""Embed tokens of several codes, such as those of a residual quantizer, coarse levels first.

    $$e(k_1, \ldots, k_L) = \sum_{l=1}^{L} E_l[k_l]$$

    with a `TokenEmbedding` $E_l$ for each level. Levels may differ in their number of codes: in
    level $l$, $K_l$ **and every index above it** is [MASK], so one index, `codebook_size`, hides
    a token at all levels. With one level it is that `TokenEmbedding`.

    Args:
        codebook_sizes: Number of codes of each level, $K_l$.
        dim: Features of the result.
        embedding_dim: Features of the tables; None is `dim`, or the codebooks' width.
        codebooks: `(K_l, embedding_dim)` for each level, copied.

    Attributes:
        codebook_size: The largest of the sizes: [MASK] at every level.
        levels: The embedding of each level.

    Raises:
        ValueError: If there is no level, a size is smaller than 1, codebooks are not as many as
            levels or have other shapes, or the input is not int64 `(..., levels)`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import LevelEmbedding
        >>> books = [torch.tensor([[10.0], [20.0], [30.0]]), torch.tensor([[1.0], [2.0]])]
        >>> embedding = LevelEmbedding([3, 2], 1, codebooks=books)
        >>> embedding(torch.tensor([[2, 0], [0, 1]])).tolist()
        [[31.0], [12.0]]

    References:
        Borsos et al., *SoundStorm*, 2023, <https://arxiv.org/abs/2305.09636>, section 3.1.
    """

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        dim: int,
        *,
        embedding_dim: int | None = None,
        codebooks: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__()
        who = "LevelEmbedding"
        check_at_least(who, "levels", len(codebook_sizes), 1)
        for size in codebook_sizes:
            check_at_least(who, "codebook_sizes", size, 1)
        if codebooks is not None:
            if len(codebooks) != len(codebook_sizes):
                raise ValueError(
                    f"{who}: codebooks must be as many as levels, {len(codebook_sizes)}; "
                    f"got {len(codebooks)}"
                )
            if embedding_dim is None:
                embedding_dim = codebooks[0].shape[-1]
        starts = [None] * len(codebook_sizes) if codebooks is None else codebooks
        self.codebook_sizes, self.codebook_size = tuple(codebook_sizes), max(codebook_sizes)
        self.dim, self.codebooks = dim, None
        self.levels = nn.ModuleList(
            TokenEmbedding(size, dim, embedding_dim=embedding_dim, codebook=start)
            for size, start in zip(codebook_sizes, starts, strict=True)
        )
        self.embedding_dim, self.scale = self.level(0).embedding_dim, self.level(0).scale

    def level(self, level: int) -> TokenEmbedding:
        """Return the embedding of one level; 0 is the coarsest."""
        return cast(TokenEmbedding, self.levels[level])

    @property
    def table(self) -> nn.Embedding:
        """The table of the coarsest level."""
        return self.level(0).table

    def forward(self, codes: Tensor) -> Tensor:
        """Embed codes `(*shape, levels)` as `(*shape, dim)`."""
        check_codes("LevelEmbedding", "codes", codes)
        check_at_least("LevelEmbedding", "dimensions of codes", codes.ndim, 1)
        check_size("LevelEmbedding", "codes", codes, codes.ndim - 1, len(self.levels))
        parts = [
            embedding(level.clamp(max=size))
            for embedding, level, size in zip(
                self.levels, codes.unbind(-1), self.codebook_sizes, strict=True
            )
        ]
        embedded: Tensor = reduce(torch.add, parts)
        return embedded
