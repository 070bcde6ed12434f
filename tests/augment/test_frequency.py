"""The spectrum: numpy's Fourier transform with the same draws, series by series."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import hilbert

from ssltok.augment import band_removal, frequency_mask, phase_shift


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# oracle


@given(length=st.integers(2, 50), ratio=st.floats(0, 1), seed=st.integers(0, 99))
def test_oracle_frequency_mask(length: int, ratio: float, seed: int) -> None:
    series = torch.randn(3, 2, length, generator=seeded(seed), dtype=torch.float64)
    draws = torch.rand(3, length // 2 + 1, generator=seeded(seed + 1), dtype=torch.float64)
    view = frequency_mask(series, mask_ratio=ratio, generator=seeded(seed + 1))
    for b in range(3):
        for c in range(2):
            spectrum = np.fft.rfft(series[b, c].numpy())
            spectrum[draws[b].numpy() < ratio] = 0
            expected = np.fft.irfft(spectrum, n=length)
            np.testing.assert_allclose(view[b, c].numpy(), expected, atol=1e-10)


@given(length=st.integers(2, 50), ratio=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_oracle_band_removal(length: int, ratio: float, seed: int) -> None:
    series = torch.randn(3, 2, length, generator=seeded(seed), dtype=torch.float64)
    draws = torch.rand(3, 1, generator=seeded(seed + 1), dtype=torch.float64)
    view = band_removal(series, band_ratio=ratio, generator=seeded(seed + 1))
    bins = length // 2 + 1
    width = max(1, round(ratio * bins))
    for b in range(3):
        first = int(draws[b].item() * (bins - width + 1))
        spectrum = np.fft.rfft(series[b, 1].numpy())
        spectrum[first : first + width] = 0
        expected = np.fft.irfft(spectrum, n=length)
        np.testing.assert_allclose(view[b, 1].numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("length", [3, 15, 31])
def test_oracle_phase_shift_by_the_hilbert_transform(length: int) -> None:
    series = torch.randn(3, 2, length, generator=seeded(0), dtype=torch.float64)
    draws = torch.rand(3, 1, generator=seeded(1), dtype=torch.float64) * 2 - 1
    view = phase_shift(series, max_angle=2.0, generator=seeded(1))
    for b in range(3):
        angle = 2.0 * draws[b].item()
        for c in range(2):
            values = series[b, c].numpy()
            turned = np.imag(hilbert(values - values.mean()))
            expected = (values - values.mean()) * math.cos(angle) - turned * math.sin(angle)
            np.testing.assert_allclose(view[b, c].numpy(), expected + values.mean(), atol=1e-10)


# known values


def test_a_wave_is_turned_by_the_angle() -> None:
    time = torch.arange(24.0, dtype=torch.float64) * 2 * math.pi * 3 / 24
    draws = torch.rand(5, 1, generator=seeded(0), dtype=torch.float64) * 2 - 1
    view = phase_shift(torch.cos(time).expand(5, 1, -1), generator=seeded(0))
    torch.testing.assert_close(view[:, 0], torch.cos(time + draws * math.pi / 4))


def test_mean_and_highest_frequency_have_no_phase() -> None:
    mean = torch.full((4, 1, 8), 3.0)
    highest = torch.tensor([1.0, -1.0] * 4).expand(4, 1, -1)
    torch.testing.assert_close(phase_shift(mean), mean)
    torch.testing.assert_close(phase_shift(highest), highest)


def test_as_many_frequencies_go_as_said() -> None:
    impulse = torch.zeros(500, 1, 200, dtype=torch.float64)
    impulse[..., 0] = 1.0  # all frequencies alike
    sizes = torch.fft.rfft(frequency_mask(impulse, generator=seeded(0))).abs()
    assert (sizes < 1e-9).double().mean().item() == pytest.approx(0.1, abs=0.006)
    gone = torch.fft.rfft(band_removal(impulse, band_ratio=0.2, generator=seeded(0))).abs() < 1e-9
    assert (gone.sum(-1) == 20).all()
    first = gone[:, 0].double().argmax(-1).double()
    assert first.mean().item() == pytest.approx(81 / 2, abs=4.5)
    assert (first.min().item(), first.max().item()) == (0.0, 81.0)


def test_energy_stays_under_phase_shift() -> None:
    series = torch.randn(6, 2, 33, generator=seeded(0), dtype=torch.float64)
    view = phase_shift(series, max_angle=math.pi, generator=seeded(1))
    torch.testing.assert_close(view.square().sum(-1), series.square().sum(-1))


def test_padding_is_replaced_by_the_reflected_series() -> None:
    series = torch.randn(1, 2, 5, generator=seeded(0), dtype=torch.float64)
    valid = (torch.arange(12) < 5)[None]
    padded = torch.cat([series, torch.full((1, 2, 7), torch.nan, dtype=torch.float64)], -1)
    reflected = torch.tensor(np.pad(series.numpy(), [(0, 0), (0, 0), (0, 7)], mode="reflect"))
    view = phase_shift(padded, valid=valid, generator=seeded(1))
    expected = phase_shift(reflected, generator=seeded(1))
    torch.testing.assert_close(view[..., :5], expected[..., :5])


# complaints


def test_complaints() -> None:
    series = torch.zeros(2, 1, 8)
    with pytest.raises(ValueError, match=r"frequency_mask: mask_ratio must lie in \[0, 1\]; got 2"):
        frequency_mask(series, mask_ratio=2)
    with pytest.raises(ValueError, match=r"band_removal: band_ratio must lie in \[0, 1\]; got 2"):
        band_removal(series, band_ratio=2)
    with pytest.raises(ValueError, match=r"band_removal: band_ratio must be > 0; got 0"):
        band_removal(series, band_ratio=0.0)
    with pytest.raises(ValueError, match=r"phase_shift: max_angle must be >= 0; got -1"):
        phase_shift(series, max_angle=-1)
    with pytest.raises(ValueError, match=r"phase_shift: max_angle must be <= pi; got 4"):
        phase_shift(series, max_angle=4)
