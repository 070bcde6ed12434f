"""Reconstruction error against plain sums, with and without padding."""

import math

import pytest
import torch

from ssltok.metrics import reconstruction_error

GENERATOR = torch.Generator().manual_seed(0)
SERIES = torch.randn(3, 2, 5, generator=GENERATOR)
OTHER = torch.randn(3, 2, 5, generator=GENERATOR)


# Oracle.


def test_agrees_with_torchs_losses() -> None:
    error = reconstruction_error(SERIES, OTHER)
    a, b = SERIES.double(), OTHER.double()
    torch.testing.assert_close(error.mse, torch.nn.functional.mse_loss(b, a))
    torch.testing.assert_close(error.mae, torch.nn.functional.l1_loss(b, a))


def test_only_valid_points_count() -> None:
    valid = torch.rand(3, 2, 5, generator=GENERATOR) > 0.4
    error = reconstruction_error(SERIES, OTHER, valid=valid)
    d = (SERIES.double() - OTHER.double())[valid]
    torch.testing.assert_close(error.mse, d.square().mean())
    torch.testing.assert_close(error.mae, d.abs().mean())


# Known values and laws.


def test_an_offset() -> None:
    error = reconstruction_error(SERIES.double(), SERIES.double() + 2)
    assert error.mse.item() == pytest.approx(4)
    assert error.mae.item() == pytest.approx(2)


def test_padding_cannot_leak_even_when_it_is_nan() -> None:
    series = SERIES.clone()
    series[0, 0, 3:] = math.nan
    error = reconstruction_error(series, OTHER, valid=~series.isnan())
    assert math.isfinite(error.mse.item())
    assert math.isnan(reconstruction_error(series, OTHER).mse.item())


def test_nothing_valid_is_undefined() -> None:
    error = reconstruction_error(SERIES, OTHER, valid=torch.zeros(3, 2, 5, dtype=torch.bool))
    assert math.isnan(error.mse.item())


def test_units() -> None:
    once, thrice = reconstruction_error(SERIES, OTHER), reconstruction_error(3 * SERIES, 3 * OTHER)
    torch.testing.assert_close(thrice.mse, 9 * once.mse, rtol=1e-6, atol=0)
    torch.testing.assert_close(thrice.mae, 3 * once.mae, rtol=1e-6, atol=0)


# Complaints.


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"series and reconstruction must share one shape; got"):
        reconstruction_error(SERIES, OTHER[:2])
    with pytest.raises(ValueError, match=r"series must be \(cases, channels, length\); got shape"):
        reconstruction_error(SERIES[0], OTHER[0])
    with pytest.raises(ValueError, match=r"valid must have shape \(3, 2, 5\); got \(3, 1, 5\)$"):
        reconstruction_error(SERIES, OTHER, valid=torch.ones(3, 1, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"^reconstruction_error: points must be >= 1; got 0$"):
        reconstruction_error(SERIES[:0], OTHER[:0])
