"""Standardise by training statistics: numpy's numbers, and constants keep their units."""

import numpy as np
import pytest
import torch

from ssltok.evaluation import mean_and_scale


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("dims", [(0,), (0, 2)])
def test_is_that_of_numpy_without_what_is_missing(dims: tuple[int, ...], correction: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = 3 + 2 * torch.randn(9, 4, 5, generator=generator)
    x[2:5, 1, 3] = torch.nan
    mean, scale = mean_and_scale(x, dims, correction=correction)
    array = x.double().numpy()
    np.testing.assert_allclose(mean, np.nanmean(array, dims, keepdims=True))
    np.testing.assert_allclose(scale, np.nanstd(array, dims, ddof=correction, keepdims=True))


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e8])
def test_a_constant_has_scale_one(value: float) -> None:
    mean, scale = mean_and_scale(torch.full((50, 3), value), (0,))
    assert torch.equal(scale, torch.ones(1, 3, dtype=torch.float64))
    torch.testing.assert_close(mean, torch.full((1, 3), value).double(), rtol=1e-6, atol=0)
    wobbly = torch.full((50, 1), value).double() * (1 + 1e-8 * torch.arange(50.0)[:, None])
    assert float(mean_and_scale(wobbly, (0,), computed_in=torch.float32)[1]) == 1


def test_a_small_unit_is_no_constant() -> None:
    x = 1e-9 * torch.tensor([[-1.0], [1.0]])
    assert float(mean_and_scale(x, (0,))[1]) == pytest.approx(1e-9)


def test_a_small_deviation_that_float32_can_hold_is_no_constant() -> None:
    """Air pressure in pascals: 101,325 give or take 1 is 130 steps of float32, not rounding."""
    x = 101_325 + torch.tensor([[-1.0], [1.0]])
    assert float(mean_and_scale(x, (0,))[1]) == 1.0
    x = 101_325 + torch.tensor([[-4.0], [4.0]])
    assert float(mean_and_scale(x, (0,))[1]) == 4.0
