"""A quantizer of the study's own: sums of two codes, a pair of which counts as one code."""

import math

import torch
from torch import Tensor, nn

from ssltok.quantizers import EMAVectorQuantizer, Quantized, ResidualQuantizer

__all__ = ["JoinedCodes"]


class JoinedCodes(nn.Module):
    """A residual quantizer of two levels whose pair of codes counts as one code of `size ** 2`.

    So a prior sees as many tokens, and as large a vocabulary, as with a plain codebook.

    Args:
        dim: Channels of the latents.
        codebook_size: Pairs of codes, a square.
        decay: Memory of the moving averages.
        commitment_weight: Weight of the pull of latents towards their codes.

    Raises:
        ValueError: If `codebook_size` is no square.
    """

    channel_dim = 1
    code_shape = ()
    codes_per_token = 1
    learns_by_vectors = False
    idle = False

    def __init__(
        self, dim: int, codebook_size: int, *, decay: float = 0.99, commitment_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.size = math.isqrt(codebook_size)
        if self.size**2 != codebook_size:
            raise ValueError(f"JoinedCodes: codebook_size must be a square; got {codebook_size}")
        self.dim, self.codebook_size = dim, codebook_size
        self.codebook_sizes = (codebook_size,)
        self.decay, self.commitment_weight = decay, commitment_weight
        levels = [
            EMAVectorQuantizer(dim, self.size, decay=decay, commitment_weight=commitment_weight)
            for _ in range(2)
        ]
        self.levels = ResidualQuantizer(levels, channel_dim=1)

    @property
    def codebook(self) -> Tensor:
        """All sums, `(size ** 2, dim)`, the first level's code being worth 1."""
        first, second = self.levels.codebook
        sums: Tensor = second[:, None] + first[None]
        return sums.flatten(0, 1)

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize; codes are those of pairs."""
        result: Quantized = self.levels(latents, valid)
        return result._replace(codes=self._join(result.codes))

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Codes of pairs."""
        return self._join(self.levels.encode(latents, valid))

    def decode(self, codes: Tensor) -> Tensor:
        """Sums of the two levels' vectors."""
        return self.levels.decode(self._split(codes))

    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Move both codebooks."""
        self.levels.update(latents, self._split(codes))

    def initialize(
        self,
        latents: Tensor,
        valid: Tensor | None = None,
        *,
        steps: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:
        """Start both codebooks by k-means."""
        self.levels.initialize(latents, valid, steps=steps, generator=generator)

    def revive(
        self,
        latents: Tensor,
        codes: Tensor,
        *,
        share: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Move no code: a pair cannot be put elsewhere without others."""
        return ()

    def _join(self, codes: Tensor) -> Tensor:
        first, second = codes.unbind(-1)
        return (first + self.size * second).masked_fill(first < 0, -1)

    def _split(self, codes: Tensor) -> Tensor:
        pair = torch.stack([codes % self.size, codes // self.size], dim=-1)
        return pair.masked_fill(codes[..., None] < 0, -1)
