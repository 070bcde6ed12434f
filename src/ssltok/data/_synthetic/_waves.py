"""Series that repeat: sums of harmonics, chirps, and trains of pulses of one shape."""

import math

import torch
from torch import Generator, Tensor

from ssltok._shared.checks import check_at_least
from ssltok.data._synthetic._draw import (
    check_limits,
    check_sizes,
    integers,
    log_uniform,
    normal,
    times,
    uniform,
)

__all__ = ["chirp_series", "harmonic_series", "pulse_series"]


def harmonic_series(
    cases: int,
    length: int,
    *,
    cycles: tuple[float, float] = (1.0, 40.0),
    harmonics: int = 5,
    noise: float = 0.3,
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw sums of harmonics with noise: a period whose shape is random.

    $$x(t) = \sum_{k=1}^{K} \frac{a_k}{k^{\gamma}} \cos(2 \pi k f t + \phi_k) + \sigma \epsilon(t)$$

    with $f$ log-uniform in `cycles`, normal $a_k$, $K$ uniform in 1 to `harmonics`, $\gamma$ in 0
    to 2, uniform phases, and $\sigma$ uniform up to `noise` times the deviation of the sum.

    Args:
        cases: How many series.
        length: Samples of each.
        cycles: Least and most periods in a series.
        harmonics: Most harmonics.
        noise: Most noise, as a share of the signal.
        generator: Source of the draws, on the CPU.

    Returns:
        float32 `(cases, length)`.

    Raises:
        ValueError: If a size or an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import harmonic_series
        >>> wave = harmonic_series(1, 64, cycles=(4.0, 4.0), harmonics=1, noise=0.0)
        >>> wave.diff(dim=1)[0, :16].allclose(wave.diff(dim=1)[0, 16:32], atol=1e-5)
        True
    """
    who = "harmonic_series"
    check_sizes(who, cases, length)
    check_limits(who, "cycles", cycles)
    check_at_least(who, "harmonics", harmonics, 1)
    orders = torch.arange(1, harmonics + 1, dtype=torch.float64)
    base = log_uniform((cases, 1), *cycles, generator=generator)
    most = integers((cases, 1), 1, harmonics, generator=generator)
    fall = orders ** -uniform((cases, 1), 0, 2, generator=generator)
    sizes = normal((cases, harmonics), generator=generator) * fall * (orders <= most)
    phases = uniform((cases, harmonics), 0, 2 * math.pi, generator=generator)
    angles = 2 * math.pi * (base * orders)[..., None] * times(length) + phases[..., None]
    clean = (sizes[..., None] * angles.cos()).sum(1)
    level = uniform((cases, 1), 0, noise, generator=generator) * clean.std(1, keepdim=True)
    return (clean + level * normal((cases, length), generator=generator)).float()


def chirp_series(
    cases: int,
    length: int,
    *,
    cycles: tuple[float, float] = (1.0, 60.0),
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw waves whose frequency and size change on the way, with a little noise.

    $$x(t) = e(t) \sin\Bigl(\phi + 2 \pi \int_0^t f_0 (f_1 / f_0)^u \, du\Bigr)$$

    with $f_0, f_1$ log-uniform in `cycles` and an envelope $e$ that is a bell of random place and
    width, or 1.

    Args:
        cases: How many series.
        length: Samples of each.
        cycles: Least and most periods in a series.
        generator: Source of the draws, on the CPU.

    Returns:
        float32 `(cases, length)`.

    Raises:
        ValueError: If a size or an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import chirp_series
        >>> chirp_series(2, 50).shape
        torch.Size([2, 50])
    """
    check_sizes("chirp_series", cases, length)
    check_limits("chirp_series", "cycles", cycles)
    t = times(length)
    first = log_uniform((cases, 1), *cycles, generator=generator)
    rate = (log_uniform((cases, 1), *cycles, generator=generator) / first).log()
    rate = torch.where(rate.abs() < 1e-6, 1e-6, rate)
    turns = first * ((rate * t).exp() - 1) / rate
    phase = uniform((cases, 1), 0, 2 * math.pi, generator=generator)
    centre = uniform((cases, 1), 0, 1, generator=generator)
    width = log_uniform((cases, 1), 0.05, 0.5, generator=generator)
    bell = (-(t - centre).square() / (2 * width.square())).exp()
    flat = torch.rand(cases, 1, generator=generator) < 0.4
    level = uniform((cases, 1), 0, 0.1, generator=generator)
    wave = torch.where(flat, 1.0, bell) * (2 * math.pi * turns + phase).sin()
    return (wave + level * normal((cases, length), generator=generator)).float()


def pulse_series(
    cases: int,
    length: int,
    *,
    cycles: tuple[float, float] = (1.0, 16.0),
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw trains of pulses: square, saw, triangle, and beats like those of a heart.

    A beat is a sum of bells on the circle of one period, as in the model of McSharry et al.,
    $\sum_i a_i \exp(-(\theta - \theta_i)^2 / 2 b_i^2)$, with five waves of random sizes about
    those of P, Q, R, S and T. The phase runs unevenly: every series has its own slow modulation.

    Args:
        cases: How many series.
        length: Samples of each.
        cycles: Least and most periods in a series.
        generator: Source of the draws, on the CPU.

    Returns:
        float32 `(cases, length)`.

    Raises:
        ValueError: If a size or an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import pulse_series
        >>> pulse_series(2, 50).shape
        torch.Size([2, 50])

    References:
        McSharry et al., *A dynamical model for generating synthetic electrocardiogram signals*,
        2003, <https://doi.org/10.1109/TBME.2003.808805>, equation 1.
    """
    check_sizes("pulse_series", cases, length)
    check_limits("pulse_series", "cycles", cycles)
    t = times(length)
    rate = log_uniform((cases, 1), *cycles, generator=generator)
    sway = uniform((cases, 1), 0, 0.08, generator=generator)
    slow = uniform((cases, 1), 0.5, 3, generator=generator)
    start = uniform((cases, 1), 0, 1, generator=generator)
    phase = (start + rate * t + sway * (2 * math.pi * (slow * t + start)).sin()) % 1.0
    duty = uniform((cases, 1), 0.1, 0.9, generator=generator)
    square = (phase < duty).double()
    saw = torch.where(phase < duty, phase / duty, (1 - phase) / (1 - duty))
    places = torch.tensor([0.30, 0.46, 0.50, 0.54, 0.75], dtype=torch.float64)
    widths = torch.tensor([0.04, 0.016, 0.016, 0.016, 0.064], dtype=torch.float64)
    sizes = torch.tensor([0.12, -0.1, 1.0, -0.25, 0.3], dtype=torch.float64)
    widths = widths * log_uniform((cases, 5), 0.5, 2.5, generator=generator)
    sizes = sizes * (1 + 0.6 * normal((cases, 5), generator=generator))
    places = places + 0.03 * normal((cases, 5), generator=generator)
    bells = (-(phase[:, None] - places[..., None]).square() / (2 * widths[..., None] ** 2)).exp()
    beat = (sizes[..., None] * bells).sum(1)
    kind = integers((cases, 1), 0, 2, generator=generator)
    clean = torch.where(kind == 0, square, torch.where(kind == 1, saw, beat))
    level = uniform((cases, 1), 0, 0.08, generator=generator)
    return (clean + level * normal((cases, length), generator=generator)).float()
