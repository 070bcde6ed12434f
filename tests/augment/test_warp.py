"""Warps against the published per-sample loops in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from ssltok.augment import time_warp, window_warp
from ssltok.augment._warp import _window_positions


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def published_window_warp(
    values: NDArray[np.float64], start: int, window: int, size: int
) -> NDArray[np.float64]:
    """Resample the window, put the parts together, resample the whole: the published order."""
    part = values[start : start + window]
    resampled = np.interp(np.linspace(0, window - 1, num=size), np.arange(window), part)
    whole = np.concatenate([values[:start], resampled, values[start + window :]])
    read = np.linspace(0, len(whole) - 1, num=len(values))
    warped: NDArray[np.float64] = np.interp(read, np.arange(len(whole)), whole)
    return warped


# oracle


@given(
    length=st.integers(4, 60), window_ratio=st.floats(0.2, 1.0), scale=st.floats(0.9, 2.0),
    where=st.floats(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
def test_oracle_window_warp_kernel(
    length: int, window_ratio: float, scale: float, where: float, seed: int
) -> None:
    window = max(2, round(window_ratio * length))
    start = min(int(where * (length - window + 1)), length - window)
    size = max(2, int(window * scale))
    positions = _window_positions(
        torch.zeros(1, 1, length, dtype=torch.float64),
        *(torch.tensor([[value]]) for value in (length, start, window, size)),
    )
    # warping time itself gives the places where the published loop reads
    expected = published_window_warp(np.arange(float(length)), start, window, size)
    np.testing.assert_allclose(positions[0].numpy(), expected, atol=1e-9)


@given(length=st.integers(5, 80), seed=st.integers(0, 99))
def test_oracle_window_warp_with_its_draws(length: int, seed: int) -> None:
    batch, channels, ratio, scales = 4, 3, 0.3, (0.5, 3.0)
    series = torch.randn(batch, channels, length, generator=seeded(seed), dtype=torch.float64)
    draws = torch.rand(2, batch, 1, generator=seeded(seed + 1), dtype=torch.float64)
    view = window_warp(series, window_ratio=ratio, scale_range=scales, generator=seeded(seed + 1))
    window = max(1, round(ratio * length))
    for b in range(batch):
        start = int(draws[0, b].item() * (length - window + 1))
        size = int(window * (scales[0] + (scales[1] - scales[0]) * draws[1, b].item()))
        size = max(size, min(window, 2))
        time = published_window_warp(np.arange(float(length)), start, window, size)
        for c in range(channels):
            expected = np.interp(time, np.arange(length), series[b, c].numpy())
            np.testing.assert_allclose(view[b, c].numpy(), expected, atol=1e-9)


def test_one_interpolation_is_near_the_published_two() -> None:
    """On a smooth series both orders agree up to what two linear interpolations may err."""
    values = np.sin(2 * np.pi * 3 * np.arange(512) / 512)
    positions = _window_positions(
        torch.zeros(1, 1, 512, dtype=torch.float64),
        *(torch.tensor([[value]]) for value in (512, 100, 205, 333)),
    )
    once = np.interp(positions[0].numpy(), np.arange(512), values)
    twice = published_window_warp(values, 100, 205, 333)
    assert np.abs(once - twice).max() < 2 * (2 * np.pi * 3 / 512) ** 2 / 8
    assert np.abs(once - values).max() > 0.5


@given(
    length=st.integers(2, 60), knots=st.integers(0, 6), std=st.floats(0.0, 0.5),
    seed=st.integers(0, 200),
)  # fmt: skip
def test_oracle_time_warp(length: int, knots: int, std: float, seed: int) -> None:
    """The published loop: a spline of paces, summed, scaled, and numpy's interpolation."""
    series = torch.randn(3, 2, length, generator=seeded(seed), dtype=torch.float64)
    draws = torch.randn(3, 1, knots + 2, generator=seeded(seed + 1), dtype=torch.float64)
    view = time_warp(series, std=std, knots=knots, generator=seeded(seed + 1))
    for b in range(3):
        places = np.linspace(0, length - 1, knots + 2)
        pace = CubicSpline(places, 1 + std * draws[b, 0].numpy())(np.arange(length))
        pace = np.maximum(pace, 0.01)
        times = np.concatenate([[0.0], np.cumsum(pace[1:])])
        times = times * (length - 1) / times[-1]
        for c in range(2):
            expected = np.interp(np.arange(length), times, series[b, c].numpy())
            np.testing.assert_allclose(view[b, c].numpy(), expected, atol=1e-7)


# known values


def test_time_warp_at_std_zero_is_the_series() -> None:
    series = torch.randn(3, 2, 17, generator=seeded(0), dtype=torch.float64)
    torch.testing.assert_close(time_warp(series, std=0.0), series)


def test_window_warp_by_hand() -> None:
    # window 2..4 of 0..6 doubled: 0 1 [2 2.4 2.8 3.2 3.6 4] 5 6, ten samples read at 7 places
    positions = _window_positions(
        torch.zeros(1, 1, 7, dtype=torch.float64),
        *(torch.tensor([[value]]) for value in (7, 2, 3, 6)),
    )
    expected = [0.0, 1.5, 2.4, 3.0, 3.6, 4.5, 6.0]
    np.testing.assert_allclose(positions[0].numpy(), expected, atol=1e-12)


def test_the_whole_series_as_the_window_is_the_series() -> None:
    series = torch.randn(3, 2, 17, generator=seeded(0))
    view = window_warp(series, window_ratio=1.0, generator=seeded(1))
    torch.testing.assert_close(view, series)


# laws


def test_window_warp_keeps_ends_order_and_channels_together() -> None:
    ramp = torch.arange(50.0).expand(200, 2, -1)
    view = window_warp(ramp, generator=seeded(0))
    assert torch.equal(view[:, 0], view[:, 1])
    torch.testing.assert_close(view[..., 0], torch.zeros(200, 2))
    torch.testing.assert_close(view[..., -1], torch.full((200, 2), 49.0))
    assert (view.diff() > 0).all()


def test_window_warp_draws_place_and_scale_as_said() -> None:
    """On a ramp the slowest and the fastest pace of the view tell both parameters."""
    count, length, window = 4000, 100, 40
    ramp = torch.arange(float(length), dtype=torch.float64).expand(count, 1, -1)
    view = window_warp(ramp, generator=seeded(0))[:, 0]
    draws = torch.rand(2, count, 1, generator=seeded(0), dtype=torch.float64)
    sizes = (window * (0.9 + 1.1 * draws[1, :, 0])).floor()
    pace = view.diff().amin(1)
    expected = (length - window + sizes - 1) / (length - 1) * (window - 1) / (sizes - 1)
    slow = sizes > window
    torch.testing.assert_close(pace[slow], expected[slow])
    scale = sizes / window
    assert scale.mean().item() == pytest.approx(1.45 - 0.5 / window, abs=0.02)
    assert scale.var().item() == pytest.approx(1.1**2 / 12, rel=0.06)
    starts = (draws[0, :, 0] * (length - window + 1)).floor()
    assert starts.min() == 0
    assert starts.max() == length - window
    assert starts.mean().item() == pytest.approx((length - window) / 2, abs=1.0)


def test_long_series_are_read_at_the_right_place() -> None:
    series = torch.arange(10_000.0).expand(4, 1, -1)
    single = window_warp(series, generator=seeded(3))
    double = published_window_warp(np.arange(10_000.0), 10, 4000, 5000)
    assert single.shape == (4, 1, 10_000)
    positions = _window_positions(
        series, *(torch.tensor([[value]]) for value in (10_000, 10, 4000, 5000))
    )
    assert np.abs(positions[0].numpy() - double).max() < 5e-3


def test_time_warp_keeps_ends_order_and_channels_together() -> None:
    ramp = torch.arange(40.0).expand(300, 2, -1)
    view = time_warp(ramp, std=0.4, generator=seeded(0))
    assert torch.equal(view[:, 0], view[:, 1])
    assert view[..., 0].abs().max() == 0
    torch.testing.assert_close(view[..., -1], torch.full((300, 2), 39.0), rtol=0, atol=2e-3)
    assert (view.diff() > 0).all()
    # the mean warp is no warp, and its size grows with std
    middle = view[:, 0, 20]
    assert middle.mean().item() == pytest.approx(20.0, abs=4 * middle.std().item() / 300**0.5)
    calm = time_warp(ramp, std=0.1, generator=seeded(0))[:, 0, 20]
    assert 2 < (middle.std() / calm.std()).item() < 8


# complaints


def test_complaints_of_time_warp() -> None:
    series = torch.zeros(2, 1, 8)
    with pytest.raises(ValueError, match=r"time_warp: std must be >= 0; got -1"):
        time_warp(series, std=-1)
    with pytest.raises(ValueError, match=r"time_warp: knots must be >= 0; got -1"):
        time_warp(series, knots=-1)


def test_complaints_of_window_warp() -> None:
    series = torch.zeros(2, 1, 8)
    with pytest.raises(
        ValueError, match=r"window_warp: window_ratio must lie in \[0, 1\]; got 1.5"
    ):
        window_warp(series, window_ratio=1.5)
    with pytest.raises(ValueError, match=r"window_warp: window_ratio must be > 0; got 0"):
        window_warp(series, window_ratio=0.0)
    for bad in [(0.0, 1.0), (2.0, 1.0), (1.0, float("nan")), (1.0, float("inf"))]:
        with pytest.raises(ValueError, match=r"window_warp: scale_range must satisfy 0 < low <="):
            window_warp(series, scale_range=bad)
    with pytest.raises(ValueError, match=r"window_warp: scale_range must satisfy.*; got 1.5"):
        window_warp(series, scale_range=1.5)  # type: ignore[arg-type]
