"""The network of the general tokenizer: cosine coefficients of patches, codes, and features."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok.quantizers import EMAVectorQuantizer, Quantized, ResidualQuantizer

__all__ = ["SEEN", "GeneralCodec", "Summarized"]

SEEN = 8  # parts of a patch whose share of observed samples the encoder reads
QUARTERS = 4


class GeneralCodec(nn.Module):
    """Encoder, residual codes, decoder, and a network that summarises what was decoded.

    It reads frames: `(rows, patches, dim)` cosine coefficients of a scaled channel. Encoder and
    decoder start as the identity, so that the code starts as that of k-means on patches.

    Args:
        dim: Coefficients of a patch.
        levels: Codes of a patch.
        codebook_size: Codes to choose from at each level.
        hidden_dim: Channels inside the encoder.
        decoder_dim: Channels inside the decoder.
        widths: Channels of the stages of the summary.
        dropout: Share of rows that train with fewer levels.
    """

    def __init__(
        self,
        *,
        dim: int = 32,
        levels: int = 3,
        codebook_size: int = 1024,
        hidden_dim: int = 96,
        decoder_dim: int = 192,
        widths: tuple[int, ...] = (32, 64, 96, 128),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.dim, self.levels, self.codebook_size = dim, levels, codebook_size
        self.encoder = PatchNetwork(dim + SEEN, hidden_dim, dim, blocks=2)
        self.quantizer = ResidualQuantizer(
            [EMAVectorQuantizer(dim, codebook_size, decay=0.99) for _ in range(levels)],
            dropout=dropout,
        )
        self.decoder = PatchNetwork(dim, decoder_dim, dim, blocks=3)
        self.summary = Summary(widths)

    def latents(self, coefficients: Tensor, seen: Tensor) -> Tensor:
        """Encode coefficients; `seen` `(rows, patches, SEEN)` is the share of observed samples."""
        return coefficients + self.encoder(torch.cat([coefficients, seen], dim=2))

    def quantize(self, latents: Tensor) -> Quantized:
        """Quantize latents; codes are `(rows, patches, levels)`."""
        quantized: Quantized = self.quantizer(latents)
        return quantized

    def decode(self, vectors: Tensor) -> Tensor:
        """Return the coefficients of code vectors `(rows, patches, dim)`."""
        decoded: Tensor = vectors + self.decoder(vectors)
        return decoded


class PatchNetwork(nn.Module):
    """Convolutions over neighbouring patches, channels last, with residual blocks; starts at 0."""

    def __init__(self, into: int, hidden: int, out: int, *, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Linear(3 * into, hidden)
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Linear(3 * hidden, hidden), nn.Linear(hidden, hidden)])
            for _ in range(blocks)
        )
        self.leave = nn.Linear(hidden, out)
        for _, last in self.blocks:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Turn `(rows, patches, into)` into `(rows, patches, out)`."""
        x = nn.functional.gelu(self.enter(_neighbours(x)))
        for first, second in self.blocks:
            x = x + second(nn.functional.gelu(first(_neighbours(x))))
        leave: Tensor = self.leave(nn.functional.gelu(x))
        return leave


class Summarized(NamedTuple):
    """What a summary gives, `(rows, features)` each.

    Attributes:
        pooled: Mean, deviation and maximum over the frame, of every stage.
        placed: Means over the quarters of the frame, of the last two stages.
    """

    pooled: Tensor
    placed: Tensor


class Summary(nn.Module):
    """A residual network over the decoded samples, pooled over time by mean, deviation, maximum."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, widths[0], 9, stride=2, padding=4)
        stages, before = [], widths[0]
        for width in widths:
            stages.append(Stage(before, width))
            before = width
        self.stages = nn.ModuleList(stages)
        self.features = 3 * sum(widths)

    def forward(self, series: Tensor) -> Summarized:
        """Read `(rows, samples)`."""
        x, pooled, placed = self.stem(series[:, None]), [], []
        for stage in self.stages:
            x = stage(x)
            pooled += [x.mean(2), (x.var(2, unbiased=False) + 1e-4).sqrt(), x.amax(2)]
            placed.append(nn.functional.adaptive_avg_pool1d(x, QUARTERS).flatten(1))
        return Summarized(torch.cat(pooled, dim=1), torch.cat(placed[-2:], dim=1))


class Stage(nn.Module):
    """Halve the samples, and add what two convolutions make of them."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(into, out, 5, stride=2, padding=2, bias=False)
        self.first_norm = nn.BatchNorm1d(out)
        self.second = nn.Conv1d(out, out, 5, padding=2, bias=False)
        self.second_norm = nn.BatchNorm1d(out)
        self.skip = nn.Conv1d(into, out, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Turn `(rows, into, samples)` into `(rows, out, samples / 2)`."""
        y = nn.functional.relu(self.first_norm(self.first(x)))
        return nn.functional.relu(self.skip(x) + self.second_norm(self.second(y)))


def _neighbours(x: Tensor) -> Tensor:
    """Each place with the one before and the one after, zeros beyond the ends."""
    padded = nn.functional.pad(x, (0, 0, 1, 1))
    return torch.cat([padded[:, :-2], x, padded[:, 2:]], dim=2)
