import inspect
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Generator, Tensor

from ssltok import data
from ssltok.data import (
    arma_series,
    chirp_series,
    colored_series,
    harmonic_series,
    kernel_matrix,
    kernel_synth,
    mixup_series,
    motion_series,
    outline_series,
    pulse_series,
    shot_series,
    switching_series,
)
from ssltok.data._synthetic._shapes import _least_jerk

DRAWS: dict[str, Callable[..., Tensor]] = {
    "arma_series": arma_series,
    "chirp_series": chirp_series,
    "colored_series": colored_series,
    "harmonic_series": harmonic_series,
    "kernel_synth": kernel_synth,
    "kernel_synth, shared": partial(kernel_synth, draws=3),
    "motion_series": motion_series,
    "outline_series": outline_series,
    "pulse_series": pulse_series,
    "shot_series": shot_series,
    "switching_series": switching_series,
}
every = pytest.mark.parametrize("name", DRAWS)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


# the law of all


@every
def test_series_are_finite_differ_and_come_from_the_generator_alone(name: str) -> None:
    draw = DRAWS[name]
    before = torch.get_rng_state()
    first, again = draw(7, 60, generator=seeded()), draw(7, 60, generator=seeded())
    other = draw(7, 60, generator=seeded(1))
    assert torch.equal(before, torch.get_rng_state())
    assert first.shape == (7, 60)
    assert first.dtype == torch.float32
    assert first.is_contiguous()
    assert bool(first.isfinite().all())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(row.tolist()) for row in first}) == 7


@every
def test_sizes_are_asked(name: str) -> None:
    who = name.partition(",")[0]
    with pytest.raises(ValueError, match=f"{who}: cases must be >= 1; got 0"):
        DRAWS[name](0, 60)
    with pytest.raises(ValueError, match=f"{who}: length must be >= [12]; got 0"):
        DRAWS[name](3, 0)


# oracles: Gaussian processes


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("constant", 2.5, lambda t, u: 2.5),
        ("linear", 0.5, lambda t, u: 0.25 + t * u),
        ("noise", 0.3, lambda t, u: 0.3 * (t == u)),
        ("rbf", 0.2, lambda t, u: math.exp(-((t - u) ** 2) / (2 * 0.04))),
        (
            "rational_quadratic",
            2.0,
            lambda t, u: (1 + (t - u) ** 2 / (2 * 2.0 * 0.01)) ** -2.0,
        ),
        ("periodic", 0.25, lambda t, u: math.exp(-2 * math.sin(math.pi * (t - u) / 0.25) ** 2)),
    ],
)
def test_kernels_by_their_formulas(
    name: str, value: float, rule: Callable[[float, float], float]
) -> None:
    times = [i / 6 for i in range(7)]
    wanted = torch.tensor([[rule(t, u) for u in times] for t in times], dtype=torch.float64)
    torch.testing.assert_close(kernel_matrix(name, value, 7), wanted)


def test_draws_have_the_covariance_of_their_kernel() -> None:
    kernels = [("rbf", 0.3)]
    x = kernel_synth(4000, 5, kernels=kernels, most_kernels=1, draws=50, generator=seeded())
    wanted = kernel_matrix("rbf", 0.3, 5)
    torch.testing.assert_close(torch.cov(x.double().T), wanted, atol=0.08, rtol=0)
    assert abs(float(x.mean())) < 0.05


def test_kernels_are_added_or_multiplied() -> None:
    """With the bank of one constant c: c, 2 c or c * c, by chance."""
    bank = [("constant", 3.0)]
    x = kernel_synth(3000, 2, kernels=bank, most_kernels=2, draws=1, generator=seeded(4))
    level = x.mean(dim=1).double()
    # a mixture of normals: half of variance 3, a quarter each of 6 and 9
    assert abs(float(level.square().mean()) - (3 / 2 + 6 / 4 + 9 / 4)) < 0.5
    fourth = 3 * (9 / 2 + 36 / 4 + 81 / 4)
    assert abs(float(level.pow(4).mean()) / fourth - 1) < 0.25


# oracles: processes


def test_arma_is_stationary() -> None:
    x = arma_series(3000, 60, generator=seeded()).double()
    size = x.square().sum(dim=1, keepdim=True).sqrt()
    first, last = ((x / size)[:, part].square().mean() for part in (slice(0, 20), slice(40, 60)))
    assert abs(float(first / last) - 1) < 0.1


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_the_power_of_coloured_noise_falls_by_its_exponent(beta: float) -> None:
    x = colored_series(600, 512, exponent=(beta, beta), generator=seeded()).double()
    window = torch.hann_window(512, dtype=torch.float64)
    power = torch.fft.rfft(x * window).abs().square().mean(dim=0)
    k = torch.arange(8, 128, dtype=torch.float64)
    slope = scipy.stats.linregress(k.log(), power[8:128].log()).slope
    assert abs(slope + beta) < 0.1


def test_harmonics_stand_at_multiples_of_their_frequency() -> None:
    x = harmonic_series(20, 240, cycles=(5.0, 5.0), harmonics=3, noise=0.0, generator=seeded())
    power = torch.fft.rfft(x.double()).abs().square()
    power = power / power.sum(dim=1, keepdim=True)
    assert float(power[:, [5, 10, 15]].sum(dim=1).min()) > 1 - 1e-6


def test_a_chirp_ends_at_its_last_frequency() -> None:
    x = chirp_series(40, 4000, cycles=(20.0, 20.0), generator=seeded()).double()
    power = torch.fft.rfft(x).abs().square()
    assert int((power[:, 1:].argmax(dim=1) + 1 - 20).abs().max()) <= 1


def test_shots_come_as_often_as_asked_and_decay() -> None:
    x = shot_series(400, 2000, events=(8.0, 8.0), generator=seeded(2)).double()
    jumps = x.diff(dim=1)
    rare = (jumps > 0.3 * jumps.amax(dim=1, keepdim=True)).double().sum(dim=1)
    assert 2 < float(rare.median()) < 20
    assert float(x.mean()) > 0


def test_levels_switch_as_often_as_asked() -> None:
    x = switching_series(200, 1000, switches=(5.0, 5.0), generator=seeded()).double()
    # noise is at most .08 of a level of 1: large steps are switches, or slow ones that have none
    steps = (x.diff(dim=1).abs() > 0.4).double().sum(dim=1)
    assert 0 <= float(steps.mean()) < 10
    assert int((steps > 0).sum()) > 60


# oracles: shapes


def test_a_movement_is_the_polynomial_of_least_jerk() -> None:
    """The one polynomial of degree 5 that rests at both ends: it minimises the squared jerk."""
    ends = [np.polyder(np.poly1d(row), order)(at) for at in (0, 1) for order in (0, 1, 2)
            for row in np.eye(6)]  # fmt: skip
    wanted = np.linalg.solve(np.array(ends).reshape(6, 6), [0, 0, 0, 1, 0, 0])
    u = np.linspace(-0.5, 1.5, 41)
    share = _least_jerk(torch.from_numpy(u)).numpy()
    np.testing.assert_allclose(share, np.polyval(wanted, u.clip(0, 1)), atol=1e-12)


def test_outlines_close() -> None:
    x = outline_series(50, 1000, generator=seeded())
    assert float((x[:, 0] - x[:, -1]).abs().max()) < 20 * float(x.diff(dim=1).abs().median())
    assert bool((x >= 0).all())


def test_pulses_repeat() -> None:
    x = pulse_series(60, 2000, cycles=(8.0, 8.0), generator=seeded()).double()
    x = x - x.mean(dim=1, keepdim=True)
    power = torch.fft.rfft(x).abs().square()
    low = power[:, 1:5].sum(dim=1) / power[:, 1:].sum(dim=1)
    assert float(low.median()) < 0.05  # next to nothing below 8 periods


# mixtures


def test_mixtures_are_convex_with_dirichlet_weights() -> None:
    """Rows of the identity show the weights: of k parts, each has mean 1 / k."""
    x = mixup_series(
        torch.eye(40, dtype=torch.float64), cases=6000, most=3, concentration=1.5,
        generator=seeded(),
    )  # fmt: skip
    assert bool((x >= 0).all())
    torch.testing.assert_close(x.sum(dim=1), torch.ones(6000, dtype=torch.float64))
    parts = (x > 0).sum(dim=1)
    counts = torch.bincount(parts, minlength=4)[1:] / 6000
    torch.testing.assert_close(counts, torch.full((3,), 1 / 3), atol=0.04, rtol=0)
    two = x[parts == 2].amax(dim=1)
    wanted = scipy.stats.beta(1.5, 1.5)  # a weight of two; the larger one is folded
    grid = np.linspace(0.55, 0.95, 5)
    found = [(two < g).double().mean().item() for g in grid]
    np.testing.assert_allclose(found, [wanted.cdf(g) - wanted.cdf(1 - g) for g in grid], atol=0.06)


def test_kernel_and_mixture_complaints() -> None:
    with pytest.raises(ValueError, match=r"name must be one of .*'rbf'.*; got 'matern'"):
        kernel_matrix("matern", 1.0, 5)
    with pytest.raises(ValueError, match="value must be positive; got -1"):
        kernel_matrix("rbf", -1.0, 5)
    with pytest.raises(ValueError, match="length must be >= 2"):
        kernel_matrix("rbf", 1.0, 1)
    with pytest.raises(ValueError, match="most_kernels must be >= 1; got 0"):
        kernel_synth(2, 5, most_kernels=0)
    with pytest.raises(ValueError, match="draws must be >= 1; got 0"):
        kernel_synth(2, 5, draws=0)
    with pytest.raises(ValueError, match="kernels"):
        kernel_synth(2, 5, kernels=[])
    for options, message in (
        ({"cases": 0}, "cases must be >= 1"),
        ({"cases": 1, "most": 0}, "most must be >= 1"),
        ({"cases": 1, "concentration": 0.0}, "concentration must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            mixup_series(torch.eye(3), **options)
    with pytest.raises(ValueError, match="floating"):
        mixup_series(torch.eye(3).long(), cases=1)


@pytest.mark.parametrize("name", [n for n in data.__all__ if n.endswith("_series")])
def test_options_out_of_range_are_named(name: str) -> None:
    """Of every formula: a number below 1, limits without a logarithm, or reversed."""
    generator = getattr(data, name)
    options = inspect.signature(generator).parameters
    for option, bad in (
        *((k, 0) for k in ("harmonics", "movements") if k in options),
        *((k, v) for k in ("cycles", "events", "switches") if k in options
          for v in ((0.0, 5.0), (-1.0, 2.0), (5.0, 1.0), (1.0, math.inf), (math.nan, 1.0))),
        *((k, v) for k in ("exponent",) if k in options for v in ((2.0, 1.0), (0.0, math.nan))),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{name}: {option} must be"):
            generator(2, 30, **{option: bad})
