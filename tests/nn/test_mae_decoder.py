"""The decoder of a masked autoencoder."""

import pytest
import torch
from torch.nn import functional

from ssltok.masking import random_mask
from ssltok.nn import (
    MAEDecoder,
    PatchEmbed1d,
    RotaryPositions,
    Transformer,
    ViT1d,
    sinusoidal_positions,
)
from tests.nn.test_transformer import scrambled


def small(*, rotary: bool = False, positions: bool = True) -> MAEDecoder:
    turn = RotaryPositions(4, grid=(64,)) if rotary else None
    trunk = Transformer(8, depth=2, heads=2, rotary=turn)
    decoder = scrambled(MAEDecoder(6, 5, trunk, positions=positions), std=0.3)
    assert isinstance(decoder, MAEDecoder)
    return decoder.eval()


# Oracle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [0, 2])
def test_is_mae_s_unshuffle_token_by_token(prefix: int) -> None:
    decoder = small().double()
    masked = random_mask((3, 7), ratio=0.6, generator=torch.Generator().manual_seed(1))
    visible = masked.visible.shape[1]
    encoded = torch.randn(3, prefix + visible, 6, dtype=torch.float64)
    rows = []
    for b in range(3):
        row = [decoder.inward(encoded[b, i]) for i in range(prefix)]
        for place in range(7):
            token = decoder.mask_token
            for slot in range(visible):
                if int(masked.visible[b, slot]) == place:
                    token = decoder.inward(encoded[b, prefix + slot])
            where = torch.tensor(float(place), dtype=torch.float64)
            row.append(token + sinusoidal_positions(where, 8))
        rows.append(torch.stack(row))
    expected = decoder.outward(decoder.trunk(torch.stack(rows)))[:, prefix:]
    made = decoder(encoded, masked.restore, prefix=prefix)
    assert made.shape == (3, 7, 5)
    torch.testing.assert_close(made, expected)


# Known values ---------------------------------------------------------------------------------


def test_everything_hidden_predicts_from_places_alone() -> None:
    decoder = small()
    restore = torch.zeros(2, 4, dtype=torch.int64)  # no slot is taken: 0 is the mask token
    first = decoder(torch.zeros(2, 1, 6), restore, prefix=1)
    torch.testing.assert_close(first[0], first[1])
    assert not torch.allclose(first[0, 0], first[0, 1], atol=1e-3)
    without = small(positions=False)
    alike = without(torch.zeros(2, 1, 6), restore, prefix=1)
    torch.testing.assert_close(alike, alike[:, :1].expand_as(alike))


def test_rotary_positions_start_behind_the_prefix() -> None:
    decoder = small(rotary=True, positions=False)
    encoded, restore = torch.randn(2, 4, 6), torch.tensor([[0, 2, 2, 1, 2]] * 2)
    x = decoder.inward(encoded)
    tokens = torch.cat([x[:, 2:], decoder.mask_token.expand(2, 1, -1)], dim=1)
    tokens = torch.stack([tokens[0, restore[0]], tokens[1, restore[1]]])
    mixed = decoder.trunk(torch.cat([x[:, :2], tokens], dim=1), prefix=2)
    torch.testing.assert_close(decoder(encoded, restore, prefix=2), decoder.outward(mixed[:, 2:]))


# Laws -----------------------------------------------------------------------------------------


def test_encoder_and_decoder_on_padded_series() -> None:
    """What is padding or hidden never reaches a prediction; truncation changes nothing."""
    vit = scrambled(
        ViT1d(PatchEmbed1d(2, 6, patch=4), Transformer(6, depth=1, heads=2), registers=1), std=0.3
    ).eval()
    assert isinstance(vit, ViT1d)
    decoder = small()
    series = torch.randn(2, 2, 30, requires_grad=True)
    valid = torch.arange(30) < torch.tensor([[30], [18]])
    real = vit.embedding.token_valid(valid)
    masked = random_mask((2, 8), ratio=0.5, valid=real, generator=torch.Generator().manual_seed(2))
    garbage = series.masked_fill(~valid.unsqueeze(1), torch.nan)
    encoded = vit(garbage, valid=valid, visible=masked.visible)
    made = decoder(encoded, masked.restore, prefix=vit.prefix, valid=real)
    made[real].square().sum().backward()
    assert series.grad is not None
    read = functional.pad(series.grad.abs().sum(dim=1), (0, 2)).view(2, 8, 4).amax(dim=2) > 0
    assert torch.equal(read, real & ~masked.mask)
    assert series.grad[1, :, 18:].abs().max() == 0
    seen = int((masked.visible[1] >= 0).sum())
    short = vit(series[1:, :, :18], visible=masked.visible[1:, :seen])
    restore = masked.restore[1:, :5].clamp(max=seen)
    alone = decoder(short, restore, prefix=vit.prefix)
    torch.testing.assert_close(made[1:, :5], alone, atol=1e-6, rtol=1e-5)


def test_a_series_does_not_depend_on_its_batch() -> None:
    decoder = small()
    encoded = torch.randn(3, 4, 6, requires_grad=True)
    restore = torch.tensor([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [4, 0, 4, 1, 2]])
    out = decoder(encoded, restore)
    for row in range(3):
        alone = decoder(encoded[row : row + 1], restore[row : row + 1])
        torch.testing.assert_close(alone[0], out[row], atol=1e-6, rtol=1e-5)
    (grad,) = torch.autograd.grad(out[1].square().sum(), encoded)
    assert grad[[0, 2]].abs().max() == 0


def test_gradients_reach_everything() -> None:
    decoder = small().train()
    out = decoder(torch.randn(3, 4, 6), torch.tensor([[0, 3, 1, 3, 2]] * 3), prefix=1)
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


def test_gradcheck() -> None:
    decoder = small().double()
    encoded = torch.randn(1, 3, 6, dtype=torch.float64, requires_grad=True)
    restore = torch.tensor([[1, 2, 0, 2]])
    valid = torch.tensor([[True, True, True, False]])
    assert torch.autograd.gradcheck(
        lambda e: decoder(e, restore, prefix=1, valid=valid)[:, :3], (encoded,)
    )


def test_long_sequences_and_noise() -> None:
    decoder = MAEDecoder(4, 3, Transformer(8, depth=2, heads=1, stochastic_depth=0.5))
    encoded, restore = torch.randn(2, 64, 4), torch.arange(4096).clamp(max=64).expand(2, -1)
    state = torch.get_rng_state()
    first = decoder(encoded, restore, generator=torch.Generator().manual_seed(1))
    assert first.shape == (2, 4096, 3)
    again = decoder(encoded, restore, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, again)
    assert torch.equal(state, torch.get_rng_state())


# Complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.75, 0.5])
def test_a_forgotten_prefix_is_refused(ratio: float) -> None:
    """It would put every token one slot further, and a visible one where all are hidden."""
    masked = random_mask((3, 8), ratio=ratio)
    encoded = torch.randn(3, 1 + masked.visible.shape[1], 6)
    assert small()(encoded, masked.restore, prefix=1).shape == (3, 8, 5)
    slots = encoded.shape[1]
    said = rf"restore must count the tokens of encoded behind prefix, {slots}, .*; got {slots - 1}"
    with pytest.raises(ValueError, match=said):
        small()(encoded, masked.restore)
    with pytest.raises(ValueError, match=rf"prefix, {slots - 2}, .*; got {slots - 1}"):
        small()(encoded, masked.restore, prefix=2)
    everything = torch.arange(8).expand(3, -1)  # nothing is hidden
    assert small()(torch.randn(3, 8, 6), everything).shape == (3, 8, 5)


def test_complaints() -> None:
    trunk = Transformer(8, depth=1, heads=1)
    with pytest.raises(ValueError, match=r"MAEDecoder: in_dim must be >= 1; got 0"):
        MAEDecoder(0, 5, trunk)
    with pytest.raises(ValueError, match=r"MAEDecoder: out_dim must be >= 1; got 0"):
        MAEDecoder(6, 0, trunk)
    with pytest.raises(ValueError, match=r"MAEDecoder: condition_dim must be None; got 2"):
        MAEDecoder(6, 5, Transformer(8, depth=1, heads=1, condition_dim=2))
    with pytest.raises(ValueError, match=r"MAEDecoder: dim of trunk must be even for positions"):
        MAEDecoder(6, 5, Transformer(7, depth=1, heads=1))
    decoder = MAEDecoder(6, 5, trunk)
    encoded, restore = torch.randn(2, 3, 6), torch.zeros(2, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"encoded must be \(batch, tokens, dim\); got shape"):
        decoder(encoded[0], restore)
    with pytest.raises(ValueError, match=r"encoded must have size 6 in dimension 2; got 5"):
        decoder(encoded[..., :5], restore)
    with pytest.raises(ValueError, match=r"MAEDecoder: batch must be >= 1; got 0"):
        decoder(encoded[:0], restore[:0])
    with pytest.raises(ValueError, match=r"MAEDecoder: prefix must lie in \[0, 3\]; got 4"):
        decoder(encoded, restore, prefix=4)
    with pytest.raises(ValueError, match=r"MAEDecoder: restore must be int64; got torch.float32"):
        decoder(encoded, restore.float())
    with pytest.raises(ValueError, match=r"restore must have size 2 in dimension 0; got 1"):
        decoder(encoded, restore[:1])
    with pytest.raises(ValueError, match=r"tokens of restore must be >= 1; got 0"):
        decoder(encoded, restore[:, :0])
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 4\); got \(2, 3\)"):
        decoder(encoded, restore, valid=torch.ones(2, 3, dtype=torch.bool))
