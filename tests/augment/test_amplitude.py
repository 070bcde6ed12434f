"""Noise and factors: formulas with the same draws, and the moments they promise."""

import pytest
import torch

from ssltok.augment import amplitude_resize, gaussian_noise


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# oracle


def test_oracle_amplitude_resize() -> None:
    series = torch.randn(5, 3, 9, generator=seeded(0), dtype=torch.float64)
    draws = torch.randn(5, 1, 1, generator=seeded(1), dtype=torch.float64)
    view = amplitude_resize(series, std=0.4, generator=seeded(1))
    for b in range(5):
        torch.testing.assert_close(view[b], series[b] * (1 + 0.4 * draws[b].item()))


def test_oracle_gaussian_noise() -> None:
    series = torch.randn(5, 3, 9, generator=seeded(0), dtype=torch.float64)
    draws = torch.randn(5, 3, 9, generator=seeded(1), dtype=torch.float64)
    view = gaussian_noise(series, std=0.3, generator=seeded(1))
    torch.testing.assert_close(view, series + 0.3 * draws)


# known values


def test_amplitude_resize_has_the_promised_moments() -> None:
    factors = amplitude_resize(torch.ones(20_000, 2, 3), generator=seeded(2))
    assert torch.equal(factors, factors[:, :1, :1].expand_as(factors))
    assert factors[:, 0, 0].mean().item() == pytest.approx(1.0, abs=4 * 0.2 / 20_000**0.5)
    assert factors[:, 0, 0].std().item() == pytest.approx(0.2, rel=0.03)


def test_gaussian_noise_has_the_promised_moments() -> None:
    noise = gaussian_noise(torch.full((100, 2, 1000), 3.0), generator=seeded(2)) - 3
    assert noise.mean().item() == pytest.approx(0.0, abs=4 * 0.05 / 200_000**0.5)
    assert noise.std().item() == pytest.approx(0.05, rel=0.01)
    kurtosis = (noise / noise.std()).pow(4).mean().item()
    assert kurtosis == pytest.approx(3.0, abs=0.1)
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean() / noise.var()
    channels = (noise[:, 0] * noise[:, 1]).mean() / noise.var()
    assert abs(neighbours.item()) < 0.01
    assert abs(channels.item()) < 0.015


def test_nothing_happens_at_std_zero() -> None:
    series = torch.randn(3, 2, 7, generator=seeded(0))
    assert torch.equal(amplitude_resize(series, std=0.0), series)
    assert torch.equal(gaussian_noise(series, std=0.0), series)


# complaints


@pytest.mark.parametrize("augmentation", [amplitude_resize, gaussian_noise])
@pytest.mark.parametrize("std", [-0.1, float("nan")])
def test_complaints(augmentation: type, std: float) -> None:
    with pytest.raises(ValueError, match=rf"{augmentation.__name__}: std must be >= 0; got {std}"):
        augmentation(torch.zeros(2, 1, 8), std=std)
