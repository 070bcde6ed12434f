"""Smooth curves against scipy's splines."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from ssltok.augment import magnitude_warp
from ssltok.augment._curve import _known_curvatures, random_curve


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# oracle


@given(knots=st.integers(2, 9), length=st.integers(2, 50), seed=st.integers(0, 99))
def test_oracle_spline(knots: int, length: int, seed: int) -> None:
    values = torch.randn(2, 3, knots, generator=seeded(seed), dtype=torch.float64)
    curve = random_curve(values, torch.arange(length)[None], torch.tensor([[length]]))
    spline = CubicSpline(np.linspace(0, length - 1, knots), values.numpy(), axis=-1)
    np.testing.assert_allclose(curve.numpy(), spline(np.arange(length)), atol=1e-9)


def test_oracle_magnitude_warp_with_its_draws() -> None:
    series = torch.randn(4, 2, 31, generator=seeded(0), dtype=torch.float64)
    draws = torch.randn(4, 2, 7, generator=seeded(1), dtype=torch.float64)
    view = magnitude_warp(series, std=0.4, knots=5, generator=seeded(1))
    spline = CubicSpline(np.linspace(0, 30, 7), 1 + 0.4 * draws.numpy(), axis=-1)
    np.testing.assert_allclose(view.numpy(), series.numpy() * spline(np.arange(31)), atol=1e-10)


# known values


def test_the_curve_has_the_promised_moments_at_its_knots() -> None:
    curve = magnitude_warp(torch.ones(10_000, 2, 11), knots=4, generator=seeded(0))
    at_knots = curve[..., ::2]
    assert at_knots.mean().item() == pytest.approx(1.0, abs=0.003)
    torch.testing.assert_close(at_knots.std((0, 1)), torch.full((6,), 0.2), rtol=0.03, atol=0)
    correlation = ((curve[:, 0] - 1) * (curve[:, 1] - 1)).mean() / 0.04
    assert abs(correlation.item()) < 0.03


def test_nothing_happens_at_std_zero() -> None:
    series = torch.randn(3, 2, 17, generator=seeded(0))
    torch.testing.assert_close(magnitude_warp(series, std=0.0), series)


# laws


def test_a_spline_is_known_curvatures_once_for_all_calls() -> None:
    misses = _known_curvatures.cache_info().misses
    for _ in range(3):
        magnitude_warp(torch.ones(2, 1, 30), knots=23)
    assert _known_curvatures.cache_info().misses == misses + 1


def test_any_number_of_knots_compiles() -> None:
    torch.compiler.reset()
    compiled = torch.compile(magnitude_warp, fullgraph=True, backend="eager")
    for knots in (1, 3, 4, 6):
        series = torch.randn(3, 2, 17)
        torch.manual_seed(knots)
        expected = magnitude_warp(series, knots=knots)
        torch.manual_seed(knots)
        torch.testing.assert_close(compiled(series, knots=knots), expected)


# complaints


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"magnitude_warp: std must be >= 0; got -0.1"):
        magnitude_warp(torch.zeros(2, 1, 8), std=-0.1)
    with pytest.raises(ValueError, match=r"magnitude_warp: knots must be >= 0; got -1"):
        magnitude_warp(torch.zeros(2, 1, 8), knots=-1)
