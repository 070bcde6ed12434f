"""Activation checkpointing, normed queries and keys, layer scale, and attention without masks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok.masking import random_mask
from ssltok.nn import (
    Attention,
    DilatedConvEncoder,
    JEPAPredictor,
    LatentRegressor,
    LevelEmbedding,
    PatchEmbed1d,
    ResNet1d,
    RotaryPositions,
    SwinTransformer1d,
    TokenEmbedding,
    TokenTransformer,
    Transformer,
    ViT1d,
    patchify,
    token_places,
)
from tests.nn.test_transformer import scrambled

# oracle


def test_normed_queries_and_keys_are_the_formula() -> None:
    attention = scrambled(Attention(6, heads=2, qk_norm=nn.LayerNorm).double())
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    q, k, v = (attention.inward(x)[..., 6 * i : 6 * i + 6] for i in range(3))
    mixed = []
    for h in range(2):
        part = slice(3 * h, 3 * h + 3)
        norms = (attention.query_norm, attention.key_norm)
        query, key = (
            (y[..., part] - y[..., part].mean(-1, keepdim=True))
            / (y[..., part].var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
            * norm.weight
            + norm.bias
            for y, norm in zip((q, k), norms, strict=True)
        )
        mixed.append((query @ key.mT / 3**0.5).softmax(-1) @ v[..., part])
    expected = torch.cat(mixed, dim=-1) @ attention.outward.weight.T
    torch.testing.assert_close(attention(x), expected)
    other = attention(x[:, :3], key=x)
    torch.testing.assert_close(other, expected[:, :3])


def test_products_do_not_grow_with_the_weights_under_qk_norm() -> None:
    attention = Attention(8, heads=2, qk_norm=nn.RMSNorm).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    before = attention(x)
    with torch.no_grad():
        attention.inward.weight[:16] *= 1e4
    torch.testing.assert_close(attention(x), before, atol=1e-6, rtol=1e-5)


def test_layer_scale_multiplies_what_each_residual_adds() -> None:
    trunk = scrambled(Transformer(6, depth=1, heads=2, layer_scale=0.3).double())
    assert isinstance(trunk, Transformer)
    layer: Any = trunk.layers[0]
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    y = x + layer.attention_scale * layer.attention(layer.attention_norm(x))
    added = layer.mlp_scale * layer.mlp(layer.mlp_norm(y))
    torch.testing.assert_close(trunk(x), trunk.last_norm(y + added))
    torch.testing.assert_close(trunk.hidden_states(x).mlp[0], added)
    fresh: Any = Transformer(6, depth=1, heads=2, layer_scale=0.3).layers[0]
    assert torch.equal(fresh.attention_scale, torch.full((6,), 0.3))
    assert torch.equal(fresh.mlp_scale, torch.full((6,), 0.3))


# laws


def test_options_that_are_off_leave_names_and_draws() -> None:
    torch.manual_seed(0)
    plain = Transformer(8, depth=2, heads=2)
    torch.manual_seed(0)
    rich = Transformer(8, depth=2, heads=2, qk_norm=nn.RMSNorm, layer_scale=1e-5)
    assert not [name for name in plain.state_dict() if "scale" in name or "query" in name]
    for name, value in plain.state_dict().items():
        assert torch.equal(rich.state_dict()[name], value)


@pytest.mark.parametrize("seeded", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_checkpointing_changes_neither_results_nor_gradients_nor_draws(
    seeded: bool, causal: bool
) -> None:
    trunk = Transformer(
        8, depth=4, heads=2, dropout=0.3, stochastic_depth=0.4, condition_dim=3, causal=causal,
        distinct_layers=2, rotary=RotaryPositions(4, grid=(6,)),
    )  # fmt: skip
    scrambled(trunk, std=0.3)
    x, condition = torch.randn(5, 6, 8), torch.randn(5, 3)
    valid = torch.rand(5, 6, generator=torch.Generator().manual_seed(1)) < 0.7
    outs, states = [], []
    for checkpointing in (False, True):
        trunk.checkpointing = checkpointing
        torch.manual_seed(3)
        generator = torch.Generator().manual_seed(2) if seeded else None
        leaf = x.clone().requires_grad_()
        out = trunk(leaf, valid=valid, condition=condition, generator=generator)
        parts = [leaf, *trunk.parameters()]
        outs.append([out, *torch.autograd.grad(out.square().sum(), parts)])
        states.append(torch.get_rng_state() if generator is None else generator.get_state())
    for plain, again in zip(*outs, strict=True):
        assert torch.equal(plain, again)
    assert torch.equal(*states)


def test_checkpointing_keeps_the_input_of_a_layer_alone() -> None:
    trunk = Transformer(8, depth=3, heads=2)
    x = torch.randn(4, 16, 8)

    def numbers_kept() -> int:
        sizes: list[int] = []
        parameters = {p.data_ptr() for p in trunk.parameters()}

        def keep(tensor: Tensor) -> Tensor:
            if tensor.data_ptr() not in parameters:
                sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            trunk(x)
        return sum(sizes)

    plain = numbers_kept()
    trunk.checkpointing = True
    assert numbers_kept() < 0.2 * plain


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> list[Tensor | None]:
    seen: list[Tensor | None] = []
    attention: Callable[..., Tensor] = functional.scaled_dot_product_attention

    def spy(*inputs: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
        seen.append(attn_mask)
        return attention(*inputs, attn_mask=attn_mask, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    return seen


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("places", [False, True])
def test_causal_padding_needs_no_mask(
    masks: list[Tensor | None], rotary: bool, places: bool
) -> None:
    """Any pattern of padding: what is real comes out as it does alone."""
    if places and not rotary:
        return
    turn = RotaryPositions(4, grid=(9,)) if rotary else None
    trunk = scrambled(Transformer(8, depth=2, heads=2, causal=True, rotary=turn).double().eval())
    x = torch.randn(4, 9, 8, dtype=torch.float64)
    valid = torch.tensor(
        [[1] * 9, [1] * 5 + [0] * 4, [0] * 3 + [1] * 6, [1, 0, 1, 1, 0, 0, 1, 0, 1]]
    ).bool()
    at = torch.arange(8).flip(0).expand(4, -1) if places else None
    out = trunk(x.masked_fill(~valid[..., None], torch.nan), valid=valid, places=at, prefix=1)
    states = trunk.hidden_states(x, valid=valid, places=at, prefix=1)
    assert masks == [None] * 4
    masks.clear()
    earlier = torch.ones(9, 9, dtype=torch.bool).tril()
    for row in range(4):
        real = valid[row]
        plain: Any = Transformer(8, depth=2, heads=2, rotary=turn).double().eval()
        plain.load_state_dict(trunk.state_dict())
        allowed = (earlier & real) | torch.eye(9, dtype=torch.bool)
        y = x[row : row + 1]
        rotation = None
        if turn is not None:
            where = None if at is None else at[:1]
            rotation = turn(8, prefix=1) if where is None else turn.at(where, prefix=1)
        for depth, layer in enumerate(plain.layers):
            normed = layer.attention_norm(y)
            y = y + layer.attention(normed, allowed=allowed[None, None], rotation=rotation)
            y = y + layer.mlp(layer.mlp_norm(y))
            torch.testing.assert_close(states.tokens[depth][row][real], y[0][real])
        torch.testing.assert_close(out[row][real], plain.last_norm(y)[0][real])


def test_no_mask_is_built_where_every_token_is_real(masks: list[Tensor | None]) -> None:
    """And one is where a place is -1, or a code."""
    torch.manual_seed(0)
    hidden = random_mask((3, 6), ratio=0.5)
    places = token_places(hidden.mask, slots=3)
    vit = ViT1d(PatchEmbed1d(2, 8, patch=3), Transformer(8, depth=1, heads=2))
    jepa = JEPAPredictor(8, Transformer(8, depth=1, heads=2))
    regressor = LatentRegressor(8, depth=1, heads=2)
    prior = TokenTransformer(TokenEmbedding(4, 8), Transformer(8, depth=1, heads=2), tokens=6)
    x, latents, codes = torch.randn(3, 2, 18), torch.randn(3, 3, 8), torch.randint(5, (3, 6))
    calls: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda places, codes: vit(x, visible=places),
        lambda places, codes: jepa(latents, hidden.visible, places),
        lambda places, codes: regressor(latents, places, hidden.visible),
        lambda places, codes: prior(codes, codes >= 0),
    ]
    for call in calls:
        call(places, codes)
        assert masks == [None]
        masks.clear()
        call(places.where(places != places[1, 2], -1), codes.where(codes != codes[0, 0], -1))
        assert masks != [None]
        masks.clear()


@pytest.mark.parametrize("levels", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_codes_of_minus_one_are_padding(levels: bool, causal: bool) -> None:
    """As with `valid`, and as the row alone."""
    embedding = LevelEmbedding((4, 3), 8) if levels else TokenEmbedding(4, 8)
    trunk = Transformer(8, depth=2, heads=2, causal=causal)
    prior = TokenTransformer(embedding, trunk, tokens=7, classes=2, registers=1)
    scrambled(prior.double().eval(), std=0.4)
    codes = torch.randint(3, (3, 7, 2) if levels else (3, 7))
    codes[1, 4:] = -1
    real = torch.arange(7) < torch.tensor([[7], [4], [7]])
    labels = torch.tensor([0, 1, -1])
    for level in range(1 + levels):
        logits = prior(codes, real, labels, level=level)
        torch.testing.assert_close(logits, prior(codes, real, labels, level=level, valid=real))
        alone = prior(codes[1:2, :4], real[1:2, :4], labels[1:2], level=level)
        torch.testing.assert_close(logits[7:11], alone)


# every encoder of padded series


def test_a_short_row_comes_out_in_a_batch_as_alone() -> None:
    torch.manual_seed(0)
    encoders: dict[str, Any] = {
        "PatchEmbed1d": PatchEmbed1d(2, 8, patch=8),
        "PatchEmbed1d overlap": PatchEmbed1d(2, 8, patch=8, stride=3),
        "PatchEmbed1d observed": PatchEmbed1d(2, 8, patch=8, observed_mask=True),
        "ViT1d": ViT1d(PatchEmbed1d(2, 8, patch=8), Transformer(8, depth=2, heads=2)),
        "ViT1d causal": ViT1d(
            PatchEmbed1d(2, 8, patch=8, stride=5), Transformer(8, depth=2, heads=2, causal=True)
        ),
        "SwinTransformer1d": SwinTransformer1d(
            PatchEmbed1d(2, 8, patch=8), depths=(2, 2), heads=(2, 2), window=2
        ),
        "ResNet1d": ResNet1d(2, widths=(4, 6), blocks=(1, 1)),
        "DilatedConvEncoder": DilatedConvEncoder(2, 8, hidden_dim=4, depth=2),
    }
    for name, encoder in encoders.items():
        scrambled(encoder.double().eval(), std=0.3)
        along = -1 if name in {"ResNet1d", "DilatedConvEncoder"} else 1
        for length in (1, 2, 5, 7, 8, 9, 13):
            x = torch.randn(2, 2, 21, dtype=torch.float64)
            valid = torch.arange(21) < torch.tensor([[21], [length]])
            batch = encoder(x.masked_fill(~valid[:, None], torch.nan), valid=valid)[1:]
            alone = encoder(x[1:, :, :length])
            assert alone.shape[along] >= 1
            cut = batch.narrow(along, 0, alone.shape[along])
            torch.testing.assert_close(cut, alone, msg=f"{name} at {length}")
    assert patchify(torch.ones(1, 1, 3), patch=4).tolist() == [[[1, 1, 1, 0]]]
