"""Series that chance drives: ARMA, random walks, shot noise, and levels that switch."""

import math

import torch
from torch import Generator, Tensor

from ssltok.data._synthetic._draw import (
    check_limits,
    check_sizes,
    integers,
    log_uniform,
    normal,
    times,
    uniform,
)

__all__ = ["arma_series", "colored_series", "shot_series", "switching_series"]


def arma_series(cases: int, length: int, *, generator: Generator | None = None) -> Tensor:
    r"""Draw stationary ARMA(2, 2) processes.

    $$x_t = \sum_{i=1}^{2} \varphi_i x_{t-i} + \epsilon_t + \sum_{j=1}^{2} \theta_j \epsilon_{t-j}$$

    The roots of the autoregression are drawn inside the unit circle, a complex pair
    $r e^{\pm i \omega}$ or two real ones, so that every process is stationary; its first 200
    samples are left out.

    Args:
        cases: How many series.
        length: Samples of each.
        generator: Source of the draws, on the CPU.

    Returns:
        float32 `(cases, length)`.

    Raises:
        ValueError: If a size is smaller than 1.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import arma_series
        >>> arma_series(2, 50).shape
        torch.Size([2, 50])

    References:
        Box et al., *Time series analysis*, 2015, chapter 3.
    """
    check_sizes("arma_series", cases, length)
    radius = 1 - log_uniform((cases,), 0.01, 0.9, generator=generator)
    angle = log_uniform((cases,), 0.02, math.pi, generator=generator)
    others = uniform((2, cases), -0.98, 0.98, generator=generator)
    paired = torch.rand(cases, generator=generator) < 0.6
    first = torch.where(paired, 2 * radius * angle.cos(), others.sum(0))
    second = torch.where(paired, -radius.square(), -others.prod(0))
    theta = uniform((2, cases, 1), -0.9, 0.9, generator=generator)
    noise = normal((cases, length + 202), generator=generator)
    driven = noise[:, 2:] + theta[0] * noise[:, 1:-1] + theta[1] * noise[:, :-2]
    out = torch.empty_like(driven)
    before = older = torch.zeros(cases, dtype=torch.float64)
    for step in range(driven.shape[1]):
        now = first * before + second * older + driven[:, step]
        out[:, step], older, before = now, before, now
    return out[:, 200:].float().contiguous()


def colored_series(
    cases: int,
    length: int,
    *,
    exponent: tuple[float, float] = (0.0, 3.0),
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw noise whose power falls as $1 / f^{\beta}$: white (0), pink (1), random walks (2), ...

    Independent normal Fourier coefficients of variance $f^{-\beta}$, turned into twice as many
    samples, of which half are taken, so that ends do not meet.

    Args:
        cases: How many series.
        length: Samples of each, at least 2.
        exponent: Least and largest $\beta$.
        generator: Source of the draws, on the CPU.

    Returns:
        float32 `(cases, length)`.

    Raises:
        ValueError: If there are no cases, or fewer than 2 samples.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import colored_series
        >>> colored_series(2, 50).shape
        torch.Size([2, 50])

    References:
        Timmer and Koenig, *On generating power law noise*, 1995.
    """
    check_sizes("colored_series", cases, length, 2)
    check_limits("colored_series", "exponent", exponent, positive=False)
    beta = uniform((cases, 1), *exponent, generator=generator)
    frequencies = torch.arange(1, length + 1, dtype=torch.float64)
    size = frequencies ** (-beta / 2)
    parts = normal((2, cases, length), generator=generator) * size
    spectrum = torch.cat([torch.zeros(cases, 1), torch.complex(parts[0], parts[1])], dim=1)
    noise: Tensor = torch.fft.irfft(spectrum, n=2 * length)[:, :length]
    return noise.float().contiguous()


def shot_series(
    cases: int,
    length: int,
    *,
    events: tuple[float, float] = (1.0, 60.0),
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw shot noise: a Poisson process of events, each followed by a decay.

    $$x(t) = \sum_{t_i \le t} a_i \, (t - t_i)^{s} e^{-(t - t_i) / \tau} + \sigma \epsilon(t)$$

    with $s$ 0 (a jump) or 1 (a rise), one $\tau$ a series, and log-normal sizes, some negative.

    Args:
        cases: How many series.
        length: Samples of each.
        events: Least and most events expected in a series.
        generator: Source of the draws, on the CPU.

    Returns:
        float32 `(cases, length)`.

    Raises:
        ValueError: If a size or an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import shot_series
        >>> shot_series(2, 50).shape
        torch.Size([2, 50])

    References:
        Parzen, *Stochastic processes*, 1962, chapter 4.5.
    """
    check_sizes("shot_series", cases, length)
    check_limits("shot_series", "events", events)
    rate = log_uniform((cases, 1), *events, generator=generator) / length
    happens = torch.rand((cases, length), generator=generator, dtype=torch.float64) < rate
    sizes = (0.6 * normal((cases, length), generator=generator)).exp()
    both = torch.rand(cases, 1, generator=generator) < 0.4
    signs = torch.where(torch.rand(cases, length, generator=generator) < 0.5, -1.0, 1.0)
    impulses = happens * sizes * torch.where(both, signs, 1.0)
    decay = log_uniform((cases, 1), 1 / length, 0.2, generator=generator)
    t = times(length)
    response = (-t / decay).exp()
    rises = torch.rand(cases, 1, generator=generator) < 0.4
    response = torch.where(rises, response * t / decay * math.e, response)
    size = 2 * length
    spectra = torch.fft.rfft(impulses, n=size) * torch.fft.rfft(response, n=size)
    clean: Tensor = torch.fft.irfft(spectra, n=size)[:, :length]
    level = uniform((cases, 1), 0, 0.1, generator=generator)
    return (clean + level * normal((cases, length), generator=generator)).float()


def switching_series(
    cases: int,
    length: int,
    *,
    switches: tuple[float, float] = (1.0, 25.0),
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw levels that switch, as of machines: a Markov chain over a few levels, with noise.

    Times between switches are exponential, levels are drawn from 2 to 4 of a series' own, and
    half of the series approach each new level slowly (a first-order lag).

    Args:
        cases: How many series.
        length: Samples of each.
        switches: Least and most switches expected in a series.
        generator: Source of the draws, on the CPU.

    Returns:
        float32 `(cases, length)`.

    Raises:
        ValueError: If a size or an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import switching_series
        >>> switching_series(2, 50).shape
        torch.Size([2, 50])
    """
    check_sizes("switching_series", cases, length)
    check_limits("switching_series", "switches", switches)
    rate = log_uniform((cases, 1), *switches, generator=generator) / length
    turns = (torch.rand((cases, length), generator=generator) < rate).cumsum(1)
    count = integers((cases, 1), 2, 4, generator=generator)
    levels = log_uniform((cases, 4), 0.1, 3, generator=generator)
    levels[:, 0] = 0
    states = integers((cases, length), 0, 11, generator=generator) % count  # one for each stay
    clean = levels.gather(1, states.gather(1, turns.clamp(max=length - 1)))
    lag = log_uniform((cases, 1), 1 / length, 0.05, generator=generator)
    kernel = (-times(length) / lag).exp()
    kernel = kernel / kernel.sum(1, keepdim=True)
    lagged = torch.fft.irfft(
        torch.fft.rfft(clean, n=2 * length) * torch.fft.rfft(kernel, n=2 * length), n=2 * length
    )[:, :length]
    slow = torch.rand(cases, 1, generator=generator) < 0.5
    level = uniform((cases, 1), 0, 0.08, generator=generator)
    noise = level * normal((cases, length), generator=generator)
    return (torch.where(slow, lagged, clean) + noise).float()
