"""The 2023 encoder and decoder: the published layers, exact sizes, clean gradients."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from ssltok.nn import SpectrogramDecoder, SpectrogramEncoder, ValidBatchNorm2d
from ssltok.nn._row_conv import RowConv2d, RowConvTranspose2d

Maker = type[SpectrogramEncoder] | type[SpectrogramDecoder]


def leaves(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if not list(part.children())]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Oracle ---------------------------------------------------------------------------------------


def test_encoder_is_the_published_layer_list() -> None:
    """`x -> [conv, BN, LeakyReLU] * n -> [residual, BN] * blocks`, written out with functionals."""
    torch.manual_seed(0)
    encoder = SpectrogramEncoder(6, 5, bins=3, frames=21, width=5, blocks=2).double().train()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter)
    state = iter(list(encoder.parameters()))

    def norm(maps: Tensor) -> Tensor:
        scale, shift = next(state), next(state)
        mean = maps.mean(dim=(0, 2, 3), keepdim=True)
        std = (maps.var(dim=(0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        normed: Tensor = (maps - mean) / std * scale[:, None, None] + shift[:, None, None]
        return normed

    def leaky(maps: Tensor) -> Tensor:
        return torch.where(maps > 0, maps, 0.01 * maps)

    x = torch.randn(4, 6, 3, 21, dtype=torch.float64)
    y = x
    for _ in range(2):  # 21 -> 10 -> 5
        y = leaky(
            norm(
                functional.conv2d(
                    functional.pad(y, (1, 1, 1, 1), mode="replicate"), next(state), stride=(1, 2)
                )
            )
        )
    for _ in range(2):
        inner = leaky(norm(functional.conv2d(leaky(y), next(state), padding=1)))
        y = norm(y + functional.conv2d(inner, next(state)))
    assert next(state, None) is None
    torch.testing.assert_close(encoder(x), y)


def test_decoder_is_the_mirrored_layer_list() -> None:
    """A transposed convolution is the gradient of the convolution it undoes."""
    torch.manual_seed(1)
    decoder = SpectrogramDecoder(2, 4, bins=3, frames=23, width=5, blocks=1).double().eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter)
    state = iter(list(decoder.parameters()))

    def norm(maps: Tensor) -> Tensor:
        scale, shift = next(state), next(state)
        normed: Tensor = maps / (1 + 1e-5) ** 0.5 * scale[:, None, None] + shift[:, None, None]
        return normed

    def leaky(maps: Tensor) -> Tensor:
        return torch.where(maps > 0, maps, 0.01 * maps)

    def undo(maps: Tensor, weight: Tensor, frames: int) -> Tensor:
        wide = torch.zeros(2, weight.shape[1], 3, frames, dtype=maps.dtype, requires_grad=True)
        narrow = functional.conv2d(wide, weight, stride=(1, 2), padding=(1, 1))
        return torch.autograd.grad(narrow, wide, maps)[0]

    z = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    inner = leaky(functional.conv2d(leaky(z), next(state), next(state), padding=1))
    y = norm(z + functional.conv2d(inner, next(state)))
    y = leaky(norm(undo(y, next(state), 11)))
    weight, bias = next(state), next(state)
    y = undo(y, weight, 23) + bias[:, None, None]
    y = functional.conv2d(y, next(state), next(state), padding=1)
    assert next(state, None) is None
    torch.testing.assert_close(decoder(z), y)


# Known values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "width", "published"), [(65, 8, 265_792), (65, 32, 167_104)])
def test_encoder_counts_as_published(frames: int, width: int, published: int) -> None:
    """265 K and 167 K, counted by hand: conv 3x4, BN, and 4 x (3x3, BN, 1x1, BN) with biases.

    2*64*12+64 + 128, then 64*64*12+64 + 128 per further stage, and
    4 * (64*64*9+64 + 128 + 64*64+64 + 128); ours lacks the 64 biases that each BatchNorm removes.
    """
    encoder = SpectrogramEncoder(2, 64, bins=5, frames=frames, width=width)
    stages = sum(conv.stride == (1, 2) for conv in leaves(encoder) if isinstance(conv, nn.Conv2d))
    assert count(encoder) == published - 64 * (stages + 2 * 4)


@pytest.mark.parametrize(("width", "stages", "published"), [(8, 3, 265_140), (32, 1, 166_452)])
def test_decoder_counts_as_published(width: int, stages: int, published: int) -> None:
    """265 K and 166 K: the last 3x4 convolution of 2 channels is 3x3 here, 2*2*3 weights less."""
    decoder = SpectrogramDecoder(2, 64, bins=5, frames=65, width=width)
    assert count(decoder) == published - 64 * (stages - 1 + 4) - 12


def test_layer_types_in_order() -> None:
    letters: dict[type[nn.Module], str] = {RowConv2d: "C", nn.Conv2d: "C", RowConvTranspose2d: "T"}
    letters |= {ValidBatchNorm2d: "B", nn.LeakyReLU: "r"}
    names = "".join(
        letters[type(m)]
        for m in leaves(SpectrogramEncoder(2, 8, bins=3, frames=65, width=8))
        + leaves(SpectrogramDecoder(2, 8, bins=3, frames=65, width=8))
    )
    assert names == "CBr" * 3 + "rCBrCB" * 4 + "rCrCB" * 4 + "TBr" * 2 + "TC"


# Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [8, 32])
def test_every_number_of_frames_has_its_exact_size(width: int) -> None:
    for frames in range(3, 261):
        encoder = SpectrogramEncoder(2, 2, bins=2, frames=frames, width=width, blocks=0).eval()
        decoder = SpectrogramDecoder(2, 2, bins=2, frames=frames, width=width, blocks=0).eval()
        latents = encoder(torch.randn(1, 2, 2, frames))
        assert encoder.grid == decoder.grid == latents.shape[2:]
        assert decoder(latents).shape == (1, 2, 2, frames)


@given(
    channels=st.integers(1, 3),
    bins=st.integers(1, 9),
    frames=st.integers(1, 4097),
    width=st.integers(1, 40),
    blocks=st.integers(0, 2),
)
def test_any_size(channels: int, bins: int, frames: int, width: int, blocks: int) -> None:
    sizes = {"bins": bins, "frames": frames, "width": width, "blocks": blocks}
    encoder = SpectrogramEncoder(2 * channels, 3, **sizes).eval()
    decoder = SpectrogramDecoder(2 * channels, 3, **sizes).eval()
    latents = encoder(torch.randn(2, 2 * channels, bins, frames))
    assert latents.shape == (2, 3, *encoder.grid)
    assert decoder(latents).shape == (2, 2 * channels, bins, frames)


def test_the_last_odd_frame_is_decoded_from_latents() -> None:
    decoder = SpectrogramDecoder(2, 4, bins=3, frames=67, width=8).eval()
    latents = torch.randn(1, 4, *decoder.grid, requires_grad=True)
    decoder(latents)[..., -1].square().sum().backward()
    assert latents.grad is not None
    assert latents.grad[..., -1].abs().sum() > 0


@pytest.mark.parametrize("frames", [5, 66])
@pytest.mark.parametrize("maker", [SpectrogramEncoder, SpectrogramDecoder])
def test_module_laws(maker: Maker, frames: int) -> None:
    torch.manual_seed(2)
    module = maker(4, 8, bins=3, frames=frames, width=8)
    shape = (4, 3, frames) if maker is SpectrogramEncoder else (8, *module.grid)
    x = torch.randn(5, *shape, requires_grad=True)
    before = x.detach().clone()
    out = module(x)
    (out * torch.randn_like(out)).sum().backward()
    torch.testing.assert_close(x, before, rtol=0, atol=0)
    for name, parameter in [("x", x), *module.named_parameters()]:
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 1e-4, name
    module.eval()
    alone = torch.cat([module(row[None]) for row in before])
    torch.testing.assert_close(module(before), alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(module(before), module(before))
    twin = maker(4, 8, bins=3, frames=frames, width=8).eval()
    twin.load_state_dict(copy.deepcopy(module.state_dict()))
    assert torch.equal(twin(before), module(before))


@pytest.mark.parametrize("maker", [SpectrogramEncoder, SpectrogramDecoder])
def test_autocast_stays_close(maker: Maker) -> None:
    torch.manual_seed(3)
    module = maker(2, 8, bins=3, frames=33, width=8, blocks=2)
    x = torch.randn(16, 2, 3, 33) if maker is SpectrogramEncoder else torch.randn(16, 8, 3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = module(x)
    high = module(x)
    assert (low.float() - high).square().mean() < 1e-3 * high.square().mean()


def test_memory_layout() -> None:
    """Tokens of the encoder are rows without a copy; the spectrogram is laid out as usual."""
    encoder = SpectrogramEncoder(2, 8, bins=3, frames=33, width=8)
    decoder = SpectrogramDecoder(2, 8, bins=3, frames=33, width=8)
    latents = encoder(torch.randn(4, 2, 3, 33))
    assert latents.permute(0, 2, 3, 1).is_contiguous()
    assert decoder(latents).is_contiguous()
    torch.testing.assert_close(decoder(latents), decoder(latents.contiguous()))


# Complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", [SpectrogramEncoder, SpectrogramDecoder])
def test_sizes_are_checked(maker: Maker) -> None:
    good = {"bins": 3, "frames": 9, "width": 4, "blocks": 1}
    for name in ["bins", "frames", "width"]:
        with pytest.raises(ValueError, match=rf"{maker.__name__}: {name} must be >= 1; got 0"):
            maker(2, 4, **{**good, name: 0})
    with pytest.raises(ValueError, match=r"blocks must be >= 0; got -1"):
        maker(2, 4, **{**good, "blocks": -1})
    with pytest.raises(ValueError, match=r"in_channels must be >= 1; got 0"):
        maker(0, 4, **good)
    with pytest.raises(ValueError, match=r"dim must be >= 1; got 0"):
        maker(2, 0, **good)


def test_inputs_are_checked() -> None:
    encoder = SpectrogramEncoder(2, 4, bins=3, frames=9, width=4)
    decoder = SpectrogramDecoder(2, 4, bins=3, frames=9, width=4)
    with pytest.raises(ValueError, match=r"SpectrogramEncoder: spectrogram must be \(batch, chan"):
        encoder(torch.randn(2, 3, 9))
    with pytest.raises(ValueError, match=r"must have size 9 in dimension 3; got 8 in shape"):
        encoder(torch.randn(1, 2, 3, 8))
    with pytest.raises(ValueError, match=r"spectrogram must be floating point; got torch.complex"):
        encoder(torch.zeros(1, 2, 3, 9, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"SpectrogramEncoder: batch must be >= 1; got 0"):
        encoder(torch.randn(0, 2, 3, 9))
    with pytest.raises(TypeError, match=r"SpectrogramDecoder: latents must be a tensor; got list"):
        decoder([1.0])
    with pytest.raises(ValueError, match=r"latents must have size 4 in dimension 3; got 5"):
        decoder(torch.randn(1, 4, 3, 5))
    single = SpectrogramEncoder(2, 4, bins=1, frames=2, width=1)
    with pytest.raises(ValueError, match=r"SpectrogramEncoder: batch must be >= 2; got 1"):
        single(torch.randn(1, 2, 1, 2))
    assert single.eval()(torch.randn(1, 2, 1, 2)).shape == (1, 4, 1, 1)
