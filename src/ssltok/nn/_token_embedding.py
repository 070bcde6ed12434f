"""From codes to vectors."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_codes,
    check_size,
)

__all__ = ["TokenEmbedding"]


class TokenEmbedding(nn.Module):
    """Look up a vector for each code, and one for [MASK], whose index is `codebook_size`.

    Vectors start as a copy of a quantizer's codebook (as TimeVQVAE does), or normal with standard
    deviation 0.02 (as MaskGIT does); [MASK] is drawn at the scale of the others. They are
    trained like any parameter. When they have another width than `dim`, a linear map follows:
    a factorised embedding (ALBERT).

    Args:
        codebook_size: Number of codes.
        dim: Features of the result.
        embedding_dim: Features of the table; None is `dim`, or the codebook's width.
        codebook: `(codebook_size, embedding_dim)`, copied.

    Raises:
        ValueError: If a size is smaller than 1, or the codebook has another shape, or the input
            is not int64.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import TokenEmbedding
        >>> embedding = TokenEmbedding(3, 2, codebook=torch.tensor([[1.0, 2], [3, 4], [5, 6]]))
        >>> embedding(torch.tensor([[2, 0]])).tolist()
        [[[5.0, 6.0], [1.0, 2.0]]]

    References:
        Lan et al., *ALBERT*, 2019, <https://arxiv.org/abs/1909.11942>, section 3.1.
    """

    def __init__(
        self,
        codebook_size: int,
        dim: int,
        *,
        embedding_dim: int | None = None,
        codebook: Tensor | None = None,
    ) -> None:
        super().__init__()
        check_at_least("TokenEmbedding", "codebook_size", codebook_size, 1)
        check_at_least("TokenEmbedding", "dim", dim, 1)
        if codebook is not None:
            check_axes("TokenEmbedding", "codebook", codebook, "codebook_size dim")
            check_size("TokenEmbedding", "codebook", codebook, 0, codebook_size)
            if embedding_dim is not None:
                check_size("TokenEmbedding", "codebook", codebook, 1, embedding_dim)
            embedding_dim = codebook.shape[1]
        width = dim if embedding_dim is None else embedding_dim
        check_at_least("TokenEmbedding", "embedding_dim", width, 1)
        self.codebook_size, self.dim, self.embedding_dim = codebook_size, dim, width
        self.codebook = None  # a start, and no part of what was built
        self.table = nn.Embedding(codebook_size + 1, width)
        scale = 0.02
        if codebook is not None and not codebook.is_meta:
            scale = float(codebook.detach().square().mean().sqrt())
        with torch.no_grad():
            self.table.weight.normal_(std=scale)
            if codebook is not None:
                self.table.weight[:-1] = codebook
        self.scale = scale
        self.widen = nn.Identity() if width == dim else nn.Linear(width, dim, bias=False)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """The number of codes of each level, as in `LevelEmbedding`: one level."""
        return (self.codebook_size,)

    def level(self, level: int) -> "TokenEmbedding":
        """Return the embedding of a level, as `LevelEmbedding` does; there is only level 0.

        Raises:
            ValueError: If `level` is not 0.
        """
        if level != 0:
            raise ValueError(f"TokenEmbedding: level must be 0; got {level}")
        return self

    def forward(self, codes: Tensor) -> Tensor:
        """Embed codes of any shape as `(*shape, dim)`."""
        check_codes("TokenEmbedding", "codes", codes)
        vectors: Tensor = self.widen(self.table(codes))
        return vectors
