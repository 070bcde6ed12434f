"""Inputs of two precisions: a teacher's or a second view's need not have the student's dtype."""

import pytest
import torch

from ssltok._shared import sizes
from tests.losses.test_contract import CASES, call, draw

NAMES = [name for name in CASES if sum(x.is_floating_point() for x in draw(name)) > 1]


@pytest.mark.parametrize("side", [0, 2**40])
@pytest.mark.parametrize("other", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_those_of_equal_precision(
    name: str, other: torch.dtype, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both sides of the switches between fast and plain forms."""
    for switch in ("CACHED_NUMBERS", "PRODUCT_ROWS", "FEW_NUMBERS"):
        monkeypatch.setattr(sizes, switch, side)
    first, *others = draw(name)
    others = [x.to(other) if x.is_floating_point() else x for x in others]
    wide = [x.double() if x.is_floating_point() else x for x in others]
    leaf, exact = first.clone().requires_grad_(), first.double().requires_grad_()
    value, expected = call(name, leaf, *others), call(name, exact, *wide)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    slope, wanted = torch.autograd.grad(value, leaf)[0], torch.autograd.grad(expected, exact)[0]
    assert slope.dtype == torch.float32
    torch.testing.assert_close(slope.double(), wanted, rtol=1e-4, atol=1e-5)
