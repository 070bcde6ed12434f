"""Act 1. Series become tokens and series again, while two views of a series agree.

One branch reads all frequencies (NC-VQVAE); or one reads the low and one the high ones
(TimeVQVAE). A branch is an encoder, a quantizer and a decoder; the rest is arithmetic.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from ssltok.nn import (
    SpectrogramDecoder,
    SpectrogramEncoder,
)
from ssltok.pipelines._config import TokenizerConfig
from ssltok.quantizers import EMAVectorQuantizer, VectorQuantizer
from ssltok.signal import ISTFT, STFT, ChannelScaler, split_bands

__all__ = ["Branch", "Tokenizer"]


class Branch(nn.Module):
    """Encoder, quantizer and decoder of one band of frequencies."""

    def __init__(
        self, config: TokenizerConfig, *, channels: int, bins: int, frames: int, width: int
    ) -> None:
        super().__init__()
        sizes = {"bins": bins, "frames": frames, "width": width, "blocks": config.blocks}
        self.encoder = SpectrogramEncoder(2 * channels, config.dim, **sizes)
        self.decoder = SpectrogramDecoder(2 * channels, config.dim, **sizes)
        self.quantizer: VectorQuantizer | EMAVectorQuantizer
        if config.quantizer == "ema":
            self.quantizer = EMAVectorQuantizer(
                config.dim,
                config.codebook_size,
                decay=config.decay,
                commitment_weight=config.commitment_weight,
                channel_dim=1,
            )
        else:
            self.quantizer = VectorQuantizer(
                config.dim,
                config.codebook_size,
                commitment_weight=config.commitment_weight,
                channel_dim=1,
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Frequency bins and frames of the tokens."""
        return self.encoder.grid


class Tokenizer(nn.Module):
    """STFT, branches and scaler: everything that turns series into tokens and back.

    Args:
        config: Sizes and options.
        channels: Channels of the series.
        length: Samples of the longest series.

    Attributes:
        grids: Frequency bins and frames of each branch's tokens.
        sizes: Tokens of each branch.
    """

    def __init__(self, config: TokenizerConfig, *, channels: int, length: int) -> None:
        super().__init__()
        self.config, self.channels, self.length = config, channels, length
        self.stft = STFT(n_fft=config.n_fft, hop=config.hop)
        self.scaler = ChannelScaler().fit(torch.zeros(1, channels, 1))
        frames, bins = self.stft.frames(length), self.stft.bins
        edges = [0, bins] if len(config.widths) == 1 else [0, config.edge, bins]
        bands = list(pairwise(edges))
        self.inverses = nn.ModuleList(
            ISTFT(n_fft=config.n_fft, hop=config.hop, band=band) for band in bands
        )
        self.branches = nn.ModuleList(
            Branch(config, channels=channels, bins=end - first, frames=frames, width=width)
            for (first, end), width in zip(bands, config.widths, strict=True)
        )
        self.grids = tuple(branch.grid for branch in self.parts)
        self.sizes = tuple(freq * frames for freq, frames in self.grids)

    @property
    def parts(self) -> list[Branch]:
        """The branches, low frequencies first."""
        return [part for part in self.branches if isinstance(part, Branch)]

    def scale(self, values: Tensor, valid: Tensor) -> Tensor:
        """Bring series `(batch, channels, length)` to the scale of the model; NaN becomes 0."""
        scaled: Tensor = self.scaler(values)
        return torch.where(valid.any(dim=-1, keepdim=True), scaled, 0.0)

    def bands(self, series: Tensor) -> list[Tensor]:
        """The spectrogram of scaled series, by branch."""
        spectrogram: Tensor = self.stft(series)
        if len(self.parts) == 1:
            return [spectrogram]
        return list(split_bands(spectrogram, edge=self.config.edge))

    def waves(self, bands: list[Tensor]) -> list[Tensor]:
        """Each branch's share of the scaled series; their sum is the series."""
        return [
            inverse(band, self.length) for inverse, band in zip(self.inverses, bands, strict=True)
        ]

    def token_valid(self, lengths: Tensor) -> list[Tensor]:
        """Which tokens stand for real samples, `(batch, freq, frames)` by branch.

        A token is real if its share of the time axis begins before the series ends.
        """
        masks = []
        for freq, frames in self.grids:
            begins = torch.arange(frames, device=lengths.device) * self.length / frames
            real = begins < lengths[:, None]
            masks.append(real[:, None, :].expand(-1, freq, -1))
        return masks

    def encode(self, series: Tensor, lengths: Tensor) -> Tensor:
        """Codes of scaled series, int64 `(batch, tokens)`, -1 at padding; low branch first."""
        codes = [
            branch.quantizer.encode(branch.encoder(band), valid)
            for branch, band, valid in zip(
                self.parts, self.bands(series), self.token_valid(lengths), strict=True
            )
        ]
        return torch.cat([c.flatten(1) for c in codes], dim=1)

    def vectors(self, codes: Tensor) -> list[Tensor]:
        """The vectors of codes `(batch, tokens)`, `(batch, dim, freq, frames)` by branch."""
        parts = torch.split(codes, list(self.sizes), dim=1)
        return [
            branch.quantizer.decode(part.reshape(-1, *grid))
            for branch, part, grid in zip(self.parts, parts, self.grids, strict=True)
        ]

    def decode(self, codes: Tensor) -> Tensor:
        """Scaled series of codes `(batch, tokens)`."""
        bands = [
            branch.decoder(vectors)
            for branch, vectors in zip(self.parts, self.vectors(codes), strict=True)
        ]
        return torch.stack(self.waves(bands)).sum(dim=0)
