"""Codebooks that the config does not name: a fixed grid (FSQ), and sums of two codes (residual)."""

import math

import torch
from torch import Tensor, nn

from ssltok.pipelines import Tokenizer, TokenizerConfig
from ssltok.quantizers import (
    FSQ,
    EMAVectorQuantizer,
    ProjectedQuantizer,
    Quantized,
    ResidualQuantizer,
)

__all__ = ["SummedCodes", "replace_quantizers"]

LEVELS = {32: (8, 4), 64: (4, 4, 4), 128: (8, 4, 4), 256: (4, 4, 4, 4)}


class SummedCodes(nn.Module):
    """A residual quantizer of two levels whose pair of codes counts as one code of `size ** 2`.

    So a prior sees as many tokens, and as large a vocabulary, as with a plain codebook.
    """

    channel_dim = 1

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.size = math.isqrt(config.codebook_size)
        if self.size**2 != config.codebook_size:
            raise ValueError(
                f"SummedCodes: codebook_size must be a square; got {config.codebook_size}"
            )
        self.dim, self.codebook_size = config.dim, config.codebook_size
        levels = [
            EMAVectorQuantizer(
                config.dim, self.size, decay=config.decay,
                commitment_weight=config.commitment_weight,
            )
            for _ in range(2)
        ]  # fmt: skip
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
        self, latents: Tensor, valid: Tensor | None = None, *, generator: torch.Generator
    ) -> None:
        """Start both codebooks by k-means."""
        self.levels.initialize(latents, valid, generator=generator)

    def _join(self, codes: Tensor) -> Tensor:
        first, second = codes.unbind(-1)
        return (first + self.size * second).masked_fill(first < 0, -1)

    def _split(self, codes: Tensor) -> Tensor:
        pair = torch.stack([codes % self.size, codes // self.size], dim=-1)
        return pair.masked_fill(codes[..., None] < 0, -1)


def replace_quantizers(tokenizer: Tokenizer, kind: str) -> None:
    """Put quantizers of another kind into a new tokenizer's branches; `config` leaves them."""
    config = tokenizer.config
    if kind in ("config", "ema", "gradient"):
        return
    for branch in tokenizer.parts:
        quantizer: nn.Module
        if kind == "residual":
            quantizer = SummedCodes(config)
        else:
            if config.codebook_size not in LEVELS:
                raise ValueError(
                    f"replace_quantizers: fsq needs one of {sorted(LEVELS)} codes; "
                    f"got {config.codebook_size}"
                )
            levels = FSQ(LEVELS[config.codebook_size])
            quantizer = ProjectedQuantizer(levels, config.dim, channel_dim=1)
        branch.quantizer = quantizer  # type: ignore[assignment]
