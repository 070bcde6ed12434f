"""Smooth shapes: movements between postures, and outlines."""

import math

import torch
from torch import Generator, Tensor

from ssltok._shared.checks import check_at_least
from ssltok.data._synthetic._draw import check_sizes, integers, log_uniform, normal, times, uniform

__all__ = ["motion_series", "outline_series"]


def motion_series(
    cases: int, length: int, *, movements: int = 6, generator: Generator | None = None
) -> Tensor:
    r"""Draw movements between postures, each of least jerk, with pauses between.

    $$x(t) = \sum_i a_i \, s\bigl((t - t_i) / d_i\bigr), \qquad s(u) = 10 u^3 - 15 u^4 + 6 u^5$$

    with $u$ limited to 0 to 1: the movement of a hand from one point to another. Starts are
    uniform, durations log-uniform in .03 to .5 of the series; half of the series tremble a little.

    Args:
        cases: How many series.
        length: Samples of each.
        movements: Most movements of a series.
        generator: Source of the draws, on the CPU.

    Returns:
        float32 `(cases, length)`.

    Raises:
        ValueError: If a size or an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import motion_series
        >>> motion_series(2, 50).shape
        torch.Size([2, 50])

    References:
        Flash and Hogan, *The coordination of arm movements*, 1985, equation 5.
    """
    check_sizes("motion_series", cases, length)
    check_at_least("motion_series", "movements", movements, 1)
    starts = uniform((cases, movements, 1), -0.1, 0.95, generator=generator)
    spans = log_uniform((cases, movements, 1), 0.03, 0.5, generator=generator)
    sizes = normal((cases, movements, 1), generator=generator)
    most = integers((cases, 1, 1), 1, movements, generator=generator)
    sizes = sizes * (torch.arange(movements)[:, None] < most)
    returns = torch.rand(cases, 1, 1, generator=generator) < 0.5  # and back to where it began
    t = times(length)
    there = _least_jerk((t - starts) / spans)
    waits = spans * log_uniform((cases, movements, 1), 1, 4, generator=generator)
    back = _least_jerk((t - starts - waits) / spans)
    clean = (sizes * torch.where(returns, there - back, there)).sum(1)
    tremble = uniform((cases, 1), 0, 0.05, generator=generator)
    tremble = tremble * (torch.rand(cases, 1, generator=generator) < 0.5)
    pace = log_uniform((cases, 1), 10, 40, generator=generator)
    phase = uniform((cases, 1), 0, 2 * math.pi, generator=generator)
    noise = uniform((cases, 1), 0, 0.03, generator=generator)
    noise = noise * normal((cases, length), generator=generator)
    return (clean + tremble * (2 * math.pi * pace * t + phase).sin() + noise).float()


def outline_series(
    cases: int, length: int, *, harmonics: int = 16, generator: Generator | None = None
) -> Tensor:
    r"""Draw distances from the centre to the outline of random closed shapes.

    The outline is $\sum_k c_k e^{2 \pi i k t}$ for $|k| \le K$, with complex normal Fourier
    descriptors that fall as $|k|^{-\gamma}$, $\gamma$ in 1.2 to 2.5, about a circle ($c_1 = 1$).

    Args:
        cases: How many series.
        length: Samples of each.
        harmonics: $K$.
        generator: Source of the draws, on the CPU.

    Returns:
        float32 `(cases, length)`.

    Raises:
        ValueError: If a size or an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import outline_series
        >>> outline_series(2, 50).shape
        torch.Size([2, 50])

    References:
        Zahn and Roskies, *Fourier descriptors for plane closed curves*, 1972.
    """
    check_sizes("outline_series", cases, length)
    check_at_least("outline_series", "harmonics", harmonics, 1)
    orders = torch.cat([torch.arange(-harmonics, 0), torch.arange(1, harmonics + 1)]).double()
    fall = orders.abs() ** -uniform((cases, 1), 1.2, 2.5, generator=generator)
    size = log_uniform((cases, 1), 0.1, 0.6, generator=generator)
    parts = normal((2, cases, 2 * harmonics), generator=generator) * fall * size
    circle = torch.polar(torch.ones(length, dtype=torch.float64), 2 * math.pi * times(length))
    turns = torch.polar(
        torch.ones(2 * harmonics, length, dtype=torch.float64),
        2 * math.pi * orders[:, None] * times(length),
    )
    outline = circle + torch.complex(parts[0], parts[1]) @ turns
    return outline.abs().float()


def _least_jerk(share: Tensor) -> Tensor:
    u = share.clamp(0, 1)
    return u**3 * (10 - 15 * u + 6 * u.square())
