"""Digits in float32: features of unequal scales, or far from 0, against the same loss in float64.

The loss in float64 is held to its paper in `test_contract.py` and in the parity of each loss.
"""

import pytest
import torch
from torch import Tensor

from ssltok import losses
from ssltok._shared import sizes
from tests.losses.test_contract import call

FEATURES = ["barlow_twins_loss", "vibcreg_loss", "vicreg_loss", "w_mse_loss"]
SHAPES = [(12, 40), (40, 12), (64, 128), (96, 128)]
SPREADS = {
    "one of 1e2": lambda dim: one_large(dim, 1e2),
    "one of 1e3": lambda dim: one_large(dim, 1e3),
    "one of 1e4": lambda dim: one_large(dim, 1e4),
    "two of 3e4": lambda dim: one_large(dim, 3e4) * one_large(dim, 3e4).roll(3),
    "1 to 1e4": lambda dim: torch.logspace(0, 4, dim),
}


def one_large(dim: int, scale: float) -> Tensor:
    spread = torch.ones(dim)
    spread[dim // 2] = scale
    return spread


@pytest.fixture(params=[2**40, 0, None], ids=["small", "large", "as it is"], name="side")
def switches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        monkeypatch.setattr(sizes, "PRODUCT_ROWS", request.param)


def views(batch: int, dim: int, spread: Tensor, mean: float = 0.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(batch + dim)
    both = torch.randn(2, batch, dim, generator=generator)
    both[1] = 0.8 * both[0] + 0.6 * both[1]
    return [spread * z + mean for z in both]


def errors(name: str, inputs: list[Tensor]) -> tuple[float, float]:
    """The relative error of the value, and the largest of a feature's gradient."""
    results = []
    for dtype in (torch.float32, torch.float64):
        leaves = [z.to(dtype).requires_grad_() for z in inputs]
        value = call(name, *leaves)
        results.append((value.detach().double(), torch.autograd.grad(value, leaves)))
    (value, slopes), (exact, wanted) = results
    worst = 0.0
    for slope, want in zip(slopes, wanted, strict=True):
        error = (slope.double() - want).abs().amax(0) / want.abs().amax(0)
        worst = max(worst, float(error.max()))
    return float((value - exact).abs() / exact.abs()), worst


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("batch", "dim"), SHAPES)
@pytest.mark.parametrize("name", FEATURES)
def test_features_of_unequal_scales(name: str, batch: int, dim: int, spread: str) -> None:
    if name == "w_mse_loss" and batch <= dim:
        pytest.skip("whitens fewer features than rows")
    value, gradient = errors(name, views(batch, dim, SPREADS[spread](dim)))
    assert value <= 1e-5
    assert gradient <= 1e-4


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("mean", [-1e2, 1e3, 1e4])
@pytest.mark.parametrize(("batch", "dim"), SHAPES)
@pytest.mark.parametrize("name", FEATURES)
def test_features_far_from_zero(name: str, batch: int, dim: int, mean: float) -> None:
    """The inputs are the rounded numbers, in both precisions: none of their digits is lost."""
    if name == "w_mse_loss" and batch <= dim:
        pytest.skip("whitens fewer features than rows")
    value, gradient = errors(name, views(batch, dim, torch.linspace(1, 2, dim), mean))
    assert value <= 1e-5
    assert gradient <= 1e-4


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("seed", range(5))
def test_a_sum_of_squares_is_not_negative(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(64, 128, generator=generator) * one_large(128, 3e4)
    assert losses.vicreg_terms(z, z).covariance >= 0
    assert losses.vibcreg_terms(z, z).covariance >= 0
    assert losses.barlow_twins_terms(z, z).redundancy >= 0
