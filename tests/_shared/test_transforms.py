"""Looking at values: only where that costs no wait and binds no graph, and with equal results."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from ssltok import losses, state
from ssltok._shared.numerics import standardize
from ssltok._shared.transforms import can_be_read
from tests.device_path import DevicePath
from tests.losses.test_contract import NAMES, draw, gradients

pytestmark = pytest.mark.usefixtures("quick_forward")


def seen(tensor: Tensor) -> Tensor:
    """As a tensor of the argument's kind, so that it can leave any transform."""
    return tensor * 0 + float(can_be_read(tensor))


def test_what_can_be_read() -> None:
    x = torch.ones(3)
    assert can_be_read(x)
    assert can_be_read(nn.Parameter(x))
    assert torch.func.grad(lambda y: (y * seen(y)).sum())(x).eq(1).all()
    assert torch.func.jvp(seen, (x,), (x,))[0].eq(1).all()


def test_what_cannot_be_read() -> None:
    x = torch.ones(3)
    assert not can_be_read(x.to("meta"))
    assert torch.func.vmap(seen)(x).eq(0).all()
    assert torch.func.vmap(torch.func.grad(lambda y: y * seen(y)))(x).eq(0).all()
    assert torch.compile(seen, backend="eager", fullgraph=True)(x).eq(0).all()
    assert make_fx(seen)(x)(x).eq(0).all()
    with DevicePath():
        assert not can_be_read(x)
    with FakeTensorMode():
        assert not can_be_read(torch.ones(3))
    assert can_be_read(x)


@pytest.mark.parametrize("name", NAMES)
def test_both_ways_of_a_loss_agree(name: str) -> None:
    """Ordinary inputs cost the same with and without looking, and no warning."""
    inputs = draw(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        value, slopes = gradients(name, inputs)
    with DevicePath():
        other, others = gradients(name, inputs)
    torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6)
    for slope, expected in zip(slopes, others, strict=True):
        if slope is not None and expected is not None:
            torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("far", [0.0, 3.0, 30.0])
def test_both_ways_of_standardising_agree(far: float) -> None:
    z = far + torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    z[:, 1] = 7.0  # constant
    with DevicePath():
        expected = standardize(z)
    torch.testing.assert_close(standardize(z), expected, rtol=1e-5, atol=1e-5)
    assert not standardize(z)[:, 1].any()


@pytest.mark.parametrize("rows", [0, 1, 5, 8, 19])
@pytest.mark.parametrize("lost", [None, 0, -1])
def test_both_ways_of_a_state_agree(rows: int, lost: int | None) -> None:
    """With and without a row that is lost, and more rows than a queue holds."""
    generator = torch.Generator().manual_seed(rows)
    features = torch.randn(2, rows, 3, generator=generator)
    if lost is not None and rows:
        features[1, lost, 1] = torch.nan
    build: list[Callable[[], state.RunningCenter | state.FeatureQueue]] = [
        lambda: state.RunningCenter(3),
        lambda: state.FeatureQueue(8, 3, generator=torch.Generator().manual_seed(1)),
    ]
    for make in build:
        seen, other = make(), make()
        for batch in features:
            seen.update(batch)
            with DevicePath():
                other.update(batch)
        for name, buffer in seen.state_dict().items():
            torch.testing.assert_close(buffer, other.state_dict()[name])
            assert buffer.isfinite().all()


@pytest.mark.parametrize("name", ["info_nce_loss", "koleo_loss", "supcon_loss", "triplet_loss"])
@pytest.mark.parametrize("scale", [1.0, 2.0**66, 0.0])
def test_directions_have_forward_derivatives(name: str, scale: float) -> None:
    first, *rest = (x.double() if x.is_floating_point() else x for x in draw(name))
    first = first.clone()
    first[0] *= scale
    tangent = torch.randn(first.shape, generator=torch.Generator().manual_seed(0)).double()

    def loss(rows: Tensor) -> Tensor:
        value: Tensor = getattr(losses, name)(rows, *rest)
        return value

    forward = torch.func.jvp(loss, (first,), (tangent,))[1]
    backward = (torch.func.grad(loss)(first) * tangent).sum()
    torch.testing.assert_close(forward, backward)
