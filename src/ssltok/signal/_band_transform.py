"""From series to the bands that the branches of a tokenizer read, and back; both are linear."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least
from ssltok.signal._stft import ISTFT, STFT

__all__ = ["STFTBands", "Waveform"]


class STFTBands(nn.Module):
    """A spectrogram cut into bands of frequencies; each band's inverse is its share of the series.

    One band is NC-VQVAE's, two are TimeVQVAE's low and high frequencies; there may be more.

    Args:
        length: Samples of a series.
        n_fft: Samples of a frame, even.
        hop: Samples between two frames; it divides `n_fft`. None is a quarter of `n_fft`.
        edges: The first frequency bin of each band but the lowest, rising; none for one band.

    Attributes:
        bands: How many there are.
        margin: Samples to either side of a moment that its frame reads.
        in_time: Whether the bands are series already: False.

    Raises:
        ValueError: If a size is below 1, or the edges do not rise between 0 and the bins.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.signal import STFTBands
        >>> transform = STFTBands(20, n_fft=8, hop=2, edges=(1,))
        >>> transform.shape(0, 3), transform.shape(1, 3)
        ((6, 1, 11), (6, 4, 11))
        >>> series = torch.randn(2, 3, 20)
        >>> low, high = transform.inverse(transform(series))
        >>> torch.allclose(low + high, series, atol=1e-5)
        True

    References:
        Lee, Malacarne and Aune, *Vector Quantized Time Series Generation with a Bidirectional
        Prior Model*, 2023, <https://arxiv.org/abs/2303.04743>, section 3.1.
    """

    in_time = False

    def __init__(
        self, length: int, *, n_fft: int = 8, hop: int | None = None, edges: Sequence[int] = ()
    ) -> None:
        super().__init__()
        check_at_least("STFTBands", "length", length, 1)
        self.stft = STFT(n_fft=n_fft, hop=hop)
        self.length, self.n_fft, self.hop = length, n_fft, self.stft.hop
        self.edges = tuple(edges)
        self.margin = n_fft // 2
        bounds = [0, *self.edges, self.stft.bins]
        if any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(
                f"STFTBands: edges must rise between 0 and {self.stft.bins} bins; got {self.edges}"
            )
        self.inverses = nn.ModuleList(
            ISTFT(n_fft=n_fft, hop=hop, band=band) for band in pairwise(bounds)
        )
        self.bands = len(self.inverses)
        self._sizes = [high - low for low, high in pairwise(bounds)]

    def shape(self, band: int, channels: int) -> tuple[int, int, int]:
        """Channels, bins and frames of a band of series with so many channels."""
        return 2 * channels, self._sizes[band], self.stft.frames(self.length)

    def forward(self, series: Tensor) -> list[Tensor]:
        """Turn `(batch, channels, length)` into bands `(batch, 2 * channels, bins, frames)`."""
        spectrogram: Tensor = self.stft(series)
        return list(torch.split(spectrogram, self._sizes, dim=2))

    def inverse(self, bands: Sequence[Tensor]) -> list[Tensor]:
        """Turn bands into each one's share of the series; their sum is the series."""
        return [
            inverse(band, self.length) for inverse, band in zip(self.inverses, bands, strict=True)
        ]

    def real(self, valid: Tensor) -> list[Tensor]:
        """Mark what no missing sample is in: `valid` `(batch, channels, length)`, by band.

        Returns:
            Boolean, each broadcasts to its band.
        """
        gaps = functional.max_pool1d(
            functional.pad((~valid).float(), [self.margin] * 2), self.n_fft, self.hop
        )
        frames = self.stft.frames(self.length)
        real = (gaps == 0).repeat_interleave(2, dim=1)[:, :, None, :frames]
        return [real] * self.bands

    def within(self, within: Tensor) -> list[Tensor]:
        """Mark the frames before a series' end: `within` `(batch, length)`, by band.

        Frame $k$ of $n$ is real if its share of the time axis begins before the end.

        Returns:
            Boolean, `(batch, frames)` each.
        """
        frames = self.stft.frames(self.length)
        begins = torch.arange(frames, device=within.device) * self.length / frames
        return [begins < within.sum(dim=1, keepdim=True)] * self.bands


class Waveform(nn.Module):
    """The series itself as the only band, for coders that work in time.

    Args:
        length: Samples of a series.

    Attributes:
        bands: 1.
        margin: 0: a moment of the band reads that sample alone.
        in_time: Whether the bands are series already: True, so their error is counted once.

    Raises:
        ValueError: If `length` is below 1.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.signal import Waveform
        >>> transform, series = Waveform(20), torch.randn(2, 3, 20)
        >>> torch.equal(transform.inverse(transform(series))[0], series), transform.shape(0, 3)
        (True, (3, 20))
    """

    in_time = True
    bands = 1
    margin = 0

    def __init__(self, length: int) -> None:
        super().__init__()
        check_at_least("Waveform", "length", length, 1)
        self.length = length

    def shape(self, band: int, channels: int) -> tuple[int, int]:
        """Channels and samples of the band."""
        return channels, self.length

    def forward(self, series: Tensor) -> list[Tensor]:
        """Return the series in a list."""
        return [series]

    def inverse(self, bands: Sequence[Tensor]) -> list[Tensor]:
        """Return the bands."""
        return list(bands)

    def real(self, valid: Tensor) -> list[Tensor]:
        """Return what is valid in a list."""
        return [valid]

    def within(self, within: Tensor) -> list[Tensor]:
        """Return the samples before the end in a list."""
        return [within]
