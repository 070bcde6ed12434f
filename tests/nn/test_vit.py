"""The vision transformer for series."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok.nn import (
    PatchEmbed1d,
    RotaryPositions,
    Transformer,
    ViT1d,
    patchify,
    sinusoidal_positions,
    token_places,
)
from tests.nn.padded_series import assert_exports_for_any_length
from tests.nn.test_transformer import scrambled


def small(
    *,
    rotary: bool = False,
    positions: bool = True,
    stride: int = 4,
    depth: int = 2,
    registers: int = 2,
) -> ViT1d:
    turn = RotaryPositions(4, grid=(600,)) if rotary else None
    vit = ViT1d(
        PatchEmbed1d(3, 8, patch=4, stride=stride),
        Transformer(8, depth=depth, heads=2, mlp_ratio=2.0, rotary=turn),
        distillation_token=True,
        registers=registers,
        mask_token=True,
        positions=positions,
    )
    scrambled(vit, std=0.3)
    return vit.eval()


def transcribed(vit: ViT1d, tokens: Tensor) -> list[Tensor]:
    """Run the trunk with torch's own multi-head attention, token row by token row."""
    states = []
    for index in range(vit.trunk.depth):
        layer = vit.trunk.get_submodule(f"layers.{index}")
        inward, outward, first, second, norm_a, norm_b = (
            layer.get_submodule(name)
            for name in (
                "attention.inward", "attention.outward", "mlp.0", "mlp.2", "attention_norm",
                "mlp_norm",
            )
        )  # fmt: skip
        assert isinstance(inward, nn.Linear)
        assert isinstance(outward, nn.Linear)
        peer = nn.MultiheadAttention(8, 2, bias=False, batch_first=True, dtype=torch.float64)
        peer.in_proj_weight = nn.Parameter(inward.weight)
        peer.out_proj.weight = outward.weight
        rows = []
        for row in tokens:  # one series after another
            normed = norm_a(row).unsqueeze(0)
            row = row + peer(normed, normed, normed, need_weights=False)[0][0]
            hidden = first(norm_b(row))
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            rows.append(row + second(hidden))
        tokens = torch.stack(rows)
        states.append(tokens)
    return states


# Oracle ---------------------------------------------------------------------------------------


def test_is_the_transcription_of_the_paper() -> None:
    vit = small().double()
    series = torch.randn(2, 3, 18, dtype=torch.float64)
    padded = torch.cat([series, torch.zeros(2, 3, 2, dtype=torch.float64)], dim=2)
    rows = []
    for i in range(5):
        patch = padded[:, :, 4 * i : 4 * i + 4].reshape(2, 12)
        embedded = patch @ vit.embedding.projection.weight.T + vit.embedding.projection.bias
        place = torch.tensor(float(i), dtype=torch.float64)
        rows.append(embedded + sinusoidal_positions(place, 8))
    assert vit.front is not None
    tokens = torch.cat([vit.front.expand(2, 4, 8), torch.stack(rows, dim=1)], dim=1)
    states = transcribed(vit, tokens)
    torch.testing.assert_close(vit(series), vit.trunk.last_norm(states[-1]))
    made = vit.hidden_states(series)
    assert len(made.tokens) == len(made.mlp) == 2
    for state, expected in zip(made.tokens, states, strict=True):
        torch.testing.assert_close(state, expected)


def test_what_the_mlp_adds_is_the_target_of_data2vec() -> None:
    vit = small().double()
    series = torch.randn(2, 3, 18, dtype=torch.float64)
    made = vit.hidden_states(series)
    for index, before in enumerate([None, *made.tokens[:-1]]):
        if before is None:
            continue
        layer = vit.trunk.get_submodule(f"layers.{index}")
        attention, norm = layer.get_submodule("attention"), layer.get_submodule("attention_norm")
        between = before + attention(norm(before))
        torch.testing.assert_close(made.tokens[index] - between, made.mlp[index])


@pytest.mark.parametrize("rotary", [False, True])
def test_visible_tokens_are_what_attention_without_the_others_makes(rotary: bool) -> None:
    """Leave the hidden tokens in, forbid to read them, and pick the visible rows."""
    vit = small(rotary=rotary, positions=not rotary).double()
    series = torch.randn(3, 3, 24, dtype=torch.float64)
    seen = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1]]).bool()
    everything = torch.cat([torch.ones(3, vit.prefix, dtype=torch.bool), seen], dim=1)
    tokens, _, _ = vit._enter(series, None, None, None)
    expected = vit.trunk(tokens, valid=everything, prefix=vit.prefix)
    out = vit(series, visible=token_places(seen, slots=6))
    for row in range(3):
        count = vit.prefix + int(seen[row].sum())
        torch.testing.assert_close(out[row, :count], expected[row, everything[row]])


def test_masked_patches_become_the_mask_token_at_their_place() -> None:
    vit = small().double()
    series = torch.randn(2, 3, 24, dtype=torch.float64)
    masked = torch.rand(2, 6) < 0.5
    assert vit.mask_vector is not None
    patches = functional.linear(patchify(series, patch=4), vit.embedding.projection.weight)
    patches = patches + vit.embedding.projection.bias
    patches[masked] = vit.mask_vector.expand(int(masked.sum()), 8)
    tokens = patches + sinusoidal_positions(torch.arange(6, dtype=torch.float64), 8)
    assert vit.front is not None
    tokens = torch.cat([vit.front.expand(2, 4, 8), tokens], dim=1)
    expected = vit.trunk.last_norm(transcribed(vit, tokens)[-1])
    torch.testing.assert_close(vit(series, masked=masked), expected)


# Known values ---------------------------------------------------------------------------------


def test_without_positions_the_order_of_patches_does_not_matter() -> None:
    vit = small(positions=False)
    series = torch.randn(1, 3, 24)
    order = torch.randperm(6)
    shuffled = patchify(series, patch=4)[:, order].view(1, 6, 3, 4).transpose(1, 2).flatten(2)
    torch.testing.assert_close(vit(series)[:, :4], vit(shuffled)[:, :4], atol=1e-5, rtol=1e-4)
    vit.positions = True
    assert not torch.allclose(vit(series)[:, :4], vit(shuffled)[:, :4], atol=1e-3)


def test_prefix_counts_the_tokens_in_front() -> None:
    trunk = Transformer(8, depth=1, heads=1)
    embed = PatchEmbed1d(1, 8, patch=2)
    x = torch.randn(2, 1, 6)
    for options, prefix in [
        ((True, False, 0), 1), ((False, False, 0), 0), ((True, True, 3), 5), ((False, True, 0), 1),
    ]:  # fmt: skip
        vit = ViT1d(
            embed, trunk,
            class_token=options[0], distillation_token=options[1], registers=options[2],
        )  # fmt: skip
        assert vit.prefix == prefix
        assert vit(x).shape == (2, prefix + 3, 8)


def test_visible_in_order_and_complete_is_everything() -> None:
    vit = small()
    series = torch.randn(2, 3, 24)
    out = vit(series, visible=torch.arange(6).expand(2, 6))
    torch.testing.assert_close(out, vit(series), atol=1e-5, rtol=1e-5)


# Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [4, 3])
@pytest.mark.parametrize("rotary", [False, True])
def test_padding_cannot_leak(rotary: bool, stride: int) -> None:
    vit = small(rotary=rotary, stride=stride)
    series = torch.randn(3, 3, 30, requires_grad=True)
    valid = torch.arange(30) < torch.tensor([[30], [17], [5]])
    garbage = series.masked_fill(~valid.unsqueeze(1), torch.nan)
    out = vit(garbage, valid=valid)
    real = functional.pad(vit.embedding.token_valid(valid), (vit.prefix, 0), value=True)
    out[real].square().sum().backward()
    assert series.grad is not None
    assert torch.equal(series.grad.abs().sum(dim=1) > 0, valid)
    for parameter in vit.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
    for row, length in enumerate([30, 17, 5]):
        short = vit(series[row : row + 1, :, :length])
        torch.testing.assert_close(out[row, real[row]], short[0], atol=1e-6, rtol=1e-5)
    zeros = series.masked_fill(~valid.unsqueeze(1), 0)
    assert torch.equal(vit(zeros, valid=valid)[real], out[real])


def test_a_missing_stretch_in_the_middle_is_not_read() -> None:
    vit = small()
    series = torch.randn(1, 3, 24, requires_grad=True)
    valid = torch.ones(1, 24, dtype=torch.bool)
    valid[0, 6:14] = False  # half of patch 1, all of patch 2, half of patch 3
    out = vit(series, valid=valid)
    (grad,) = torch.autograd.grad(out[:, :4].square().sum(), series)
    assert torch.equal(grad.abs().sum(dim=1) > 0, valid)
    assert vit.embedding.token_valid(valid).tolist() == [[True, True, False, True, True, True]]


@pytest.mark.parametrize("how", ["visible", "masked"])
def test_hidden_patches_cannot_leak(how: str) -> None:
    vit = small()
    series = torch.randn(2, 3, 24, requires_grad=True)
    hidden = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 0]]).bool()
    if how == "masked":
        out = vit(series, masked=hidden)
    else:
        places = token_places(~hidden, slots=4)
        out = vit(series, visible=places)
        keep = functional.pad(places >= 0, (4, 0), value=True)
        out = out[keep]
    (grad,) = torch.autograd.grad(out.square().sum(), series)
    read = patchify(grad, patch=4).abs().amax(dim=2) > 0
    assert torch.equal(read, ~hidden)


def test_visible_and_padding_together() -> None:
    vit = small()
    series = torch.randn(2, 3, 24)
    valid = torch.arange(24) < torch.tensor([[24], [14]])
    visible = torch.tensor([[0, 2, 5], [1, 3, -1]])
    out = vit(series, valid=valid, visible=visible)
    short = vit(series[1:, :, :14], visible=torch.tensor([[1, 3]]))
    torch.testing.assert_close(out[1:, :-1], short, atol=1e-6, rtol=1e-5)
    # a place that is padding is not read either, although it is named
    named = vit(series, valid=valid, visible=torch.tensor([[0, 2, 5], [1, 3, 4]]))
    torch.testing.assert_close(named[1:, :-1], short, atol=1e-6, rtol=1e-5)


def test_hidden_states_end_in_what_forward_returns() -> None:
    vit = small(rotary=True, registers=1)
    series = torch.randn(2, 3, 24)
    valid = torch.arange(24) < torch.tensor([[24], [14]])
    masked = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 0]]).bool()
    visible = torch.tensor([[0, 2, 5], [1, 3, -1]])
    states = vit.hidden_states(series, valid=valid, masked=masked, visible=visible)
    out = vit(series, valid=valid, masked=masked, visible=visible)
    assert torch.equal(vit.trunk.last_norm(states.tokens[-1]), out)


def test_a_series_does_not_depend_on_its_batch() -> None:
    vit = small()
    series = torch.randn(4, 3, 40)
    together = vit(series)
    for row in range(4):
        torch.testing.assert_close(
            vit(series[row : row + 1])[0], together[row], atol=1e-6, rtol=1e-5
        )
    (grad,) = torch.autograd.grad(
        vit(series.requires_grad_())[1].square().sum(), series, materialize_grads=True
    )
    assert grad[[0, 2, 3]].abs().max() == 0


@pytest.mark.parametrize("length", [4, 8, 37, 1000, 4096])
@pytest.mark.parametrize("channels", [1, 7])
def test_any_length_and_number_of_channels(length: int, channels: int) -> None:
    vit = ViT1d(PatchEmbed1d(channels, 8, patch=4), Transformer(8, depth=1, heads=1)).eval()
    out = vit(torch.randn(2, channels, length))
    assert out.shape == (2, 1 + math.ceil(length / 4), 8)
    assert torch.isfinite(out).all()


def test_gradients_reach_everything() -> None:
    vit = small(depth=3).train()
    masked = torch.rand(4, 6) < 0.5
    out = vit(torch.randn(4, 3, 24), masked=masked)
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in vit.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


def test_gradcheck() -> None:
    vit = small(depth=1, registers=0).double()
    series = torch.randn(1, 3, 12, dtype=torch.float64, requires_grad=True)
    valid = torch.arange(12).unsqueeze(0) < 10
    masked = torch.tensor([[False, True, False]])
    assert torch.autograd.gradcheck(lambda s: vit(s, valid=valid, masked=masked), (series,))


def test_noise_comes_from_the_generator() -> None:
    vit = ViT1d(
        PatchEmbed1d(1, 8, patch=4),
        Transformer(8, depth=2, heads=2, dropout=0.3, stochastic_depth=0.5),
    )
    x = torch.randn(4, 1, 20)
    state = torch.get_rng_state()
    first = vit(x, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, vit(x, generator=torch.Generator().manual_seed(1)))
    states = vit.hidden_states(x, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(vit.trunk.last_norm(states.tokens[-1]), first)
    assert not torch.equal(first, vit(x, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(state, torch.get_rng_state())


def test_one_graph_and_export() -> None:
    vit = small(rotary=True, depth=1)
    series = torch.randn(2, 3, 22)
    options = {
        "valid": torch.arange(22) < torch.tensor([[22], [13]]),
        "masked": torch.rand(2, 6) < 0.4,
        "visible": torch.tensor([[0, 2, 5], [1, 3, -1]]),
    }
    compiled = torch.compile(vit, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(series, **options), vit(series, **options))
    states = torch.compile(vit.hidden_states, fullgraph=True, backend="eager")
    torch.testing.assert_close(states(series).tokens, vit.hidden_states(series).tokens)
    exported = torch.export.export(vit, (series,), options).module()
    torch.testing.assert_close(exported(series, **options), vit(series, **options))


@pytest.mark.parametrize("padded", [False, True])
def test_export_for_any_length(padded: bool) -> None:
    vit = ViT1d(PatchEmbed1d(2, 8, patch=4), Transformer(8, depth=1, heads=2)).eval()
    assert_exports_for_any_length(vit, padded=padded)


def test_export_for_any_length_with_overlapping_patches_and_nothing_in_front() -> None:
    embedding = PatchEmbed1d(2, 8, patch=4, stride=3)
    vit = ViT1d(embedding, Transformer(8, depth=1, heads=2), class_token=False).eval()
    assert_exports_for_any_length(vit, length=torch.export.Dim.DYNAMIC)


def test_half_precision_keeps_positions_apart() -> None:
    """Places above 256 are not integers in bfloat16; they must not be rounded before the sine."""
    vit = small().to(torch.bfloat16)
    tokens, _, _ = vit._enter(torch.zeros(1, 3, 2400, dtype=torch.bfloat16), None, None, None)
    exact = sinusoidal_positions(torch.arange(600), 8) + vit.embedding.projection.bias
    torch.testing.assert_close(tokens[0, 4:].float(), exact, atol=2e-2, rtol=2e-2)


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    embed, trunk = PatchEmbed1d(1, 8, patch=4), Transformer(8, depth=1, heads=1)
    x = torch.randn(2, 1, 12)
    with pytest.raises(ValueError, match=r"embedding and trunk must share dim; got 8 and 6"):
        ViT1d(embed, Transformer(6, depth=1, heads=1))
    with pytest.raises(ValueError, match=r"ViT1d: registers must be >= 0; got -1"):
        ViT1d(embed, trunk, registers=-1)
    with pytest.raises(ValueError, match=r"ViT1d: condition_dim must be None; got 3"):
        ViT1d(embed, Transformer(8, depth=1, heads=1, condition_dim=3))
    with pytest.raises(ValueError, match=r"ViT1d: dim of trunk must be even for positions; got 7"):
        ViT1d(PatchEmbed1d(1, 7, patch=4), Transformer(7, depth=1, heads=1))
    vit = ViT1d(embed, trunk)
    with pytest.raises(ValueError, match=r"length must be >= 1; got 0"):
        vit(x[..., :0])
    with pytest.raises(ValueError, match=r"series must have size 1 in dimension 1; got 2"):
        vit(x.expand(2, 2, 12))
    masked = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"masked must be None without mask_token; got a tensor"):
        vit(x, masked=masked)
    with pytest.raises(ValueError, match=r"masked must have shape \(2, 3\); got \(2, 2\)"):
        vit(x, masked=masked[:, :2])
    with pytest.raises(ValueError, match=r"ViT1d: visible must be int64; got torch.bool"):
        vit(x, visible=masked)
    with pytest.raises(ValueError, match=r"ViT1d: visible must have batch 2; got 1"):
        vit(x, visible=torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"ViT1d: tokens of visible must be >= 1; got 0"):
        vit(x, visible=torch.zeros(2, 0, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 12\); got \(2, 3\)"):
        vit(x, valid=masked)
    with pytest.raises(ValueError, match=r"PatchEmbed1d: batch must be >= 1; got 0"):
        vit(x[:0])
