"""Low-frequency tokens as context for high-frequency ones."""

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_codes,
    check_size,
)
from ssltok.nn._level_embedding import LevelEmbedding
from ssltok.nn._token_embedding import TokenEmbedding

__all__ = ["ContextEmbedding"]


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
        TypeError: If an input is not a tensor, or an option not a number.

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
        embedding: TokenEmbedding | LevelEmbedding,
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
        self.embedding, self.grid, self.onto, self.kernel = embedding, grid, onto, kernel
        dim, reach = embedding.dim, kernel // 2
        self.mix = nn.Sequential(
            nn.Conv1d(grid[0] * dim, dim, kernel, padding=reach),
            nn.GELU(),
            nn.Conv1d(dim, dim, kernel, padding=2 * reach, dilation=2),
        )

    def forward(self, codes: Tensor, *, valid: Tensor | None = None) -> Tensor:
        """Embed `(batch, tokens)` codes as context `(batch, tokens of onto, dim)`.

        With a `LevelEmbedding`, codes are `(batch, tokens, levels)`. Codes where `valid`, boolean
        `(batch, tokens)`, is False may have any value; they count as zeros.
        """
        check_codes("ContextEmbedding", "codes", codes)
        several = isinstance(self.embedding, LevelEmbedding)
        axes = "batch tokens levels" if several else "batch tokens"
        check_axes("ContextEmbedding", "codes", codes, axes)
        check_size("ContextEmbedding", "codes", codes, 1, self.grid[0] * self.grid[1])
        if valid is not None:
            check_bool_mask("ContextEmbedding", "valid", valid, codes.shape[:2])
            padding = ~valid.unsqueeze(-1) if several else ~valid
            codes = codes.masked_fill(padding, self.embedding.codebook_size)
        vectors = self.embedding(codes)
        if valid is not None:
            vectors = vectors * valid.unsqueeze(-1)
        pattern = "batch (freq frames) dim -> batch (freq dim) frames"
        rows = rearrange(vectors, pattern, freq=self.grid[0])
        rows = functional.interpolate(rows, size=self.onto[1], mode="nearest-exact")
        mixed: Tensor = self.mix(rows).transpose(1, 2)
        return mixed.repeat(1, self.onto[0], 1)
