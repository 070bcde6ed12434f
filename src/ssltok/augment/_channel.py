"""Augmentations that treat each channel on its own: factor, level, slope, silence."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.augment._draw import check_series, keep_real, normal, real_steps, uniform

__all__ = ["channel_dropout", "scaling", "shift", "slope"]


def scaling(
    series: Tensor,
    *,
    std: float = 0.1,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Multiply each channel of each series by its own random factor near 1.

    $$x'_c = (1 + \sigma \epsilon_c)\, x_c, \qquad \epsilon_c \sim N(0, 1)$$

    The mean factor is 1, as in the paper (it is 2 in the code of TS-TCC, by mistake).

    Args:
        series: `(batch, channels, length)`.
        std: $\sigma$, 0 or more; 0.1 in the authors' code.
        valid: True where a sample is real, `(batch, length)`; the others stay as they are. By
            default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The scaled series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import scaling
        >>> view = scaling(torch.ones(10_000, 2, 1))
        >>> 0.99 < view.mean().item() < 1.01, 0.098 < view.std().item() < 0.102
        (True, True)

    References:
        Um et al., *Data Augmentation of Wearable Sensor Data for Parkinson's Disease Monitoring
        using Convolutional Neural Networks*, 2017, <https://arxiv.org/abs/1706.00527>.
    """
    check_series("scaling", series, valid, generator)
    check_at_least("scaling", "std", std, 0)
    factor = normal((*series.shape[:2], 1), series, generator, mean=1, std=std)
    return keep_real(series, series * factor.to(series.dtype), valid)


def shift(
    series: Tensor,
    *,
    shift_ratio: float = 0.5,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Move each channel up or down by a random share of its own standard deviation.

    $$x'_c = x_c + r\, \epsilon_c\, \mathrm{std}(x_c), \qquad \epsilon_c \sim U(-1, 1)$$

    with the population standard deviation over the real samples of the channel.

    Args:
        series: `(batch, channels, length)`.
        shift_ratio: $r$, 0 or more; 0.5 in VIbCReg's code.
        valid: True where a sample is real, `(batch, length)`; the others stay as they are and are
            not read. By default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The shifted series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import shift
        >>> series = torch.tensor([[[0.0, 2.0, 0.0, 2.0]]])  # standard deviation 1
        >>> moved = shift(series) - series
        >>> moved.abs().max().item() <= 0.5, torch.allclose(moved, moved[..., :1])
        (True, True)

    References:
        Lee and Aune, *Computer Vision Self-supervised Learning Methods on Time Series*, 2021,
        <https://arxiv.org/abs/2109.00783>, "vertical shift".
    """
    check_series("shift", series, valid, generator)
    check_at_least("shift", "shift_ratio", shift_ratio, 0)
    draws = 2 * uniform((*series.shape[:2], 1), series, generator) - 1
    full = series.to(draws.dtype)
    real = full if valid is None else torch.where(valid[:, None], full, 0.0)
    count = real_steps(series, valid)[1].clamp(min=1)[:, None]
    centred = keep_real(real, real - real.sum(-1, keepdim=True) / count, valid)
    std = torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / count.sqrt()
    return keep_real(series, (full + shift_ratio * draws * std).to(series.dtype), valid)


def slope(
    series: Tensor,
    *,
    max_slope: float = 0.005,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Add a random straight line to each channel.

    $$x'_{c,t} = x_{c,t} + s_c\, t, \qquad s_c \sim U(-s_{max}, s_{max})$$

    Args:
        series: `(batch, channels, length)`.
        max_slope: $s_{max}$, the steepest rise from sample to sample, 0 or more; 0.005 in
            NC-VQVAE's code. The line reaches `max_slope * (length - 1)`: lessen it for long series.
        valid: True where a sample is real, `(batch, length)`; the others stay as they are, and
            $t$ counts the real ones. By default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The series with its line, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import slope
        >>> line = slope(torch.zeros(1, 1, 5), max_slope=1.0)[0, 0]
        >>> line[0].item() == 0.0, torch.allclose(line, line[1] * torch.arange(5))
        (True, True)

    References:
        The NC-VQVAE code, <https://arxiv.org/abs/2408.16613>.
    """
    check_series("slope", series, valid, generator)
    check_at_least("slope", "max_slope", max_slope, 0)
    rise = (2 * uniform((*series.shape[:2], 1), series, generator) - 1) * max_slope
    steps = real_steps(series, valid)[0][:, None].to(rise.dtype)
    view = series.to(rise.dtype).addcmul(rise, steps)
    return keep_real(series, view.to(series.dtype), valid)


def channel_dropout(
    series: Tensor,
    *,
    probability: float = 0.2,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Set random channels of each series to 0, its mean if the series is scaled.

    Every channel is dropped with `probability`, on its own. If that would drop all channels of a
    series, one of them, drawn at random, stays; so a single channel always does.

    Args:
        series: `(batch, channels, length)`.
        probability: The chance of a channel, in [0, 1]; 0.2 in braindecode, which has it from
            the reference.
        valid: True where a sample is real, `(batch, length)`; the others stay as they are. By
            default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import channel_dropout
        >>> channel_dropout(torch.ones(2, 3, 4), probability=1.0).sum((1, 2))  # one is left
        tensor([4., 4.])

    References:
        Saeed et al., *Learning from Heterogeneous EEG Signals with Differentiable Channel
        Reordering*, 2021, <https://arxiv.org/abs/2010.13694>.
    """
    check_series("channel_dropout", series, valid, generator)
    check_ratio("channel_dropout", "probability", probability)
    draws = uniform((*series.shape[:2], 1), series, generator)
    stays = (draws >= probability) | (draws == draws.amax(1, keepdim=True))
    return keep_real(series, torch.where(stays, series, 0.0), valid)
