"""The transformer coder of series: patches, positions, a trunk, and a linear map, by hand."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from ssltok.nn import TransformerDecoder1d, TransformerEncoder1d, sinusoidal_positions

SIZES: dict[str, Any] = {"length": 22, "patch": 5, "hidden_dim": 8, "depth": 2, "heads": 2}


def make(maker: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    part = maker(2, 3, **{**SIZES, "mlp_ratio": 2.0, **options}).double()
    for parameter in part.parameters():
        nn.init.normal_(parameter, std=0.5)
    return part.eval()


# Oracle ---------------------------------------------------------------------------------------


def test_encoder_by_hand() -> None:
    encoder = make(TransformerEncoder1d)
    x = torch.randn(3, 2, 22, dtype=torch.float64)
    filled = functional.pad(x, (0, 3))
    weight, bias = encoder.embedding.projection.weight, encoder.embedding.projection.bias
    places = torch.arange(5, dtype=torch.float64)
    tokens = torch.stack(
        [filled[..., 5 * j : 5 * j + 5].flatten(1) @ weight.T + bias for j in range(5)], dim=1
    )
    out = encoder.trunk(tokens + sinusoidal_positions(places, 8))
    out = out @ encoder.outward.weight.T + encoder.outward.bias
    torch.testing.assert_close(encoder(x), out.transpose(1, 2))
    assert encoder.grid == (5,)
    # with padding: the first two patches alone
    valid = torch.arange(22).expand(3, -1) < 8
    alone = tokens[:, :2].clone()
    alone[:, 1] -= filled[..., 8:10].flatten(1) @ weight.view(8, 2, 5)[..., 3:].flatten(1).T
    out = encoder.trunk(alone + sinusoidal_positions(places[:2], 8))
    out = out @ encoder.outward.weight.T + encoder.outward.bias
    torch.testing.assert_close(encoder(x, valid)[..., :2], out.transpose(1, 2))
    assert (encoder(x, valid)[..., 2:] == 0).all()


def test_decoder_by_hand() -> None:
    decoder = make(TransformerDecoder1d)
    z = torch.randn(3, 3, 5, dtype=torch.float64)
    places = torch.arange(5, dtype=torch.float64)
    tokens = z.transpose(1, 2) @ decoder.inward.weight.T + decoder.inward.bias
    for count in (5, 2):
        x = tokens[:, :count] + sinusoidal_positions(places[:count], 8)
        out = decoder.trunk(x) @ decoder.outward.weight.T + decoder.outward.bias
        expected = torch.zeros(3, 2, 25, dtype=torch.float64)
        for j in range(count):
            expected[..., 5 * j : 5 * j + 5] = out[:, j].view(3, 2, 5)
        valid = torch.arange(5).expand(3, -1) < count
        torch.testing.assert_close(decoder(z, valid), expected[..., :22])
    torch.testing.assert_close(decoder(z, torch.ones_like(valid)), decoder(z))


# Laws -----------------------------------------------------------------------------------------


@given(channels=st.integers(1, 3), length=st.integers(1, 60), patch=st.integers(1, 20))
def test_any_size(channels: int, length: int, patch: int) -> None:
    sizes: dict[str, Any] = {**SIZES, "length": length, "patch": min(patch, length), "depth": 1}
    encoder = TransformerEncoder1d(channels, 3, **sizes)
    decoder = TransformerDecoder1d(channels, 3, **sizes)
    latents = encoder(torch.randn(1, channels, length))
    assert encoder.grid == decoder.grid
    assert latents.shape == (1, 3, *encoder.grid)
    assert decoder(latents).shape == (1, channels, length)


@pytest.mark.parametrize("maker", [TransformerEncoder1d, TransformerDecoder1d])
def test_dropout_draws_from_the_generator_in_training_only(maker: Any) -> None:
    part = make(maker, dropout=0.3)
    x = torch.randn(2, *((2, 22) if maker is TransformerEncoder1d else (3, 5))).double()
    state = torch.get_rng_state()
    still = part(x)
    assert torch.equal(part(x, generator=torch.Generator().manual_seed(1)), still)
    part.train()
    first, second, other = (
        part(x, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert not torch.equal(first, still)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("maker", [TransformerEncoder1d, TransformerDecoder1d])
def test_sizes_of_the_trunk(maker: Any) -> None:
    part = make(maker, depth=3, heads=4)
    assert part.trunk.depth == 3
    layer = part.trunk.layers[0]
    assert layer.attention.heads == 4
    assert layer.mlp[0].out_features == 16


# Complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", [TransformerEncoder1d, TransformerDecoder1d])
def test_complaints(maker: Any) -> None:
    who = maker.__name__
    for name in ("length", "patch", "hidden_dim"):
        with pytest.raises(ValueError, match=rf"{who}: {name} must be >= 1; got 0"):
            maker(2, 4, **{**SIZES, name: 0})
    for name, sizes in (("in_channels", (0, 4)), ("dim", (2, 0))):
        with pytest.raises(ValueError, match=rf"{who}: {name} must be >= 1; got 0"):
            maker(*sizes, **SIZES)
    with pytest.raises(ValueError, match=rf"{who}: patch must be <= length, 22; got 23"):
        maker(2, 4, **{**SIZES, "patch": 23})
    with pytest.raises(ValueError, match=rf"{who}: hidden_dim must be even for positions; got 7"):
        maker(2, 4, **{**SIZES, "hidden_dim": 7})
    with pytest.raises(ValueError, match=rf"{who}: \w+ must have size \d+ in dimension 2; got 9"):
        make(maker)(torch.randn(2, 2 if maker is TransformerEncoder1d else 3, 9))
