"""Numerics: each against its definition, and both forms of a sum against each other."""

import pytest
import torch

from ssltok._shared import numerics


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_upcast(dtype: torch.dtype, wide: torch.dtype) -> None:
    assert numerics.upcast(torch.zeros(2, dtype=dtype)).dtype == wide


def test_full_precision_switches_autocast_off() -> None:
    z = torch.randn(3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (z @ z).dtype == torch.bfloat16
        with numerics.full_precision(z):
            assert (z @ z).dtype == torch.float32


def test_center_and_standardize() -> None:
    z = 3 * draw(7, 4) + 5
    z[:, 2] = 8.0
    centered, standard = numerics.center(z), numerics.standardize(z, eps=0.01)
    for i in range(4):
        column = z[:, i] - z[:, i].sum() / 7
        torch.testing.assert_close(centered[:, i], column)
        torch.testing.assert_close(
            standard[:, i], column / ((column**2).sum() / 7 + 0.01) ** 0.5, rtol=1e-12, atol=1e-12
        )
    assert torch.equal(standard[:, 2], torch.zeros(7, dtype=torch.float64))


def test_off_diagonal() -> None:
    matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(numerics.off_diagonal(matrix), torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
