"""From codes to vectors: token embeddings, and low-frequency tokens as context for high ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_codes,
    check_size,
)

__all__ = ["ContextEmbedding", "TokenEmbedding"]


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
        self.table = nn.Embedding(codebook_size + 1, width)
        scale = 0.02 if codebook is None else float(codebook.detach().square().mean().sqrt())
        with torch.no_grad():
            self.table.weight.normal_(std=scale)
            if codebook is not None:
                self.table.weight[:-1] = codebook
        self.scale = scale
        self.widen = nn.Identity() if width == dim else nn.Linear(width, dim, bias=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Embed codes of any shape as `(*shape, dim)`."""
        check_codes("TokenEmbedding", "codes", codes)
        vectors: Tensor = self.widen(self.table(codes))
        return vectors


class ContextEmbedding(nn.Module):
    """Lay the low-frequency tokens under the high-frequency ones, moment by moment.

    The low-frequency tokens are embedded, repeated along time until they are as many as the
    high-frequency frames (nearest neighbour), and mixed by two convolutions over time (kernel
    `kernel`, GELU between, the second dilated by 2). Every frequency of the high grid gets the
    same context. It depends on the low-frequency tokens only: compute it once per decoding run.

    Departures from TimeVQVAE: its 2023 code mixes the flattened tokens by a learned matrix, its
    2024 code repeats the flattened tokens, so that time and frequency are mixed up; there is no
    BatchNorm here, so that a batch entry does not depend on the others.

    Args:
        embedding: Embedding of the low-frequency codes. A code that is [MASK] is legal: hide some
            to make the prior robust to its own errors.
        grid: The low-frequency grid, `(freq, frames)`.
        onto: The high-frequency grid, `(freq, frames)`.
        kernel: Frames that a convolution sees, odd. TimeVQVAE uses 7.

    Raises:
        ValueError: If a size is smaller than 1, or `kernel` is even, or the codes are not
            `(batch, freq * frames)`.

    Example:
        >>> import torch
        >>> from ssltok.nn import ContextEmbedding, TokenEmbedding
        >>> context = ContextEmbedding(TokenEmbedding(32, 16), grid=(1, 8), onto=(2, 32))
        >>> context(torch.randint(32, (5, 8))).shape
        torch.Size([5, 64, 16])

    References:
        Lee et al., *Vector Quantized Time Series Generation with a Bidirectional Prior Model*,
        2023, <https://arxiv.org/abs/2303.04743>, and its code.
    """

    def __init__(
        self,
        embedding: TokenEmbedding,
        *,
        grid: tuple[int, int],
        onto: tuple[int, int],
        kernel: int = 7,
    ) -> None:
        super().__init__()
        for name, size in [("grid", min(grid)), ("onto", min(onto)), ("kernel", kernel)]:
            check_at_least("ContextEmbedding", name, size, 1)
        if kernel % 2 == 0:
            raise ValueError(f"ContextEmbedding: kernel must be odd; got {kernel}")
        self.embedding, self.grid, self.onto = embedding, grid, onto
        dim, reach = embedding.dim, kernel // 2
        self.mix = nn.Sequential(
            nn.Conv1d(grid[0] * dim, dim, kernel, padding=reach),
            nn.GELU(),
            nn.Conv1d(dim, dim, kernel, padding=2 * reach, dilation=2),
        )

    def forward(self, codes: Tensor, *, valid: Tensor | None = None) -> Tensor:
        """Embed `(batch, tokens)` codes as context `(batch, tokens of onto, dim)`.

        Codes where `valid` is False may have any value; they count as zeros.
        """
        check_codes("ContextEmbedding", "codes", codes)
        check_axes("ContextEmbedding", "codes", codes, "batch tokens")
        check_size("ContextEmbedding", "codes", codes, 1, self.grid[0] * self.grid[1])
        if valid is not None:
            check_bool_mask("ContextEmbedding", "valid", valid, codes.shape)
            codes = codes.masked_fill(~valid, self.embedding.codebook_size)
        vectors = self.embedding(codes)
        if valid is not None:
            vectors = vectors * valid.unsqueeze(-1)
        rows = vectors.unflatten(1, self.grid).permute(0, 1, 3, 2).flatten(1, 2)
        rows = functional.interpolate(rows, size=self.onto[1], mode="nearest-exact")
        mixed: Tensor = self.mix(rows).transpose(1, 2)
        return mixed.repeat(1, self.onto[0], 1)
