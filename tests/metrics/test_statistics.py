"""Statistics of series against scipy, plain loops, closed forms, and their laws."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.metrics import (
    autocorrelation,
    autocorrelation_distance,
    cross_correlation_distance,
    kurtosis_distance,
    marginal_distance,
    power_spectrum,
    skewness_distance,
    spectral_distance,
)

EVERY = (
    autocorrelation_distance,
    cross_correlation_distance,
    kurtosis_distance,
    marginal_distance,
    skewness_distance,
    spectral_distance,
)
Distance = Callable[[Tensor, Tensor], Tensor]


def draw(seed: int, *shape: int) -> Tensor:
    """Skewed, correlated in time and over channels."""
    noise = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (noise.cumsum(2) + 0.7 * noise.sum(1, keepdim=True)).exp().clamp_max(50)


# Oracle.


@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 7), st.sampled_from([3, 70]))
def test_marginal_is_scipys_wasserstein(seed: int, n: int, m: int, length: int) -> None:
    x, y = draw(seed, n, 2, length), draw(seed + 1, m, 2, length)
    expected = np.mean(
        [
            scipy.stats.wasserstein_distance(x[:, c, t].numpy(), y[:, c, t].numpy())
            for c in range(2)
            for t in range(length)
        ]
    )
    assert marginal_distance(x, y).item() == pytest.approx(float(expected))


@given(st.integers(0, 10_000))
def test_moments_are_scipys(seed: int) -> None:
    x, y = draw(seed, 5, 2, 9), draw(seed + 1, 4, 2, 7)
    for distance, oracle in (
        (skewness_distance, scipy.stats.skew),
        (kurtosis_distance, scipy.stats.kurtosis),
    ):
        parts = [oracle(p.transpose(0, 1).flatten(1).numpy(), axis=1) for p in (x, y)]
        expected = np.abs(parts[0] - parts[1]).mean()
        assert distance(x, y).item() == pytest.approx(float(expected))


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_autocorrelation_is_the_plain_sum(seed: int, lags: int) -> None:
    x, y = draw(seed, 4, 2, 8), draw(seed + 1, 3, 2, 8)

    def acf(series: Tensor, c: int) -> list[float]:
        z = series[:, c] - series[:, c].mean()
        variance = float(z.square().mean())
        return [
            float((z[:, : 8 - lag] * z[:, lag:]).mean()) / variance for lag in range(min(lags, 8))
        ]

    expected = torch.tensor([acf(x, 0), acf(x, 1)], dtype=torch.float64)
    torch.testing.assert_close(autocorrelation(x, lags=lags), expected)
    other = torch.tensor([acf(y, 0), acf(y, 1)], dtype=torch.float64)
    distance = (expected - other).norm(dim=1).mean()
    torch.testing.assert_close(autocorrelation_distance(x, y, lags=lags), distance)


def test_cross_correlation_is_numpys() -> None:
    x, y = draw(0, 5, 3, 9), draw(1, 4, 3, 7)
    a, b = (np.corrcoef(p.transpose(0, 1).flatten(1).numpy()) for p in (x, y))
    expected = np.abs(a - b)[~np.eye(3, dtype=bool)].mean()
    assert cross_correlation_distance(x, y).item() == pytest.approx(float(expected))


@pytest.mark.parametrize("length", [15, 16])
def test_spectrum_is_scipys_periodogram(length: int) -> None:
    """Up to the factor 2 of a one-sided density, which is not taken at the ends."""
    x = draw(2, 6, 2, length)
    _, power = scipy.signal.periodogram(
        x.numpy(), window="hann", detrend="constant", return_onesided=False
    )
    expected = torch.from_numpy(power.mean(0)[:, : length // 2 + 1])
    torch.testing.assert_close(power_spectrum(x), expected)


def test_spectral_distance_is_a_mean_of_decibels() -> None:
    x, y = draw(3, 6, 2, 12), draw(4, 5, 2, 12)
    a, b = power_spectrum(x).numpy(), power_spectrum(y).numpy()
    least = 0.01 * a.max(axis=1, keepdims=True)
    a, b = np.maximum(a, least), np.maximum(b, least)
    expected = np.abs(10 * np.log10(a) - 10 * np.log10(b)).mean()
    assert spectral_distance(x, y, floor=0.01).item() == pytest.approx(float(expected))


# Known values.


def test_marginal_sees_mass_outside_the_real_range() -> None:
    real = torch.zeros(4, 1, 3)
    generated = real.clone()
    generated[0] = 1e6
    assert marginal_distance(real, generated).item() == pytest.approx(2.5e5)


def test_autocorrelation_of_a_wave() -> None:
    """Whole periods: the cosine of the lag, but for the ends that are cut off."""
    t = torch.arange(4000, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * t / 20)[None, None]
    expected = torch.cos(2 * torch.pi * torch.arange(30.0) / 20)[None].double()
    torch.testing.assert_close(autocorrelation(wave, lags=30), expected, atol=0.01, rtol=0)


def test_moments_of_known_laws() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(200, 1, 500, generator=generator)
    exponential = torch.empty(200, 1, 500).exponential_(generator=generator)
    assert skewness_distance(normal, exponential).item() == pytest.approx(2, abs=0.1)
    assert kurtosis_distance(normal, exponential).item() == pytest.approx(6, abs=0.6)


def test_an_averaging_generator_loses_its_high_frequencies() -> None:
    generator = torch.Generator().manual_seed(1)
    slow = torch.sin(torch.linspace(0, 12.6, 64))
    real = slow + torch.randn(400, 1, 64, generator=generator)
    mean = real.mean(0, keepdim=True).expand(400, 1, 64)
    again = slow + torch.randn(400, 1, 64, generator=generator)
    assert spectral_distance(real, again).item() < 0.5
    assert spectral_distance(real, mean).item() > 10


# Laws.


@pytest.mark.parametrize("distance", EVERY)
def test_zero_symmetric_and_permutable(distance: Distance) -> None:
    x, y = draw(5, 6, 2, 12), draw(6, 6, 2, 12)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    assert distance(x, x[order]).item() == pytest.approx(0, abs=1e-12)
    assert distance(x, y).item() > 0
    torch.testing.assert_close(distance(x, y[order]), distance(x, y))
    if distance is not spectral_distance:  # its floor is the real one's
        torch.testing.assert_close(distance(y, x), distance(x, y))


@pytest.mark.parametrize("distance", EVERY)
def test_units(distance: Distance) -> None:
    x, y = draw(7, 6, 2, 12), draw(8, 6, 2, 12)
    factor = 3 if distance is marginal_distance else 1
    torch.testing.assert_close(distance(3 * x + 7, 3 * y + 7), factor * distance(x, y))


@pytest.mark.parametrize("distance", EVERY)
def test_inputs_stay_and_no_random_number_is_drawn(distance: Distance) -> None:
    x, y = draw(9, 4, 2, 12), draw(10, 4, 2, 12)
    before, state = x.clone(), torch.get_rng_state()
    assert distance(x, y).dtype == torch.float64
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_grows_with_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.sin(torch.linspace(0, 6.28, 32)) * torch.ones(200, 1, 1)
    noise = torch.randn(200, 1, 32, generator=generator)
    for distance in (marginal_distance, autocorrelation_distance, spectral_distance):
        steps = [distance(x, x + s * noise).item() for s in (0.0, 0.1, 0.3, 1.0)]
        assert steps == sorted(steps)
        assert steps[-1] > steps[1]


@given(st.integers(0, 10_000))
def test_missing_points_are_left_out(seed: int) -> None:
    """A cut series counts as the shorter series that it is."""
    x, y = draw(seed, 3, 1, 8), draw(seed + 1, 3, 1, 8)
    cut = torch.cat([x, x[:1]])
    cut[3, :, 5:] = math.nan
    for t in range(8):
        rows = cut[: 4 if t < 5 else 3, :, t : t + 1]
        part = marginal_distance(cut[..., t : t + 1], y[..., t : t + 1])
        torch.testing.assert_close(part, marginal_distance(rows, y[..., t : t + 1]))
    values = cut[~cut.isnan()].numpy()
    expected = abs(scipy.stats.skew(values) - scipy.stats.skew(y.flatten().numpy()))
    assert skewness_distance(cut, y).item() == pytest.approx(float(expected))
    z = cut - values.mean()
    products = z[..., :-2] * z[..., 2:]
    lag_two = products[~products.isnan()].mean() / values.var()
    torch.testing.assert_close(autocorrelation(cut, lags=3)[0, 2], lag_two)


def test_a_constant_channel_is_undefined_and_not_zero() -> None:
    x = draw(0, 3, 2, 8)
    flat = x.clone()
    flat[:, 1] = 2.0
    for distance in (
        autocorrelation_distance, cross_correlation_distance, kurtosis_distance, skewness_distance
    ):  # fmt: skip
        assert math.isnan(distance(x, flat).item())


@pytest.mark.parametrize("level", [0.1, -1e6 / 3, 1e-9 / 3, 0.0])
def test_a_level_that_rounds_is_constant_too(level: float) -> None:
    """The mean of numbers equal to 0.1 is not 0.1 to the last bit."""
    x = draw(0, 7, 2, 11)
    flat = x.clone()
    flat[:, 1] = level
    for distance in (
        autocorrelation_distance, cross_correlation_distance, kurtosis_distance, skewness_distance
    ):  # fmt: skip
        assert math.isnan(distance(x, flat).item()), distance
        assert math.isnan(distance(flat[:, 1:].expand(-1, 2, -1), x).item()), distance
    assert autocorrelation(flat).isnan().any(1).tolist() == [False, True]
    assert math.isnan(spectral_distance(flat[:, 1:], x[:, 1:]).item())
    assert math.isfinite(spectral_distance(x, flat).item())


@pytest.mark.parametrize(
    "distance",
    [autocorrelation_distance, kurtosis_distance, skewness_distance, spectral_distance],
)
def test_a_channel_constant_in_real_leaves_the_mean_of_the_others(
    distance: Callable[..., Tensor],
) -> None:
    x, y = draw(0, 7, 3, 11), draw(1, 7, 3, 11)
    x[:, 1] = 0.1
    others = distance(x[:, [0, 2]], y[:, [0, 2]])
    torch.testing.assert_close(distance(x, y), others)


def test_pairs_with_a_channel_constant_in_real_are_left_out() -> None:
    x, y = draw(0, 7, 3, 11), draw(1, 7, 3, 11)
    x[:, 1] = 0.1
    others = cross_correlation_distance(x[:, [0, 2]], y[:, [0, 2]])
    torch.testing.assert_close(cross_correlation_distance(x, y), others)
    assert math.isnan(cross_correlation_distance(x[:, :2], y[:, :2]).item())  # no pair is left


def test_a_small_channel_far_from_zero_is_not_constant() -> None:
    x, y = draw(0, 6, 2, 12), draw(1, 6, 2, 12)
    for distance in (autocorrelation_distance, cross_correlation_distance, skewness_distance):
        moved = distance(1e-3 * x + 1e3, 1e-3 * y + 1e3).item()
        assert moved == pytest.approx(distance(x, y).item(), rel=1e-4)


def test_a_frequency_of_one_set_only_is_infinitely_far_without_a_floor() -> None:
    x = draw(3, 4, 1, 12)
    assert spectral_distance(x, torch.zeros_like(x), floor=0).item() == math.inf


# Complaints.


def test_refuses() -> None:
    x = torch.zeros(2, 1, 6)
    with pytest.raises(
        ValueError, match=r"^cross_correlation_distance: channels must be >= 2; got"
    ):
        cross_correlation_distance(x, x)
    with pytest.raises(
        ValueError, match=r"^marginal_distance: real and generated must have the sa"
    ):
        marginal_distance(x, x[..., :4])
    with pytest.raises(ValueError, match=r"^spectral_distance: length must be >= 4; got 3$"):
        spectral_distance(x[..., :3], x[..., :3])
    with pytest.raises(ValueError, match=r"^spectral_distance: floor must be >= 0; got -1$"):
        spectral_distance(x, x, floor=-1)
    with pytest.raises(ValueError, match=r"^power_spectrum: series must be floating point; got"):
        power_spectrum(x.long())
    with pytest.raises(ValueError, match=r"^autocorrelation: series must be \(cases, channels, l"):
        autocorrelation(x[0])
    with pytest.raises(ValueError, match=r"^autocorrelation: lags must be >= 1; got 0$"):
        autocorrelation(x, lags=0)
    with pytest.raises(ValueError, match=r"^skewness_distance: cases of generated must be >= 1; g"):
        skewness_distance(x, x[:0])
    with pytest.raises(ValueError, match=r"generated must be floating point; got torch.int64$"):
        kurtosis_distance(x, x.long())
