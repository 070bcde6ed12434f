"""Targets of masked feature prediction: slopes and spectra of patches."""

import cmath
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.signal import patch_spectrum, slope_histogram

TARGETS: dict[str, Callable[..., Tensor]] = {
    "slope_histogram": slope_histogram,
    "patch_spectrum": patch_spectrum,
}
every = pytest.mark.parametrize("name", TARGETS)


def some(batch: int, channels: int, length: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    series = torch.randn(batch, channels, length, generator=generator, dtype=torch.float64)
    return series, torch.rand(batch, length, generator=generator) < 0.7


# Oracle ---------------------------------------------------------------------------------------


def naive_histogram(
    x: list[float], real: list[bool], patch: int, bins: int, unit: float
) -> list[list[float]]:
    """One channel of one series, sample by sample."""
    out = [[0.0] * bins for _ in range(math.ceil(len(x) / patch))]
    for t in range(len(x)):
        ends = [s for s in (t - 1, t, t + 1) if 0 <= s < len(x) and real[s]]
        if not real[t] or len(ends) < 2:
            continue
        slope = (x[ends[-1]] - x[ends[0]]) / (ends[-1] - ends[0]) / unit
        angle = math.degrees(math.atan2(slope, 1))
        k = min(int((angle + 90) // (180 / bins)), bins - 1)
        out[t // patch][k] += math.hypot(1, slope)
    norms = [math.sqrt(sum(v * v for v in h)) for h in out]
    return [[v / (n or 1) for v in h] for h, n in zip(out, norms, strict=True)]


@given(
    st.integers(1, 20), st.integers(1, 7), st.integers(1, 10), st.floats(0.1, 5), st.integers(0, 99)
)
def test_slopes_are_counted_one_by_one(
    length: int, patch: int, bins: int, unit: float, seed: int
) -> None:
    series, valid = some(2, 3, length, seed)
    found = slope_histogram(series, patch=patch, bins=bins, unit_slope=unit, valid=valid)
    assert found.shape == (2, math.ceil(length / patch), 3 * bins)
    for row in range(2):
        for channel in range(3):
            real = valid[row].tolist()
            expected = naive_histogram(series[row, channel].tolist(), real, patch, bins, unit)
            own = found[row, :, channel * bins : (channel + 1) * bins]
            torch.testing.assert_close(own, torch.tensor(expected, dtype=torch.float64))


@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 99))
def test_the_spectrum_is_the_fourier_sum(length: int, patch: int, seed: int) -> None:
    series, valid = some(2, 3, length, seed)
    found = patch_spectrum(series, patch=patch, valid=valid)
    bins, tokens = patch // 2 + 1, math.ceil(length / patch)
    assert found.shape == (2, tokens, 3 * bins)
    for row in range(2):
        for channel in range(3):
            x = [
                v if r else 0.0
                for v, r in zip(series[row, channel].tolist(), valid[row], strict=True)
            ]
            x += [0.0] * (tokens * patch - length)
            for token in range(tokens):
                part = x[token * patch : (token + 1) * patch]
                for k in range(bins):
                    wave = [cmath.exp(-2j * cmath.pi * k * n / patch) for n in range(patch)]
                    amplitude = abs(sum(a * w for a, w in zip(part, wave, strict=True)))
                    value = float(found[row, token, channel * bins + k])
                    assert value == pytest.approx(amplitude / math.sqrt(patch), abs=1e-12)


# Known values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slope", "bin_"), [(-5, 0), (-0.5, 1), (0, 2), (0.3, 2), (0.5, 3), (5, 4)]
)
def test_a_line_is_drawn_in_one_direction(slope: float, bin_: int) -> None:
    """Five bins of 36 degrees; 0.3 is 16.7 degrees, 0.5 is 26.6, 5 is 78.7."""
    line = slope * torch.arange(8.0).expand(1, 1, -1)
    assert (
        slope_histogram(line, patch=4, bins=5)[0].tolist()
        == [[float(k == bin_) for k in range(5)]] * 2
    )


def test_the_unit_of_the_slope() -> None:
    """A slope of 3 units in units of 3 is 45 degrees: the third of four quarters."""
    line = 3 * torch.arange(6.0).expand(1, 1, -1)
    found = slope_histogram(line, patch=6, bins=4, unit_slope=2.999)
    assert found.tolist() == [[[0.0, 0.0, 0.0, 1.0]]]
    found = slope_histogram(line, patch=6, bins=4, unit_slope=3.001)
    assert found.tolist() == [[[0.0, 0.0, 1.0, 0.0]]]


def test_the_steepest_slope_falls_into_the_last_bin() -> None:
    x = torch.tensor([[[0.0, 1e9, 0.0]]])
    found = slope_histogram(x, patch=1, bins=3, unit_slope=1e-6)
    assert found[0].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_energy_is_kept() -> None:
    """Parseval: inner frequencies count twice."""
    series, _ = some(2, 1, 12)
    power = patch_spectrum(series, patch=6).square() * torch.tensor([1.0, 2.0, 2.0, 1.0])
    expected = series.view(2, 2, 6).square().sum(-1)
    torch.testing.assert_close(power.sum(-1), expected)


# Laws -----------------------------------------------------------------------------------------


@every
def test_padding_is_not_read(name: str) -> None:
    series, _ = some(2, 3, 20)
    valid = torch.arange(20).expand(2, -1) < torch.tensor([[20], [13]])
    padded = series.masked_fill(~valid[:, None], torch.nan)
    found = TARGETS[name](padded, patch=5, valid=valid)
    assert found.isfinite().all()
    torch.testing.assert_close(found[:1], TARGETS[name](series[:1], patch=5))
    torch.testing.assert_close(found[1:, :3], TARGETS[name](series[1:, :, :13], patch=5))
    assert (found[1:, 3:] == 0).all()


@every
def test_it_is_a_target_in_full_precision(name: str) -> None:
    series, _ = some(2, 3, 20)
    leaf = series.clone().requires_grad_()
    assert not TARGETS[name](leaf, patch=5).requires_grad
    low = TARGETS[name](series.bfloat16(), patch=5)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, TARGETS[name](series.bfloat16().float(), patch=5))


def test_level_and_scale_of_the_slope_unit() -> None:
    series, _ = some(2, 3, 20)
    found = slope_histogram(series, patch=5)
    torch.testing.assert_close(slope_histogram(series + 7, patch=5), found)
    torch.testing.assert_close(slope_histogram(4 * series, patch=5, unit_slope=4), found)
    mirrored = slope_histogram(-series, patch=5).unflatten(2, (3, 9)).flip(3).flatten(2)
    torch.testing.assert_close(mirrored, found)
    norms = found.unflatten(2, (3, 9)).norm(dim=3)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_a_patch_s_spectrum_knows_no_other_patch() -> None:
    series, _ = some(1, 1, 20)
    other = series.clone()
    other[..., :5] = 9
    assert torch.equal(
        patch_spectrum(other, patch=5)[:, 1:], patch_spectrum(series, patch=5)[:, 1:]
    )


@every
def test_one_graph(name: str) -> None:
    series, valid = some(2, 3, 20)
    compiled = torch.compile(TARGETS[name], fullgraph=True, backend="eager")
    expected = TARGETS[name](series, patch=6, valid=valid)
    torch.testing.assert_close(compiled(series, patch=6, valid=valid), expected)


# Complaints -----------------------------------------------------------------------------------


@every
def test_complaints(name: str) -> None:
    target, series = TARGETS[name], torch.randn(2, 3, 8)
    with pytest.raises(ValueError, match=rf"{name}: patch must be >= 1; got 0"):
        target(series, patch=0)
    with pytest.raises(ValueError, match=rf"{name}: series must be \(batch, channels, length\)"):
        target(series[0], patch=2)
    with pytest.raises(
        ValueError, match=rf"{name}: series must be floating point; got torch.int64"
    ):
        target(series.long(), patch=2)
    with pytest.raises(ValueError, match=rf"{name}: series.numel\(\) must be >= 1; got 0"):
        target(series[:, :, :0], patch=2)
    with pytest.raises(ValueError, match=rf"{name}: valid must have shape \(2, 8\); got \(2, 4\)"):
        target(series, patch=2, valid=torch.ones(2, 4, dtype=torch.bool))


def test_complaints_of_the_histogram() -> None:
    series = torch.randn(2, 3, 8)
    with pytest.raises(ValueError, match=r"slope_histogram: bins must be >= 1; got 0"):
        slope_histogram(series, patch=2, bins=0)
    with pytest.raises(ValueError, match=r"slope_histogram: unit_slope must be > 0; got 0"):
        slope_histogram(series, patch=2, unit_slope=0)
