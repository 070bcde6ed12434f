"""Augmentations of the spectrum of the whole series; all channels of a series alike.

Where samples are not real, the transform needs something to transform: it sees the real samples,
put together and continued by reflection to the length of the series.
"""

import math

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_positive, check_ratio
from ssltok.augment._draw import at_least_single, check_series, on_real_samples, uniform

__all__ = ["band_removal", "frequency_mask", "phase_shift"]


def frequency_mask(
    series: Tensor,
    *,
    mask_ratio: float = 0.1,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Remove random frequencies from each series.

    Every bin of the real Fourier transform of the whole series, bin 0 among them, is set to zero
    with chance `mask_ratio`, on its own.

    Args:
        series: `(batch, channels, length)`, length 2 or more.
        mask_ratio: The chance of a bin, in [0, 1]; 0.1 in TF-C's code.
        valid: True where a sample is real, `(batch, length)`. The others stay as they are and are
            not read; in their stead the transform sees the real ones reflected. By default all
            are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The series without these frequencies, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import frequency_mask
        >>> frequency_mask(torch.ones(1, 1, 4), mask_ratio=1.0).abs()
        tensor([[[0., 0., 0., 0.]]])

    References:
        Zhang et al., *Self-Supervised Contrastive Pre-Training For Time Series via Time-Frequency
        Consistency*, 2022, <https://arxiv.org/abs/2206.08496>, section 3 ("removing").
    """
    check_series("frequency_mask", series, valid, generator, least_length=2)
    check_ratio("frequency_mask", "mask_ratio", mask_ratio)
    draws = uniform((series.shape[0], series.shape[-1] // 2 + 1), series, generator)
    return _filter(series, valid, (draws >= mask_ratio).to(draws.dtype))


def band_removal(
    series: Tensor,
    *,
    band_ratio: float = 0.1,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Remove one band of neighbouring frequencies from each series.

    Of the $F = \lfloor L / 2 \rfloor + 1$ bins of the real Fourier transform, round(`band_ratio`
    $\cdot F$), one at least, are set to zero; the first is drawn so that the band fits.

    Args:
        series: `(batch, channels, length)`, length 2 or more.
        band_ratio: The width of the band as a share of all bins, in (0, 1]. No published value:
            0.1 removes as much as `frequency_mask`.
        valid: True where a sample is real, `(batch, length)`. The others stay as they are and are
            not read; in their stead the transform sees the real ones reflected. By default all
            are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The series without the band, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import band_removal
        >>> band_removal(torch.ones(1, 1, 4), band_ratio=1.0).abs()
        tensor([[[0., 0., 0., 0.]]])

    References:
        Park et al., *SpecAugment*, 2019, <https://arxiv.org/abs/1904.08779>, section 2
        ("frequency masking", there on a spectrogram).
    """
    check_series("band_removal", series, valid, generator, least_length=2)
    check_ratio("band_removal", "band_ratio", band_ratio)
    check_positive("band_removal", "band_ratio", band_ratio)
    bins = series.shape[-1] // 2 + 1
    width = max(1, round(band_ratio * bins))
    draws = uniform((series.shape[0], 1), series, generator)
    first = (draws * (bins - width + 1)).long().clamp(max=bins - width)
    freq = torch.arange(bins, device=series.device)
    outside = (freq < first) | (freq >= first + width)
    return _filter(series, valid, outside.to(draws.dtype))


def phase_shift(
    series: Tensor,
    *,
    max_angle: float = math.pi / 4,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Turn the phase of all frequencies of a series by one random angle.

    $$x' = \cos(\phi)\, x - \sin(\phi)\, \mathcal{H}(x), \qquad
      \phi \sim U(-\phi_{max}, \phi_{max})$$

    for a series of mean 0, with the Hilbert transform $\mathcal{H}$. Sizes of frequencies stay,
    and so do the mean and, at even lengths, the highest frequency, which have no phase.

    Args:
        series: `(batch, channels, length)`, length 3 or more.
        max_angle: $\phi_{max}$ in radians, in [0, $\pi$]; $\pi / 4$ in NC-VQVAE's code.
        valid: True where a sample is real, `(batch, length)`. The others stay as they are and are
            not read; in their stead the transform sees the real ones reflected. By default all
            are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The shifted series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import phase_shift
        >>> wave = torch.cos(torch.arange(8.0) * torch.pi / 4).expand(1, 1, -1)
        >>> round(phase_shift(wave).square().mean().item(), 4)  # still a wave of amplitude 1
        0.5

    References:
        The NC-VQVAE code, <https://arxiv.org/abs/2408.16613>, for the angle.
    """
    check_series("phase_shift", series, valid, generator, least_length=3)
    check_at_least("phase_shift", "max_angle", max_angle, 0)
    if max_angle > math.pi:
        raise ValueError(f"phase_shift: max_angle must be <= pi; got {max_angle}")
    draws = 2 * uniform((series.shape[0], 1), series, generator) - 1
    freq = torch.arange(series.shape[-1] // 2 + 1, device=series.device)
    turned = (freq > 0) & (2 * freq < series.shape[-1])
    turn = torch.polar(torch.ones_like(draws), draws * max_angle)  # one for each series
    return _filter(series, valid, torch.where(turned, turn, 1))


def _filter(series: Tensor, valid: Tensor | None, gains: Tensor) -> Tensor:
    """Multiply the spectrum of every channel by `gains`, `(batch, freq)`, real or complex."""
    length = series.shape[-1]

    def kernel(together: Tensor, lengths: Tensor) -> Tensor:
        if valid is not None:
            period = (2 * (lengths - 1)).clamp(min=1)
            steps = torch.arange(length, device=series.device) % period
            index = torch.minimum(steps, period - steps).clamp(max=length - 1)
            together = together.gather(2, index[:, None].expand_as(together))
        spectrum = torch.fft.rfft(together.to(at_least_single(series)))
        factors = gains[:, None].to(spectrum.dtype)  # real ones would be converted value by value
        changed: Tensor = torch.fft.irfft(spectrum.mul_(factors), n=length)
        return changed.to(series.dtype)

    return on_real_samples(series, valid, kernel)
