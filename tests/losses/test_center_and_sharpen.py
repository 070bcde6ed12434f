"""Centring and sharpening against their definition."""

import pytest
import torch
from torch import Tensor

from ssltok.losses import center_and_sharpen


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (5,)])
def test_it_is_a_softmax_of_centred_logits(shape: tuple[int, ...]) -> None:
    logits, center = draw(*shape), draw(5) + 1
    got = center_and_sharpen(logits, center, temperature=0.3).reshape(-1, 5)
    for row, probabilities in zip(logits.reshape(-1, 5), got, strict=True):
        weights = [((row[k] - center[k]) / 0.3).exp() for k in range(5)]
        torch.testing.assert_close(probabilities, torch.stack(weights) / sum(weights))


# --- known values ---------------------------------------------------------------------------


def test_the_centre_itself_is_uniform() -> None:
    center = 100 * draw(8)
    got = center_and_sharpen(center.expand(3, 8), center)
    assert torch.equal(got, torch.full((3, 8), 1 / 8, dtype=torch.float64))


def test_the_default_temperature_is_dino_s() -> None:
    logits, center = draw(3, 5), draw(5)
    expected = center_and_sharpen(logits / 0.04, center / 0.04, temperature=1.0)
    torch.testing.assert_close(center_and_sharpen(logits, center), expected)


# --- laws -----------------------------------------------------------------------------------


def test_no_gradient_flows() -> None:
    logits, center = draw(3, 5).requires_grad_(), draw(5).requires_grad_()
    assert not center_and_sharpen(logits, center).requires_grad


def test_wide_logits_in_half_precision() -> None:
    got = center_and_sharpen((1e4 * draw(3, 5)).half(), draw(5).half())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.sum(-1), torch.ones(3))


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logits", "center", "temperature", "said"),
    [
        (draw(3, 5), draw(4), 0.1, r"^center_and_sharpen: logits must have size 4 in dimension -1"),
        (draw(3, 5), draw(1, 5), 0.1, r"^center_and_sharpen: center must be \(codebook_size,\)"),
        (draw(3, 5), draw(5), 0.0, r"^center_and_sharpen: temperature must be > 0; got 0.0$"),
        (draw(3, 5).int(), draw(5), 0.1, r"^center_and_sharpen: logits must be floating point"),
        (draw(3, 5), draw(5).int(), 0.1, r"^center_and_sharpen: center must be floating point"),
        (
            torch.tensor(1.0),
            draw(5),
            0.1,
            r"^center_and_sharpen: logits must have a last axis; got shape",
        ),
    ],
)
def test_bad_input_is_refused(
    logits: Tensor, center: Tensor, temperature: float, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        center_and_sharpen(logits, center, temperature=temperature)
