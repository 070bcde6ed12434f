"""Random numbers of the shapes that the formulas ask for."""

import math

import torch
from torch import Generator, Tensor

from ssltok._shared.checks import check_at_least

__all__ = ["check_limits", "check_sizes", "integers", "log_uniform", "normal", "times", "uniform"]


def check_sizes(who: str, cases: int, length: int, least: int = 1) -> None:
    """Ask for at least one case, and `least` samples."""
    check_at_least(who, "cases", cases, 1)
    check_at_least(who, "length", length, least)


def check_limits(
    who: str, name: str, limits: tuple[float, float], *, positive: bool = True
) -> None:
    """Ask for two finite numbers, the lesser first, and above 0 where their logarithm is drawn."""
    low, high = limits
    if not (
        math.isfinite(low) and math.isfinite(high) and low <= high and (low > 0 or not positive)
    ):
        rule = "two finite numbers, the lesser first" + (", above 0" if positive else "")
        raise ValueError(f"{who}: {name} must be {rule}; got {limits}")


def uniform(
    shape: tuple[int, ...], low: float, high: float, *, generator: Generator | None
) -> Tensor:
    """Float64 numbers between two limits."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def log_uniform(
    shape: tuple[int, ...], low: float, high: float, *, generator: Generator | None
) -> Tensor:
    """Numbers whose logarithm is uniform."""
    return uniform(shape, math.log(low), math.log(high), generator=generator).exp()


def normal(shape: tuple[int, ...], *, generator: Generator | None) -> Tensor:
    """Float64 standard normal numbers."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def integers(shape: tuple[int, ...], low: int, high: int, *, generator: Generator | None) -> Tensor:
    """Integers from `low` to `high`, both included."""
    return torch.randint(low, high + 1, shape, generator=generator)


def times(length: int) -> Tensor:
    """`length` times from 0 up to, but not at, 1."""
    return torch.arange(length, dtype=torch.float64) / length
