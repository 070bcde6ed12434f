"""Channels on their own: formulas with the same draws, and the moments they promise."""

import pytest
import torch

from ssltok.augment import channel_dropout, scaling, shift, slope


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def series_of(seed: int = 0) -> torch.Tensor:
    return torch.randn(5, 3, 9, generator=seeded(seed), dtype=torch.float64) * 4 + 1


# oracle


def test_oracle_scaling() -> None:
    draws = torch.randn(5, 3, 1, generator=seeded(1), dtype=torch.float64)
    view = scaling(series_of(), std=0.4, generator=seeded(1))
    torch.testing.assert_close(view, series_of() * (1 + 0.4 * draws))


def test_oracle_shift_with_real_samples_only() -> None:
    series = series_of()
    valid = torch.arange(9) < torch.tensor([[9], [4], [1], [7], [2]])
    draws = torch.rand(5, 3, 1, generator=seeded(1), dtype=torch.float64) * 2 - 1
    view = shift(series, shift_ratio=0.7, valid=valid, generator=seeded(1))
    for b, n in enumerate([9, 4, 1, 7, 2]):
        for c in range(3):
            real = series[b, c, :n]
            expected = real + 0.7 * draws[b, c] * real.std(correction=0)
            torch.testing.assert_close(view[b, c, :n], expected)


def test_oracle_slope_counts_real_samples() -> None:
    series = series_of()
    valid = torch.tensor([False, True, True, False, True, True, True, False, True]).expand(5, -1)
    draws = torch.rand(5, 3, 1, generator=seeded(1), dtype=torch.float64) * 2 - 1
    view = slope(series, max_slope=0.3, valid=valid, generator=seeded(1))
    line = (view - series)[:, :, valid[0]]
    torch.testing.assert_close(line, 0.3 * draws * torch.arange(6.0, dtype=torch.float64))


def test_oracle_channel_dropout() -> None:
    series = torch.ones(200, 4, 2)
    draws = torch.rand(200, 4, 1, generator=seeded(1))
    view = channel_dropout(series, probability=0.6, generator=seeded(1))
    for b in range(200):
        kept = [u >= 0.6 for u in draws[b, :, 0].tolist()]
        if not any(kept):
            kept[int(draws[b, :, 0].argmax())] = True
        assert view[b, :, 0].tolist() == [float(k) for k in kept]


# known values


def test_moments() -> None:
    ones = torch.ones(10_000, 2, 3)
    factors = scaling(ones, generator=seeded(2))[..., 0]
    assert factors.mean().item() == pytest.approx(1.0, abs=0.003)
    assert factors.std().item() == pytest.approx(0.1, rel=0.03)
    assert abs(torch.corrcoef(factors.T)[0, 1].item()) < 0.04
    wave = torch.tensor([1.0, -1.0, 1.0, -1.0]).expand(10_000, 2, -1)
    moved = (shift(wave, generator=seeded(2)) - wave)[..., 0]
    assert moved.abs().max().item() <= 0.5
    assert moved.mean().item() == pytest.approx(0.0, abs=0.01)
    assert moved.std().item() == pytest.approx(1 / 12**0.5, rel=0.02)
    rises = slope(torch.zeros(10_000, 2, 2), max_slope=0.3, generator=seeded(2))[..., 1]
    assert rises.abs().max().item() <= 0.3
    assert rises.mean().item() == pytest.approx(0.0, abs=0.006)
    assert rises.std().item() == pytest.approx(0.6 / 12**0.5, rel=0.02)
    dropped = (channel_dropout(torch.ones(10_000, 6, 1), generator=seeded(2)) == 0).float()
    assert dropped.mean().item() == pytest.approx(0.2, abs=0.007)


def test_a_constant_channel_does_not_move() -> None:
    series = torch.full((3, 2, 7), 5.0, requires_grad=True)
    view = shift(series)
    torch.testing.assert_close(view, series)
    view.sum().backward()
    assert series.grad is not None
    assert torch.isfinite(series.grad).all()


def test_a_series_is_never_silenced() -> None:
    view = channel_dropout(torch.ones(500, 3, 2), probability=1.0, generator=seeded(0))
    assert (view.sum(1) == 1).all()
    assert (view[..., 0].sum(0) > 100).all()
    single = torch.randn(5, 1, 4, generator=seeded(0))
    assert torch.equal(channel_dropout(single, probability=1.0), single)


# complaints


def test_complaints() -> None:
    series = torch.zeros(2, 1, 8)
    with pytest.raises(ValueError, match=r"scaling: std must be >= 0; got -0.1"):
        scaling(series, std=-0.1)
    with pytest.raises(ValueError, match=r"shift: shift_ratio must be >= 0; got -0.1"):
        shift(series, shift_ratio=-0.1)
    with pytest.raises(ValueError, match=r"slope: max_slope must be >= 0; got nan"):
        slope(series, max_slope=float("nan"))
    with pytest.raises(ValueError, match=r"channel_dropout: probability must lie in \[0, 1\]; got"):
        channel_dropout(series, probability=-0.5)
