"""The convolutional coder of series: a ResNet that halves, and its mirror, written out."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from ssltok.nn import ConvDecoder1d, ConvEncoder1d, ResNet1d

SIZES: dict[str, Any] = {"length": 22, "width": 6, "hidden_dim": 4, "blocks": 1, "kernel_size": 5}


def shaken(part: nn.Module) -> Any:
    for parameter in part.parameters():
        nn.init.normal_(parameter, std=0.5)
    return part.double().eval()


def norm(x: Tensor, state: Any) -> Tensor:
    scale, shift = next(state)[:, None], next(state)[:, None]
    normed: Tensor = x / (1 + 1e-5) ** 0.5 * scale + shift
    return normed


# Oracle ---------------------------------------------------------------------------------------


def test_encoder_is_the_resnet_and_a_normed_map() -> None:
    torch.manual_seed(0)
    encoder = shaken(ConvEncoder1d(2, 3, **SIZES))
    trunk = ResNet1d(
        2, widths=(4, 4), blocks=(1, 1), strides=(2, 2), kernel_size=5, stem_stride=1
    ).double()
    trunk.load_state_dict(encoder.trunk.state_dict())
    x = torch.randn(3, 2, 22, dtype=torch.float64)
    y = torch.einsum("oi,bit->bot", encoder.outward.weight[:, :, 0], trunk.eval()(x))
    torch.testing.assert_close(encoder(x), norm(y, iter(encoder.norm.parameters())))
    assert encoder.grid == (6,)


def test_decoder_is_the_mirrored_layer_list() -> None:
    """A transposed convolution is the gradient of the convolution it undoes."""
    torch.manual_seed(1)
    decoder = shaken(ConvDecoder1d(2, 3, **SIZES))
    state = iter(list(decoder.parameters()))

    def undo(x: Tensor, weight: Tensor, target: int) -> Tensor:
        wide = torch.zeros(3, 4, 2 * x.shape[2], dtype=x.dtype, requires_grad=True)
        narrow = functional.conv1d(wide, weight, stride=2, padding=1)
        return torch.autograd.grad(narrow, wide, x)[0][..., :target]

    z = torch.randn(3, 3, 6, dtype=torch.float64)
    y = norm(torch.einsum("oi,bit->bot", next(state)[:, :, 0], z), state).clamp(min=0)
    for target in (11, 22):
        inner = norm(functional.conv1d(y, next(state), padding=2), state).clamp(min=0)
        y = (y + norm(functional.conv1d(inner, next(state), padding=2), state)).clamp(min=0)
        y = norm(undo(y, next(state), target), state).clamp(min=0)
    y = functional.conv1d(y, next(state), next(state), padding=3)
    assert next(state, None) is None
    torch.testing.assert_close(decoder(z), y)


# Known values ---------------------------------------------------------------------------------


def test_grids() -> None:
    """50 samples are halved to 25, 13, 7; as many as are wished for are kept."""
    assert ConvEncoder1d(1, 2, length=50, width=8).grid == (7,)
    assert ConvEncoder1d(1, 2, length=50, width=50).grid == (50,)
    assert ConvDecoder1d(1, 2, length=3, width=8).grid == (3,)
    assert ConvDecoder1d(1, 2, length=4, width=1).grid == (1,)


# Laws -----------------------------------------------------------------------------------------


@given(
    channels=st.integers(1, 3),
    length=st.integers(1, 200),
    width=st.integers(1, 40),
    blocks=st.integers(1, 2),
)
def test_any_size(channels: int, length: int, width: int, blocks: int) -> None:
    sizes: dict[str, Any] = {"length": length, "width": width, "blocks": blocks, "hidden_dim": 2}
    encoder = ConvEncoder1d(channels, 3, **sizes)
    decoder = ConvDecoder1d(channels, 3, **sizes)
    latents = encoder(torch.randn(2, channels, length))
    assert encoder.grid == decoder.grid
    assert latents.shape == (2, 3, *encoder.grid)
    assert decoder(latents).shape == (2, channels, length)


def test_every_sample_is_read_and_written() -> None:
    encoder, decoder = shaken(ConvEncoder1d(2, 3, **SIZES)), shaken(ConvDecoder1d(2, 3, **SIZES))
    x = torch.randn(2, 2, 22, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(encoder(x).square().sum(), x)
    assert grad.abs().min() > 0
    z = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    for sample in (0, 10, 21):
        (grad,) = torch.autograd.grad(decoder(z)[..., sample].square().sum(), z)
        assert grad.abs().sum() > 0


def test_latents_have_unit_variance_in_training() -> None:
    latents = ConvEncoder1d(2, 3, **SIZES)(torch.randn(16, 2, 22))
    variance = latents.var(dim=(0, 2), correction=0)
    torch.testing.assert_close(variance, torch.ones(3), rtol=1e-2, atol=1e-2)
    assert latents.min() < 0


# Complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", [ConvEncoder1d, ConvDecoder1d])
def test_complaints(maker: type[ConvEncoder1d] | type[ConvDecoder1d]) -> None:
    who = maker.__name__
    for name in ("length", "width", "hidden_dim", "blocks"):
        with pytest.raises(ValueError, match=rf"{who}: {name} must be >= 1; got 0"):
            maker(2, 4, **{**SIZES, name: 0})
    for name, sizes in (("in_channels", (0, 4)), ("dim", (2, 0))):
        with pytest.raises(ValueError, match=rf"{who}: {name} must be >= 1; got 0"):
            maker(*sizes, **SIZES)
    with pytest.raises(ValueError, match=rf"{who}: kernel_size must be odd; got 4"):
        maker(2, 4, **{**SIZES, "kernel_size": 4})
    part = maker(2, 2, **SIZES)
    with pytest.raises(ValueError, match=rf"{who}: \w+ must have size \d+ in dimension 2; got 9"):
        part(torch.randn(2, 2, 9))
    with pytest.raises(ValueError, match=rf"{who}: batch must be >= 2; got 1"):
        maker(2, 2, length=2, width=1)(torch.randn(1, 2, 2 if maker is ConvEncoder1d else 1))
