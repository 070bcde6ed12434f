"""Time: do generated series have the correlations and the spectrum of real ones."""

import torch
from einops import rearrange
from torch import Tensor

from ssltok._shared import sizes
from ssltok._shared.checks import check_at_least
from ssltok.metrics._checks import check_two_sets
from ssltok.metrics._moments import centred, is_constant, mean_where_it_varies

__all__ = [
    "autocorrelation",
    "autocorrelation_distance",
    "cross_correlation_distance",
    "power_spectrum",
    "spectral_distance",
]


def autocorrelation(series: Tensor, *, lags: int = 64) -> Tensor:
    r"""Measure the autocorrelation of each channel over a whole set.

    $$\rho_\tau = \frac{\overline{(x_t - \mu)(x_{t+\tau} - \mu)}}{\sigma^2}$$

    with $\mu$ and $\sigma^2$ over all cases and times, and the bar the mean over all pairs of
    points that are both known; NaN marks a missing point.

    Args:
        series: Series, `(cases, channels, length)`.
        lags: Lags 0, 1, ...; cut to the length. 64 in the published code.

    Returns:
        `(channels, min(lags, length))` float64 without units; 1 at lag 0; NaN where undefined,
        as for a constant channel.

    Raises:
        ValueError: If `series` is not `(cases, channels, length)`, or `lags < 1`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import autocorrelation
        >>> autocorrelation(torch.tensor([[[1.0, -1.0, 1.0, -1.0]]]), lags=3)
        tensor([[ 1., -1.,  1.]], dtype=torch.float64)
    """
    check_two_sets("autocorrelation", series, series, names=("series", "series"))
    check_at_least("autocorrelation", "lags", lags, 1)
    x, variance = centred(series)
    known = ~x.isnan()
    x = torch.where(known, x, 0.0)
    count = min(lags, x.shape[2])
    products, pairs = _lagged(x, count), _lagged(known.double(), count)
    covariance = products / torch.where(pairs > 0.5, pairs, torch.nan)
    return covariance / torch.where(variance[:, None] > 0, covariance[:, :1], torch.nan)


def _lagged(x: Tensor, lags: int) -> Tensor:
    """Sums of products at each lag, (channels, lags), over all cases, by one transform."""
    size = 2 * x.shape[2]
    power = torch.zeros(x.shape[1], x.shape[2] + 1, dtype=x.dtype, device=x.device)
    for part in torch.split(x, sizes.ROWS):
        power += torch.fft.rfft(part, size).abs().square().sum(0)
    sums: Tensor = torch.fft.irfft(power, size)
    return sums[:, :lags]


def autocorrelation_distance(real: Tensor, generated: Tensor, *, lags: int = 64) -> Tensor:
    r"""Measure the difference in autocorrelation, $\sqrt{\sum_\tau (\rho_\tau - \hat\rho_\tau)^2}$.

    Averaged over the channels that are not constant in `real`; see `autocorrelation`. It grows with
    `lags`.

    Args:
        real: Real series, `(cases, channels, length)`.
        generated: Generated series of the same shape a case.
        lags: Lags compared, cut to the length; 64 in the published code.

    Returns:
        A float64 scalar >= 0 without units; NaN if all channels of `real` are constant, or one of
        the others is in `generated`.

    Raises:
        ValueError: If the shapes do not fit, or `lags < 1`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import autocorrelation_distance
        >>> fast = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])  # 1, -1
        >>> slow = torch.tensor([[[1.0, 1.0, -1.0, -1.0]]])  # 1, 1/3
        >>> round(autocorrelation_distance(fast, slow, lags=2).item(), 6)
        1.333333

    References:
        Ang et al., *TSGBench*, 2023, <https://arxiv.org/abs/2309.03755>, section 4 (ACD). Ni et
        al., *Conditional Sig-Wasserstein GANs*, 2020, <https://arxiv.org/abs/2006.05421>.
    """
    check_two_sets("autocorrelation_distance", real, generated)
    difference = autocorrelation(real, lags=lags) - autocorrelation(generated, lags=lags)
    return mean_where_it_varies(real, difference.square().sum(1).sqrt())


def cross_correlation_distance(real: Tensor, generated: Tensor) -> Tensor:
    """Measure the difference in correlation between channels at equal times.

    The mean over pairs of different channels, neither of them constant in `real`, of the absolute
    difference of their Pearson correlations over all cases and times. The published score keeps
    the diagonal (always 1), adds pairs up and divides by 10, so it grows with the channels and is
    0 for one channel.

    Args:
        real: Real series, `(cases, channels, length)`, at least 2 channels.
        generated: Generated series with the same channels.

    Returns:
        A float64 scalar in [0, 2]; NaN if there is no such pair, or one of its channels is
        constant in `generated`.

    Raises:
        ValueError: If the shapes do not fit, or there is one channel.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import cross_correlation_distance
        >>> line = torch.linspace(-1, 1, 9)
        >>> real, generated = torch.stack([line, line])[None], torch.stack([line, -line])[None]
        >>> round(cross_correlation_distance(real, generated).item(), 6)  # 1 and -1
        2.0

    References:
        Yuan & Qiao, *Diffusion-TS*, 2024, <https://arxiv.org/abs/2403.01742>, appendix
        (correlational score).
    """
    who = "cross_correlation_distance"
    check_two_sets(who, real, generated, same_length=False)
    check_at_least(who, "channels", real.shape[1], 2)
    varies = ~is_constant(real)
    pairs = (varies[:, None] & varies).fill_diagonal_(fill_value=False)
    difference = (_correlation(real) - _correlation(generated)).abs()
    return torch.where(pairs, difference, 0.0).sum() / pairs.sum()


def _correlation(series: Tensor) -> Tensor:
    """Correlation of channels, (channels, channels), with a diagonal of 0."""
    x, variance = centred(series)
    x = rearrange(x, "cases channels length -> channels (cases length)") / variance.sqrt()[:, None]
    return (x @ x.mT / x.shape[1]).fill_diagonal_(0)


def power_spectrum(series: Tensor) -> Tensor:
    r"""Measure the mean power of each frequency over a set of series.

    The mean over cases of $\lvert \mathrm{rfft}(w (x - \bar x)) \rvert^2 / \sum w^2$ with the
    periodic Hann window $w$ and each case's own mean removed.

    Args:
        series: Series, `(cases, channels, length)`.

    Returns:
        `(channels, length // 2 + 1)` float64, in squared units of the series, from frequency 0
        to half the sampling rate.

    Raises:
        ValueError: If `series` is not `(cases, channels, length)`.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import power_spectrum
        >>> wave = torch.cos(2 * torch.pi * 5 / 32 * torch.arange(32.0))
        >>> power_spectrum(wave.expand(3, 1, 32)).argmax().item()
        5
    """
    check_two_sets("power_spectrum", series, series, names=("series", "series"))
    length = series.shape[2]
    window = torch.hann_window(length, dtype=torch.float64, device=series.device)
    total = 0.0
    for part in torch.split(series.detach(), sizes.ROWS):
        x = part.double()
        spectrum = torch.fft.rfft((x - x.mean(2, keepdim=True)) * window)
        total = total + spectrum.abs().square().sum(0)
    return total / (len(series) * window.square().sum())


def spectral_distance(real: Tensor, generated: Tensor, *, floor: float = 1e-8) -> Tensor:
    r"""Measure the difference in log power spectrum, in decibels.

    $$\frac{10}{CF} \sum_{c,f} \lvert \log_{10} P_{cf} - \log_{10} \hat P_{cf} \rvert,
      \qquad P \leftarrow \max(P, \epsilon \max_f P_{cf})$$

    where the floor is taken from the real spectrum, for both. See `power_spectrum`. The mean of a
    set of series has lost its high frequencies, so a generator that averages shows here.

    Args:
        real: Real series, `(cases, channels, length)`.
        generated: Generated series of the same shape a case.
        floor: $\epsilon$: power below this share of the real peak is not told apart (-80 dB).

    Returns:
        A float64 scalar >= 0 in dB, the mean over the channels that move in some real series; NaN
        if none does; infinite if the floor is 0 and a frequency has power in one set only.

    Raises:
        ValueError: If the shapes do not fit, the length is < 4, or `floor` is negative.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import spectral_distance
        >>> noise = torch.randn(64, 1, 32, generator=torch.Generator().manual_seed(0))
        >>> round(spectral_distance(noise, 10 * noise).item(), 6)  # ten times the amplitude
        20.0
    """
    who = "spectral_distance"
    check_two_sets(who, real, generated)
    check_at_least(who, "length", real.shape[2], 4)
    check_at_least(who, "floor", floor, 0)
    spectra = power_spectrum(real), power_spectrum(generated)
    peak = spectra[0].amax(1, keepdim=True)
    rounding = (1e-12 * real.detach().double().abs().amax((0, 2))).square()[:, None]
    moves = ~(peak <= rounding)
    decibels = [10 * torch.maximum(spectrum, floor * peak).log10() for spectrum in spectra]
    apart = torch.where(moves, (decibels[0] - decibels[1]).abs(), 0.0).mean(1)
    return apart.sum() / moves.sum()
