"""KernelSynth: draws of Gaussian processes whose kernels are sums and products of simple ones."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ssltok._shared.checks import check_at_least
from ssltok.data._synthetic._draw import check_sizes, integers, normal

__all__ = ["KERNELS", "kernel_matrix", "kernel_synth"]

PERIODS = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 24, 1 / 32, 1 / 48)
KERNELS: tuple[tuple[str, float], ...] = (
    ("constant", 1.0),
    ("linear", 0.0),
    ("linear", 1.0),
    ("linear", 10.0),
    ("noise", 0.1),
    ("noise", 1.0),
    ("rbf", 0.01),
    ("rbf", 0.1),
    ("rbf", 1.0),
    ("rational_quadratic", 0.1),
    ("rational_quadratic", 1.0),
    ("rational_quadratic", 10.0),
    *(("periodic", period) for period in PERIODS),
)


def kernel_matrix(name: str, value: float, length: int) -> Tensor:
    r"""Return the covariance of a simple kernel at `length` even times $t$ from 0 to 1.

    | name | value | $k(t, t')$ |
    |---|---|---|
    | `constant` | $c$ | $c$ |
    | `linear` | $\sigma_0$ | $\sigma_0^2 + t t'$ |
    | `noise` | $\sigma^2$ | $\sigma^2$ where $t = t'$, 0 elsewhere |
    | `rbf` | $\ell$ | $\exp(-(t - t')^2 / 2 \ell^2)$ |
    | `rational_quadratic` | $\alpha$ | $(1 + (t - t')^2 / .02 \, \alpha)^{-\alpha}$ |
    | `periodic` | $p$ | $\exp(-2 \sin^2(\pi (t - t') / p))$ |

    Args:
        name: One of the table.
        value: Its parameter.
        length: Number of times, at least 2.

    Returns:
        float64 `(length, length)`.

    Raises:
        ValueError: If the name is none of the table, the value is not positive (`linear`: below
            0), or there are fewer than 2 times.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import kernel_matrix
        >>> kernel_matrix("linear", 1.0, 3)
        tensor([[1.0000, 1.0000, 1.0000],
                [1.0000, 1.2500, 1.5000],
                [1.0000, 1.5000, 2.0000]], dtype=torch.float64)

    References:
        Rasmussen and Williams, *Gaussian processes for machine learning*, 2006, chapter 4.
    """
    check_at_least("kernel_matrix", "length", length, 2)
    if not (value > 0 or (name == "linear" and value == 0)):
        raise ValueError(f"kernel_matrix: value must be positive; got {value!r} for {name!r}")
    t = torch.linspace(0, 1, length, dtype=torch.float64)
    apart = t[:, None] - t
    match name:
        case "constant":
            return torch.full_like(apart, value)
        case "linear":
            return value**2 + t[:, None] * t
        case "noise":
            return value * torch.eye(length, dtype=torch.float64)
        case "rbf":
            return (-apart.square() / (2 * value**2)).exp()
        case "rational_quadratic":
            return (1 + apart.square() / (2 * value * 0.1**2)).pow(-value)
        case "periodic":
            return (-2 * (math.pi * apart / value).sin().square()).exp()
    raise ValueError(
        f"kernel_matrix: name must be one of {sorted({k for k, _ in KERNELS})}; got {name!r}"
    )


def kernel_synth(
    cases: int,
    length: int,
    *,
    most_kernels: int = 5,
    draws: int = 1,
    kernels: Sequence[tuple[str, float]] = KERNELS,
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw series from Gaussian processes with composed kernels (KernelSynth of Chronos).

    For each process the number $j$ of kernels is uniform in 1 to `most_kernels`; they are drawn
    from the bank with replacement, and put together from left to right by $+$ or $\times$, with
    equal chance. Departures: lengthscales and periods are shares of the series and not numbers of
    samples, so that a series looks alike at any length; a kernel may give several series.

    Args:
        cases: How many series.
        length: Samples of each, at least 2.
        most_kernels: The largest number of kernels in one process; the paper has 5.
        draws: How many series share one process: one decomposition of its covariance serves them.
        kernels: The bank, names and values of `kernel_matrix`.
        generator: Source of the draws, on the CPU.

    Returns:
        float32 `(cases, length)`, not scaled.

    Raises:
        ValueError: If a size is out of range, or a kernel is unknown.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.data import kernel_synth
        >>> line = kernel_synth(2, 5, kernels=[("linear", 0.0)], most_kernels=1)
        >>> bool((line.diff(n=2).abs() < 1e-3).all())  # straight lines through 0
        True

    References:
        Ansari et al., *Chronos*, 2024, <https://arxiv.org/abs/2403.07815>, section 4.2 and
        algorithm 2.
    """
    who = "kernel_synth"
    check_sizes(who, cases, length, 2)
    check_at_least(who, "most_kernels", most_kernels, 1)
    check_at_least(who, "draws", draws, 1)
    check_at_least(who, "len(kernels)", len(kernels), 1)
    matrices: dict[int, Tensor] = {}
    rows = []
    for _ in range(-(-cases // draws)):
        count = int(integers((), 1, most_kernels, generator=generator))
        chosen = integers((count,), 0, len(kernels) - 1, generator=generator).tolist()
        added = torch.rand(count, generator=generator) < 0.5
        covariance = torch.zeros(())
        for place, number in enumerate(chosen):
            if number not in matrices:
                matrices[number] = kernel_matrix(kernels[number][0], kernels[number][1], length)
            part = matrices[number]
            if place == 0:
                covariance = part
            else:
                covariance = covariance + part if added[place] else covariance * part
        rows.append(_root(covariance) @ normal((length, draws), generator=generator))
    return torch.cat(rows, dim=1).T[:cases].float().contiguous()


def _root(covariance: Tensor) -> Tensor:
    """Lower triangle whose square is the covariance, with as little on its diagonal as it needs."""
    size = covariance.diagonal().mean()
    eye = torch.eye(len(covariance), dtype=covariance.dtype)
    root: Tensor
    for jitter in (1e-10, 1e-8, 1e-6):
        root, failed = torch.linalg.cholesky_ex(covariance + jitter * size * eye)
        if not failed:
            return root
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt()
    return root
