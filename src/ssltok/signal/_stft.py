"""The short-time Fourier transform and an inverse that gives every series back, at any length."""

import math
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from ssltok._shared.checks import check_at_least, check_axes, check_floating
from ssltok._shared.derived import DerivedBuffers
from ssltok._shared.numerics import full_precision

__all__ = ["ISTFT", "STFT"]


class _Transform(DerivedBuffers):
    """What both directions share: sizes, window, and a basis that stays exact in any dtype."""

    window: Tensor
    basis: Tensor

    def __init__(self, *, n_fft: int, hop: int | None) -> None:
        super().__init__()
        who = type(self).__name__
        if not isinstance(n_fft, int) or n_fft < 2 or n_fft % 2:
            raise ValueError(f"{who}: n_fft must be an even integer >= 2; got {n_fft}")
        self.n_fft = n_fft
        self.hop = max(1, n_fft // 4) if hop is None else hop
        if not isinstance(self.hop, int) or self.hop < 1 or n_fft % self.hop:
            raise ValueError(f"{who}: hop must be an integer that divides n_fft={n_fft}; got {hop}")
        self.bins = n_fft // 2 + 1

    def frames(self, length: int) -> int:
        """Return the number of frames of a series of `length` samples."""
        check_at_least(type(self).__name__, "length", length, 1)
        remainder = length % self.hop
        return length // self.hop + (2 if 4 * remainder > self.n_fft else 1)

    def _fourier(self, window: Tensor) -> Tensor:
        raise NotImplementedError

    def _derive(self) -> dict[str, Tensor]:
        if self.hop == self.n_fft:
            window = torch.ones(self.n_fft, dtype=torch.float64)
        else:
            window = torch.hann_window(self.n_fft, dtype=torch.float64)
        return {"window": window, "basis": self._fourier(window)}

    def _derived_options(self) -> dict[str, Any]:
        return {"n_fft": self.n_fft, "hop": self.hop}

    def _derived_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return _at_least_single(dtype)

    def _constants(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if self.basis.dtype == like.dtype:
            return self.window, self.basis
        exact = self._derive()
        return exact["window"].to(like), exact["basis"].to(like)

    def extra_repr(self) -> str:
        return f"n_fft={self.n_fft}, hop={self.hop}"


class STFT(_Transform):
    r"""Turn a series into its spectrogram: how much of each frequency, when.

    $$u_{k,t} = \tfrac{1}{\sqrt N} \sum_{n=0}^{N-1} w_n\, x_{tH + n - N/2}\, e^{-2\pi i k n / N}$$

    with $N$ = `n_fft`, $H$ = `hop` and $k$ = 0 ... $N/2$. Frames are centred: frame $t$ looks at
    the samples around $tH$, and the series is continued by reflection, as often as needed.
    The values are those of `torch.stft(..., normalized=True)`; the factor $1/\sqrt N$ keeps the
    scale of the spectrogram, and of losses on it, apart from `n_fft`.

    The window is the periodic Hann window, but the rectangular one when `hop == n_fft`, where
    frames do not overlap and the zero of the Hann window would lose samples. A series of `length`
    samples has `length // hop + 1` frames, and one more if `length % hop > n_fft / 4`: without it
    the last samples would lie where the window is near zero, and could not be given back. The
    published hops (at most `n_fft / 4`) never need it.

    Computed in float32, or float64 for a float64 series, as one strided convolution with a fixed
    basis, also under autocast: meant for the short frames of tokenizers; for long ones the fast
    Fourier transform of `torch.stft` is faster. The imaginary parts of the first and of the last
    bin are always 0.

    Args:
        n_fft: $N$, the samples of a frame; even, 2 or more. TimeVQVAE and NC-VQVAE take 8, the
            later TimeVQVAE takes 4.
        hop: $H$, the samples from frame to frame; divides `n_fft`. By default `n_fft // 4`, and
            1 for `n_fft` 2.

    Attributes:
        bins: The number of frequencies, `n_fft // 2 + 1`.

    Raises:
        ValueError: If `n_fft` is odd or less than 2, or if `hop` does not divide it.

    Example:
        >>> import torch
        >>> from ssltok.signal import STFT
        >>> stft = STFT(n_fft=4, hop=4)
        >>> spectrogram = stft(torch.ones(1, 1, 8))  # a constant lies in bin 0: 4 / sqrt(4)
        >>> spectrogram.shape, stft.bins, stft.frames(8)
        (torch.Size([1, 2, 3, 3]), 3, 3)
        >>> spectrogram[0, 0, 0]
        tensor([2., 2., 2.])

    References:
        Lee, Malacarne and Aune, *Vector Quantized Time Series Generation with a Bidirectional
        Prior Model*, 2023, <https://arxiv.org/abs/2303.04743>, section 3.1.
        Griffin and Lim, *Signal Estimation from Modified Short-Time Fourier Transform*, 1984,
        equation 6 (the inverse).
    """

    def __init__(self, *, n_fft: int, hop: int | None = None) -> None:
        super().__init__(n_fft=n_fft, hop=hop)
        self._register_derived()

    def _fourier(self, window: Tensor) -> Tensor:
        return (_waves(self.n_fft) * window).flatten(0, 1).unsqueeze(1) / math.sqrt(self.n_fft)

    def forward(self, series: Tensor) -> Tensor:
        """Return the spectrogram of a series.

        Args:
            series: `(batch, channels, length)`, length 1 or more.

        Returns:
            `(batch, 2*channels, freq, frames)`; the second axis is `(channels reim)`: real and
            imaginary part of the first channel, then of the second.

        Raises:
            ValueError: If `series` is not floating point, or not of that shape, or empty.
            TypeError: If an input is not a tensor.
        """
        check_floating("STFT", "series", series)
        check_axes("STFT", "series", series, "batch channels length")
        batch, channels, length = series.shape
        check_at_least("STFT", "batch", batch, 1)
        check_at_least("STFT", "channels", channels, 1)
        frames = self.frames(length)
        with full_precision(series):
            series = series.to(_at_least_single(series.dtype))
            _, basis = self._constants(series)
            left = self.n_fft // 2
            right = (frames - 1) * self.hop + self.n_fft - left - length
            rows = _reflect(series, left, right).reshape(batch * channels, 1, -1)
            spectrogram = functional.conv1d(rows, basis, stride=self.hop)
        return spectrogram.reshape(batch, 2 * channels, self.bins, frames)


class ISTFT(_Transform):
    r"""Give back the series of a spectrogram of `STFT`; exact, whatever the length.

    The least-squares inverse: every frame is transformed back, weighted by the window once more,
    and the overlapping frames are added and divided by the sum of the squared windows. That sum
    is at least 1/4 at every sample, so rounding is never blown up. A spectrogram that no series
    has (a decoder's) gets the series whose spectrogram is nearest, apart from the border.

    It is linear. So with `band` it inverts some of the bins as if the others were zero, which
    gives the parts of a series: $x = x_{low} + x_{high}$.

    Args:
        n_fft: The samples of a frame, as in `STFT`.
        hop: The samples from frame to frame, as in `STFT`.
        band: The bins `(first, end)` that the spectrograms hold, `end` not among them; by
            default all. See `split_bands`.

    Attributes:
        bins: The number of frequencies of the whole transform, `n_fft // 2 + 1`.

    Raises:
        ValueError: If `n_fft` or `hop` would be refused by `STFT`, or if `band` is empty or
            reaches outside the bins.

    Example:
        >>> import torch
        >>> from ssltok.signal import ISTFT, STFT
        >>> series = torch.tensor([[[3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0]]])
        >>> stft, istft = STFT(n_fft=8, hop=2), ISTFT(n_fft=8, hop=2)
        >>> istft(stft(series), 7).round(decimals=4)
        tensor([[[3., 1., 4., 1., 5., 9., 2.]]])

    References:
        Griffin and Lim, *Signal Estimation from Modified Short-Time Fourier Transform*, 1984,
        equation 6.
    """

    def __init__(
        self, *, n_fft: int, hop: int | None = None, band: tuple[int, int] | None = None
    ) -> None:
        super().__init__(n_fft=n_fft, hop=hop)
        first, end = band or (0, self.bins)
        if not 0 <= first < end <= self.bins:
            raise ValueError(
                f"ISTFT: band must satisfy 0 <= first < end <= {self.bins}; got {band}"
            )
        self.band = (first, end)
        self._register_derived()

    def _derived_options(self) -> dict[str, Any]:
        return super()._derived_options() | {"band": list(self.band)}

    def _fourier(self, window: Tensor) -> Tensor:
        first, end = self.band
        waves = _waves(self.n_fft) * window / math.sqrt(self.n_fft)
        waves[:, 1:-1] *= 2  # a bin and its mirror image
        return waves[:, first:end].flatten(0, 1).T.contiguous()

    def forward(self, spectrogram: Tensor, length: int) -> Tensor:
        """Return the series of `length` samples.

        Args:
            spectrogram: `(batch, 2*channels, freq, frames)` as `STFT` makes it; `freq` are the
                bins of `band`, `frames` is `frames(length)`.
            length: The samples to give back, 1 or more.

        Returns:
            The series, `(batch, channels, length)`.

        Raises:
            ValueError: If `spectrogram` is not floating point, or not of that shape, or empty.
            TypeError: If an input is not a tensor, or an option not a number.
        """
        check_floating("ISTFT", "spectrogram", spectrogram)
        check_axes("ISTFT", "spectrogram", spectrogram, "batch 2*channels freq frames")
        batch, parts = spectrogram.shape[:2]
        check_at_least("ISTFT", "batch", batch, 1)
        if parts < 2 or parts % 2:
            raise ValueError(f"ISTFT: 2*channels must be even and >= 2; got {parts}")
        first, end = self.band
        expected = (end - first, self.frames(length))
        if tuple(spectrogram.shape[2:]) != expected:
            raise ValueError(
                f"ISTFT: freq and frames must be {expected} for length {length}; "
                f"got {tuple(spectrogram.shape[2:])}"
            )
        with full_precision(spectrogram):
            spectrogram = spectrogram.to(_at_least_single(spectrogram.dtype))
            window, basis = self._constants(spectrogram)
            rows = spectrogram.reshape(batch * parts // 2, -1, expected[1])
            weights = window.square()[None, :, None].expand(1, -1, expected[1])
            series = self._overlap_add(torch.matmul(basis, rows), length)
            series = series / self._overlap_add(weights, length)
        return series.reshape(batch, parts // 2, length)

    def _overlap_add(self, pieces: Tensor, length: int) -> Tensor:
        """Add frames `(rows, n_fft, frames)` where they overlap, and cut the `length` samples."""
        rows, _, frames = pieces.shape
        overlap = self.n_fft // self.hop
        pieces = pieces.reshape(rows, overlap, self.hop, frames)
        total = pieces.new_zeros(rows, self.hop, frames + overlap - 1)
        for shift in range(overlap):
            total[..., shift : shift + frames] += pieces[:, shift]
        series = rearrange(total, "rows hop frames -> rows (frames hop)")
        return series[:, self.n_fft // 2 : self.n_fft // 2 + length]


def _waves(n_fft: int) -> Tensor:
    """Cosines and negative sines of every bin, `(2, bins, n_fft)`, in float64."""
    turns = torch.outer(torch.arange(n_fft // 2 + 1), torch.arange(n_fft)) % n_fft
    angle = turns.double() * (2 * math.pi / n_fft)
    sine = angle.sin()
    sine[[0, -1]] = 0.0  # sin(pi n) is zero, not 1e-16
    return torch.stack([angle.cos(), -sine])


def _at_least_single(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _reflect(series: Tensor, left: int, right: int) -> Tensor:
    """Continue a series by reflection at its ends, as often as needed (`numpy.pad`'s rule)."""
    length = series.shape[-1]
    if max(left, right) < length:
        return functional.pad(series, (left, right), mode="reflect")
    period = max(2 * (length - 1), 1)
    index = torch.arange(-left, length + right, device=series.device) % period
    return series.index_select(-1, torch.minimum(index, period - index))
