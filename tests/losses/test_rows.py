"""Rows at the ends of the range: of norm 0, and too long to be squared in float32."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch

from ssltok import losses
from ssltok._shared import sizes
from tests.device_path import DevicePath
from tests.losses.test_contract import CASES, NAMES, call, draw, gradients

SCALE_FREE = {  # losses of directions alone, and the inputs whose length they do not see
    "cosine_regression_loss": (0, 1),
    "dcl_loss": (0, 1),
    "dclw_loss": (0, 1),
    "emp_ssl_loss": (0, 1, 2),
    "gram_anchoring_loss": (0, 1),
    "info_nce_loss": (0, 1, 2),
    "koleo_loss": (0,),
    "labelled_nt_xent_loss": (0,),
    "mmcr_loss": (0, 1, 2),
    "multi_similarity_loss": (0,),
    "negative_cosine_loss": (0, 1),
    "nepa_loss": (0, 1),
    "nnclr_loss": (0, 1),
    "nt_xent_loss": (0, 1, 2),
    "region_distillation_loss": (2, 3),
    "repa_loss": (0, 1),
    "ressl_loss": (0, 1, 2),
    "simdino_loss": (0, 1),
    "supcon_loss": (0,),
    "tico_loss": (0, 1),
    "triplet_loss": (0, 1, 2),
    "vf_loss": (0, 1),
}


@pytest.fixture(params=["small", "large", "on a device"], name="side")
def switches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for switch in ("CACHED_NUMBERS", "FEW_NUMBERS", "FEW_SIMILARITIES", "PRODUCT_ROWS"):
        monkeypatch.setattr(sizes, switch, 0 if request.param == "large" else 2**40)
    with DevicePath() if request.param == "on a device" else nullcontext():
        yield


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_zero_rows_have_a_bounded_gradient(name: str, dtype: torch.dtype) -> None:
    """One row of each input in turn, and of all: bounded, and not 1e12."""
    inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in draw(name))
    floating = [i for i, x in enumerate(inputs) if x.is_floating_point()]
    _, usual = gradients(name, inputs)
    bound = 1000 * max(float(g.abs().max()) for g in usual if g is not None)
    for places in [*([i] for i in floating), floating]:
        for rows in (slice(0, 1), slice(0, 2), slice(None)):
            changed = [x.clone() for x in inputs]
            for place in places:
                changed[place].flatten(0, -2)[rows] = 0
            value, found = gradients(name, tuple(changed))
            assert value.isfinite()
            for gradient in found:
                if gradient is not None:
                    assert gradient.isfinite().all()
                    assert gradient.abs().max() <= bound


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("name", SCALE_FREE)
@pytest.mark.parametrize("scale", [2.0**-20, 2.0**66, 2.0**100])
def test_the_length_of_a_row_is_no_matter(name: str, scale: float) -> None:
    """Also where its square is infinite in float32; gradients shrink as the row grows."""
    inputs = draw(name)
    expected, slopes = gradients(name, inputs)
    assert set(SCALE_FREE[name]) <= set(range(len(inputs)))
    for place in SCALE_FREE[name]:
        changed = list(inputs)
        changed[place] = changed[place].clone()
        changed[place].flatten(0, -2)[::3] *= scale
        value, found = gradients(name, tuple(changed))
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
        for index, (gradient, slope) in enumerate(zip(found, slopes, strict=True)):
            if gradient is None or slope is None:
                continue
            assert gradient.isfinite().all()
            back = gradient.clone()
            if index == place:
                back.flatten(0, -2)[::3] *= scale
            torch.testing.assert_close(back, slope, rtol=1e-3, atol=1e-5)


def test_every_loss_that_sees_no_length_is_listed() -> None:
    free = set()
    for name in NAMES:
        inputs = draw(name)
        first = CASES[name].targets == (0,)
        scaled = [2 * x if i == first else x for i, x in enumerate(inputs)]
        if torch.allclose(call(name, *scaled), call(name, *inputs), rtol=1e-5):
            free.add(name)
    whole = {  # no row alone, but all of a view
        "barlow_twins_loss", "cka_loss", "d_axis_distillation_loss", "frossl_loss", "w_mse_loss"
    }  # fmt: skip
    others = {"region_distillation_loss"}  # which has an input of another kind
    assert free == set(SCALE_FREE) - others | whole


def test_a_row_of_zeros_agrees_with_none() -> None:
    zero, other = torch.zeros(2, 3, requires_grad=True), torch.tensor([[1.0, 2.0, 3.0], [1, 0, 0]])
    loss = losses.negative_cosine_loss(zero, other)
    (gradient,) = torch.autograd.grad(loss, zero)
    assert loss == 0
    assert not gradient.any()
