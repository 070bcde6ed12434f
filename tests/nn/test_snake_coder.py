"""The later encoder and decoder: the published layers, exact sizes, unit vectors."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from ssltok.nn import SnakeDecoder, SnakeEncoder

Maker = type[SnakeEncoder] | type[SnakeDecoder]
BOTH = pytest.mark.parametrize("maker", [SnakeEncoder, SnakeDecoder])


def input_of(
    module: SnakeEncoder | SnakeDecoder, batch: int, sizes: tuple[int, int, int]
) -> Tensor:
    shape = sizes if isinstance(module, SnakeEncoder) else (8, *module.grid)
    return torch.randn(batch, *shape)


# Oracle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mix_freq", [False, True])
def test_encoder_is_the_published_layer_list(mix_freq: bool) -> None:
    """Two halvings, one residual block between, one at the end, in functionals, evaluation."""
    torch.manual_seed(0)
    encoder = SnakeEncoder(
        2, 6, bins=3, frames=21, width=5, blocks=1, base_dim=2, mix_freq=mix_freq
    )
    encoder = encoder.double().eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter)
    state = iter(list(encoder.parameters()))
    pad = 1 if mix_freq else 0

    def norm(maps: Tensor) -> Tensor:
        scale, shift = next(state), next(state)
        normed: Tensor = maps / (1 + 1e-5) ** 0.5 * scale[:, None, None] + shift[:, None, None]
        return normed

    def snake(maps: Tensor) -> Tensor:
        a = next(state).exp()[:, None, None]
        return maps + (a * maps).sin() ** 2 / a

    def separable(maps: Tensor, *, halve: bool) -> Tensor:
        if halve:
            padded = functional.pad(maps, (1, 1, pad, pad), mode="replicate")
            maps = functional.conv2d(padded, next(state), stride=(1, 2), groups=maps.shape[1])
        else:
            maps = functional.conv2d(maps, next(state), padding=(pad, 1), groups=maps.shape[1])
        return functional.conv2d(maps, next(state))

    def block(maps: Tensor, *, widen: bool) -> Tensor:
        short = functional.conv2d(maps, next(state), next(state)) if widen else maps
        inner = separable(snake(maps), halve=False)
        return short + separable(snake(norm(inner)), halve=False)

    x = torch.randn(4, 2, 3, 21, dtype=torch.float64)
    y = snake(norm(separable(x, halve=True)))
    y = snake(norm(separable(y, halve=True)))
    y = block(block(y, widen=False), widen=True)
    assert next(state, None) is None
    torch.testing.assert_close(encoder(x), y / y.square().sum(dim=1, keepdim=True).sqrt())


# Known values ---------------------------------------------------------------------------------


def test_encoder_counts_as_published() -> None:
    """By hand for TimeVQVAE's low-frequency branch of 129 frames: 4 halvings to 4, 8, 16, 32.

    A halving a -> b: 4a (one kernel per channel) + ab + 2b (BatchNorm) + b (Snake). A block of b:
    twice 3b + bb, and b + 2b + b for Snake, BatchNorm, Snake. The last block 32 -> 128: 1x1
    shortcut with bias, 3*32 + 32*128, 3*128 + 128*128, Snake 32, BatchNorm and Snake of 128.
    """
    encoder = SnakeEncoder(2, 128, bins=1, frames=129, width=8, mix_freq=False)
    assert encoder.grid == (1, 8)

    def halving(a: int, b: int) -> int:
        return 4 * a + a * b + 3 * b

    def block(b: int) -> int:
        return 2 * (3 * b + b * b) + 4 * b

    last = 32 * 128 + 128 + 3 * 32 + 32 * 128 + 3 * 128 + 128 * 128 + 32 + 3 * 128
    expected = halving(2, 4) + last
    expected += sum(halving(b // 2, b) + 2 * block(b) for b in (8, 16, 32))
    assert sum(p.numel() for p in encoder.parameters()) == expected


def test_widths_double_and_mirror() -> None:
    def ones(module: nn.Module) -> list[tuple[int, int]]:
        return [
            (m.in_channels, m.out_channels)
            for m in module.modules()
            if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)
            if m.in_channels != m.out_channels
        ]

    options: dict[str, Any] = {"bins": 3, "frames": 65, "width": 8, "blocks": 1}
    assert ones(SnakeEncoder(2, 24, **options)) == [(2, 4), (4, 8), (8, 16), (16, 24), (16, 24)]
    assert ones(SnakeDecoder(2, 24, **options)) == [(24, 16), (24, 16), (16, 8), (8, 4), (4, 2)]


# Laws -----------------------------------------------------------------------------------------


@given(
    channels=st.integers(1, 3),
    bins=st.integers(1, 5),
    frames=st.one_of(st.integers(1, 260), st.integers(1, 4097)),
    width=st.integers(1, 40),
    blocks=st.integers(0, 1),
    mix_freq=st.booleans(),
)
def test_any_size(
    channels: int, bins: int, frames: int, width: int, blocks: int, mix_freq: bool
) -> None:
    sizes: dict[str, Any] = {"bins": bins, "frames": frames, "width": width, "blocks": blocks}
    sizes |= {"mix_freq": mix_freq, "base_dim": 1}
    encoder = SnakeEncoder(2 * channels, 3, **sizes).eval()
    decoder = SnakeDecoder(2 * channels, 3, **sizes).eval()
    latents = encoder(torch.randn(2, 2 * channels, bins, frames))
    assert latents.shape == (2, 3, *encoder.grid)
    assert decoder.grid == encoder.grid
    assert decoder(latents).shape == (2, 2 * channels, bins, frames)


def test_every_number_of_frames_has_its_exact_size() -> None:
    """On the meta device: sizes without arithmetic."""
    with torch.device("meta"):
        for frames in range(3, 261):
            sizes: dict[str, Any] = {"bins": 1, "frames": frames, "width": 8, "base_dim": 1}
            encoder = SnakeEncoder(2, 2, **sizes, blocks=0).eval()
            latents = encoder(torch.empty(1, 2, 1, frames))
            assert latents.shape[2:] == encoder.grid
            decoder = SnakeDecoder(2, 2, **sizes, blocks=0).eval()
            assert decoder(latents).shape == (1, 2, 1, frames)


@BOTH
def test_frequencies_are_apart_without_mixing(maker: Maker) -> None:
    for mix_freq in (False, True):
        module = maker(2, 8, bins=4, frames=20, width=5, mix_freq=mix_freq).eval()
        x = input_of(module, 1, (2, 4, 20)).requires_grad_()
        (grad,) = torch.autograd.grad(module(x)[:, :, 1].sum(), x)
        reached = grad.abs().sum(dim=(0, 1, 3)) > 0
        assert reached[1]
        assert reached[[0, 2, 3]].any() == mix_freq


@BOTH
@pytest.mark.parametrize("frames", [6, 66])
def test_module_laws(maker: Maker, frames: int) -> None:
    torch.manual_seed(2)
    options: dict[str, Any] = {"bins": 3, "frames": frames, "width": 8}
    module = maker(4, 8, **options)
    x = input_of(module, 5, (4, 3, frames)).requires_grad_()
    before = x.detach().clone()
    out = module(x)
    (out * torch.randn_like(out)).sum().backward()
    assert torch.equal(x.detach(), before)
    for name, parameter in [("x", x), *module.named_parameters()]:
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 1e-5, name
    module.eval()
    state = torch.get_rng_state()
    alone = torch.cat([module(row[None]) for row in before])
    torch.testing.assert_close(module(before), alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(state, torch.get_rng_state())
    twin = maker(4, 8, **options).eval()
    assert not torch.equal(twin(before), module(before))
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin(before), module(before))


@BOTH
def test_dropout_draws_from_the_generator_in_training_only(maker: Maker) -> None:
    module = maker(2, 8, bins=2, frames=30, width=8)
    still = maker(2, 8, bins=2, frames=30, width=8, dropout=0.0)
    x = input_of(module, 4, (2, 2, 30))
    state = torch.get_rng_state()
    first = module(x, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, module(x, generator=torch.Generator().manual_seed(1)))
    assert not torch.equal(first, module(x, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(still(x), still(x))
    assert torch.equal(state, torch.get_rng_state())


@BOTH
def test_start_comes_from_the_generator(maker: Maker) -> None:
    first, second = (
        maker(2, 4, bins=2, frames=30, width=8, generator=torch.Generator().manual_seed(1))
        for _ in range(2)
    )
    drawn = [n for n, _ in first.named_parameters() if "log_frequency" in n]
    assert drawn
    for name in drawn:
        assert torch.equal(first.get_parameter(name), second.get_parameter(name))


def test_vectors_have_norm_one_in_single_precision() -> None:
    encoder = SnakeEncoder(2, 8, bins=3, frames=40, width=8)
    x = torch.randn(3, 2, 3, 40)
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            latents = encoder(x)
        assert latents.dtype == torch.float32
        torch.testing.assert_close(latents.norm(dim=1), torch.ones(3, *encoder.grid))


# Complaints -----------------------------------------------------------------------------------


@BOTH
def test_complaints(maker: Maker) -> None:
    good: dict[str, Any] = {"bins": 3, "frames": 9, "width": 4}
    for name in ["bins", "frames", "width", "base_dim"]:
        with pytest.raises(ValueError, match=rf"{maker.__name__}: {name} must be >= 1; got 0"):
            maker(2, 4, **{**good, name: 0})
    with pytest.raises(ValueError, match=rf"{maker.__name__}: blocks must be >= 0; got -1"):
        maker(2, 4, **good, blocks=-1)
    with pytest.raises(ValueError, match=rf"{maker.__name__}: dropout must lie in \[0, 1\]; got 2"):
        maker(2, 4, **good, dropout=2)
    module = maker(2, 4, **good)
    with pytest.raises(ValueError, match=rf"{maker.__name__}: \w+ must have size 3 in dimension 2"):
        module(torch.randn(1, 2 if maker is SnakeEncoder else 4, 4, 9))
    with pytest.raises(ValueError, match=rf"{maker.__name__}: batch must be >= 2; got 1"):
        maker(2, 4, bins=1, frames=1, width=1)(
            torch.randn(1, 2 if maker is SnakeEncoder else 4, 1, 1)
        )
