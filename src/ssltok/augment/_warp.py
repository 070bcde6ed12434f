"""Warps: the same values, sooner or later; all channels of a series alike."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_positive, check_ratio
from ssltok.augment._curve import random_curve
from ssltok.augment._draw import (
    at_least_single,
    check_range,
    check_series,
    normal,
    on_real_samples,
    real_steps,
    uniform,
)
from ssltok.augment._resample import read_between

__all__ = ["time_warp", "window_warp"]


def window_warp(
    series: Tensor,
    *,
    window_ratio: float = 0.4,
    scale_range: tuple[float, float] = (0.9, 2.0),
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Stretch or shorten a random window of each series, then the whole back to its length.

    A window of $w$ = round(`window_ratio` $\cdot L$) samples starts at a place drawn from
    0 ... $L - w$ and is resampled to $m = \lfloor w s \rfloor$ samples, $s \sim U$`scale_range`;
    the $L - w + m$ samples are resampled to $L$. Place and scale are drawn once per series.

    Departures: the two resamplings are one, at the places that both together ask for, so a
    value is interpolated once and not smoothed twice. The last place is drawn like the others
    (the authors' code leaves it out and fails where $w = L$). At least one sample of a window
    is kept, and two of a window of two or more.

    Args:
        series: `(batch, channels, length)`, length 2 or more.
        window_ratio: The share of the series that the window takes, in (0, 1]. 0.4 in NC-VQVAE,
            0.1 in Le Guennec et al.
        scale_range: Least and largest factor of the window's length, above 0; NC-VQVAE's by
            default.
        valid: True where a sample is real, `(batch, length)`. The others stay as they are and are
            not read. By default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The warped series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import window_warp
        >>> ramp = torch.arange(9.0).expand(1, 2, -1)
        >>> torch.allclose(window_warp(ramp, window_ratio=1.0), ramp)  # all of it: back at once
        True

    References:
        Le Guennec, Malinowski and Tavenard, *Data Augmentation for Time Series Classification
        using Convolutional Neural Networks*, 2016, section 3.2.
        The NC-VQVAE code for the constants, <https://arxiv.org/abs/2408.16613>.
    """
    check_series("window_warp", series, valid, generator, least_length=2)
    check_ratio("window_warp", "window_ratio", window_ratio)
    check_positive("window_warp", "window_ratio", window_ratio)
    check_range("window_warp", "scale_range", scale_range)
    draws = uniform((2, series.shape[0], 1), series, generator)

    def kernel(together: Tensor, lengths: Tensor) -> Tensor:
        window = (lengths * window_ratio).round().long().clamp(min=1)
        starts = _floor(draws[0] * (lengths - window + 1)).clamp(max=lengths - window)
        scales = scale_range[0] + (scale_range[1] - scale_range[0]) * draws[1]
        sizes = _floor(window * scales).clamp(min=window.clamp(max=2))
        return read_between(together, _window_positions(together, lengths, starts, window, sizes))

    return on_real_samples(series, valid, kernel)


def time_warp(
    series: Tensor,
    *,
    std: float = 0.2,
    knots: int = 4,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Let time run faster and slower along a smooth random curve.

    The pace $p$ is the cubic spline through `knots + 2` values drawn from $N(1, \sigma^2)$, once
    per series; sample $i$ of the series moves to the time

    $$\tau_i = (L - 1)\, \frac{p_1 + \dots + p_i}{p_1 + \dots + p_{L-1}}$$

    and the view is read between the moved samples at 0, 1, ..., $L - 1$ by linear interpolation.

    Departures: all channels move alike, the first sample stays the first (it moves to $p_0$ in
    the authors' code), and the pace is at least 0.01, so that time never runs back.

    Args:
        series: `(batch, channels, length)`, length 2 or more.
        std: $\sigma$, 0 or more; 0.2 in the authors' code.
        knots: The knots between the two ends, 0 or more; 4 in the authors' code.
        valid: True where a sample is real, `(batch, length)`. The others stay as they are and are
            not read. By default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The warped series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import time_warp
        >>> view = time_warp(torch.arange(9.0).expand(1, 1, -1))[0, 0]
        >>> view[0].item(), round(view[-1].item(), 4), bool((view.diff() > 0).all())
        (0.0, 8.0, True)

    References:
        Um et al., *Data Augmentation of Wearable Sensor Data for Parkinson's Disease Monitoring
        using Convolutional Neural Networks*, 2017, <https://arxiv.org/abs/1706.00527>.
    """
    check_series("time_warp", series, valid, generator, least_length=2)
    check_at_least("time_warp", "std", std, 0)
    check_at_least("time_warp", "knots", knots, 0)
    draws = normal((series.shape[0], 1, knots + 2), series, generator, mean=1, std=std)
    steps = torch.arange(series.shape[-1], device=series.device)[None]
    _, counts = real_steps(series, valid)
    pace = random_curve(draws, steps, counts)[:, 0].clamp(min=0.01)
    pace = torch.where((steps > 0) & (steps < counts), pace, 0.0)

    def kernel(together: Tensor, lengths: Tensor) -> Tensor:
        return read_between(together, _moved_positions(pace, lengths))

    return on_real_samples(series, valid, kernel)


def _moved_positions(pace: Tensor, lengths: Tensor) -> Tensor:
    """Where each sample of the view is read, when sample i moves to the sum of `pace[1:i + 1]`.

    `pace` is `(batch, length)`, 0 at the first sample and behind the last real one.
    """
    length = pace.shape[-1]
    times = pace.cumsum(-1)
    times = times * ((lengths - 1) / times[:, -1:].clamp(min=1e-6))
    steps = torch.arange(length, device=pace.device, dtype=pace.dtype).expand_as(pace)
    after = torch.searchsorted(times, steps.contiguous(), right=True)
    after = after.clamp(min=1, max=length - 1).minimum((lengths - 1).clamp(min=1))
    start, end = times.gather(1, after - 1), times.gather(1, after)
    return after - 1 + ((steps - start) / (end - start).clamp(min=1e-6)).clamp(0, 1)


def _window_positions(
    series: Tensor, lengths: Tensor, starts: Tensor, window: Tensor, sizes: Tensor
) -> Tensor:
    """Where each sample of the warped series is read; all arguments but the first `(batch, 1)`."""
    dtype = at_least_single(series)
    steps = torch.arange(series.shape[-1], device=series.device, dtype=dtype)
    stretch = (lengths - window + sizes - 1).to(dtype) / (lengths - 1).clamp(min=1)
    pace = (window - 1).to(dtype) / (sizes - 1).clamp(min=1)
    inside = (steps * stretch - starts).clamp_(min=0).minimum((sizes - 1).to(dtype))
    return (steps * stretch).addcmul_(inside, pace - 1)


def _floor(values: Tensor) -> Tensor:
    return values.floor().long()
