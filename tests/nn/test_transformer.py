"""Attention, rotary positions and the trunk."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ssltok.nn import Attention, RotaryPositions, Transformer
from ssltok.nn._noise import drop_elements, drop_rows
from ssltok.nn._rotary import rotate


def scrambled(module: nn.Module, *, seed: int = 0, std: float = 0.5) -> nn.Module:
    """Give every parameter a random value: defaults of 0 and 1 would hide mistakes."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module


def naive_attention(attention: Attention, x: Tensor, allowed: Tensor, turn: bool = False) -> Tensor:
    """softmax(Q K^T / sqrt(head_dim)) V by loops over batch, heads and queries."""
    batch, tokens, dim = x.shape
    size = dim // attention.heads
    query, key, value = (attention.inward.weight[i * dim : (i + 1) * dim] for i in range(3))
    out = torch.zeros_like(x)
    for b in range(batch):
        for h in range(attention.heads):
            part = slice(h * size, (h + 1) * size)
            q, k, v = (x[b] @ w[part].T for w in (query, key, value))
            if turn:
                q, k = spin(q), spin(k)
            for i in range(tokens):
                seen = [j for j in range(tokens) if allowed[b, i, j]]
                weight = torch.stack([(q[i] @ k[j] / math.sqrt(size)).exp() for j in seen])
                total = torch.stack([w * v[j] for w, j in zip(weight, seen, strict=True)]).sum(0)
                out[b, i, part] = total / weight.sum()
    return out @ attention.outward.weight.T


def spin(x: Tensor) -> Tensor:
    """Rotary positions as complex numbers: pair i of token p times exp(i p theta_i)."""
    tokens, dim = x.shape
    pairs = torch.complex(x[:, : dim // 2], x[:, dim // 2 :])
    theta = torch.tensor([10_000 ** (-2 * i / dim) for i in range(dim // 2)], dtype=torch.float64)
    turned = pairs * torch.exp(1j * torch.arange(tokens)[:, None] * theta)
    return torch.cat([turned.real, turned.imag], dim=1)


# Oracle ---------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(1, 5), st.sampled_from([1, 2, 3]), st.integers(0, 99))
def test_attention_is_the_naive_loop(batch: int, tokens: int, heads: int, seed: int) -> None:
    attention = scrambled(Attention(6, heads=heads).double(), seed=seed)
    assert isinstance(attention, Attention)
    x = torch.randn(batch, tokens, 6, dtype=torch.float64)
    allowed = torch.rand(batch, tokens, tokens) < 0.5
    allowed |= torch.eye(tokens, dtype=torch.bool)
    everywhere, earlier = torch.ones_like(allowed), torch.ones_like(allowed).tril()
    torch.testing.assert_close(attention(x), naive_attention(attention, x, everywhere))
    masked = attention(x, allowed=allowed.unsqueeze(1))
    torch.testing.assert_close(masked, naive_attention(attention, x, allowed))
    torch.testing.assert_close(attention(x, causal=True), naive_attention(attention, x, earlier))


def test_rotary_attention_is_the_naive_loop() -> None:
    attention = scrambled(Attention(8, heads=2).double())
    assert isinstance(attention, Attention)
    torch.set_default_dtype(torch.float64)
    try:
        rotary = RotaryPositions(4, grid=(5,))
    finally:
        torch.set_default_dtype(torch.float32)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    expected = naive_attention(attention, x, torch.ones(2, 5, 5), turn=True)
    torch.testing.assert_close(attention(x, rotation=rotary(5)), expected)


def test_trunk_is_pre_norm_residuals() -> None:
    trunk = scrambled(Transformer(6, depth=4, heads=2, mlp_ratio=1.5, distinct_layers=2).double())
    assert isinstance(trunk, Transformer)
    x = y = torch.randn(2, 3, 6, dtype=torch.float64)
    full = torch.ones(2, 3, 3)

    def norm(v: Tensor, module: nn.Module) -> Tensor:
        assert isinstance(module, nn.LayerNorm)
        centred = v - v.mean(-1, keepdim=True)
        unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return unit * module.weight + module.bias

    for index in (0, 0, 1, 1):
        layer = trunk.get_submodule(f"layers.{index}")
        attention, first, second = map(layer.get_submodule, ("attention", "mlp.0", "mlp.2"))
        assert isinstance(attention, Attention)
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        assert first.out_features == 9
        y = y + naive_attention(attention, norm(y, layer.get_submodule("attention_norm")), full)
        hidden = norm(y, layer.get_submodule("mlp_norm")) @ first.weight.T + first.bias
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        y = y + hidden @ second.weight.T + second.bias
    torch.testing.assert_close(trunk(x), norm(y, trunk.last_norm))


def test_adaptive_norms_scale_and_shift() -> None:
    """With constant scales and shifts, an adaptive trunk is a plain one with other norm weights."""
    adaptive = Transformer(4, depth=1, heads=2, condition_dim=3).double()
    plain = Transformer(4, depth=1, heads=2).double()
    shared = {k: v for k, v in adaptive.state_dict().items() if "modulation" not in k}
    made = torch.randn(4, 4, dtype=torch.float64)
    modulation = adaptive.get_submodule("layers.0.modulation")
    assert isinstance(modulation, nn.Linear)
    with torch.no_grad():
        modulation.bias.copy_(made.flatten())
    shared["layers.0.attention_norm.weight"] = 1 + made[0]
    shared["layers.0.attention_norm.bias"] = made[1]
    shared["layers.0.mlp_norm.weight"] = 1 + made[2]
    shared["layers.0.mlp_norm.bias"] = made[3]
    plain.load_state_dict(shared)
    x, c = torch.randn(2, 5, 4, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(adaptive(x, condition=c), plain(x))
    with torch.no_grad():
        modulation.weight.normal_()
    assert not torch.allclose(adaptive(x, condition=c), plain(x))
    swish = c * torch.sigmoid(c)
    with torch.no_grad():
        modulation.bias.copy_(made.flatten() - modulation.weight @ swish[0])
    torch.testing.assert_close(adaptive(x, condition=c)[0], plain(x)[0])


def test_reading_from_others_is_torch_s_own_cross_attention() -> None:
    attention = scrambled(Attention(6, heads=3).double())
    assert isinstance(attention, Attention)
    peer = nn.MultiheadAttention(6, 3, bias=False, batch_first=True, dtype=torch.float64)
    peer.in_proj_weight = nn.Parameter(attention.inward.weight)
    peer.out_proj.weight = attention.outward.weight
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    key, value = torch.randn(2, 2, 5, 6, dtype=torch.float64)
    hidden = torch.tensor([[False, False, True, False, True], [False] * 5])
    expected = peer(x, key, value, key_padding_mask=hidden, need_weights=False)[0]
    allowed = ~hidden[:, None, None]
    torch.testing.assert_close(attention(x, key=key, value=value, allowed=allowed), expected)
    expected = peer(x, key, key, need_weights=False)[0]
    torch.testing.assert_close(attention(x, key=key), expected)
    torch.testing.assert_close(attention(x, key=x, value=x), attention(x))


def test_bias_is_added_before_the_softmax() -> None:
    """A weight times exp(bias): a bias of log 2 counts a token twice."""
    attention = scrambled(Attention(6, heads=2).double())
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    doubled = torch.cat([x, x[:, 1:2]], dim=1)
    bias = torch.tensor([0.0, math.log(2), 0.0], dtype=torch.float64)
    expected = attention(doubled)[:, :3]
    torch.testing.assert_close(attention(x, bias=bias.expand(3, 3)), expected)
    per_head = torch.randn(2, 3, 3, dtype=torch.float64)
    allowed = torch.tensor([[True, False, True]]).expand(3, 3)
    peer = per_head.masked_fill(~allowed, -math.inf)
    torch.testing.assert_close(
        attention(x, bias=per_head, allowed=allowed), attention(x, bias=peer)
    )
    high = attention(x, bias=per_head)
    low = attention.float()(x.float(), bias=per_head)
    torch.testing.assert_close(low.double(), high, atol=1e-5, rtol=0)


# Known values ---------------------------------------------------------------------------------


def test_rotation_sees_distances_only() -> None:
    rotary = RotaryPositions(8, grid=(50,))
    q, k = torch.randn(2, 8).unbind()
    queries = rotate(q.expand(1, 1, 50, 8), rotary(50))[0, 0]
    keys = rotate(k.expand(1, 1, 50, 8), rotary(50))[0, 0]
    product = queries @ keys.T
    for distance in (-7, 0, 3, 20):
        diagonal = product.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=0)
    torch.testing.assert_close(product[0, 0], q @ k)
    torch.testing.assert_close(queries.norm(dim=-1), q.norm().expand(50))


def test_rotation_on_a_grid_sees_the_distance_on_each_axis() -> None:
    rotary = RotaryPositions(8, grid=(3, 4))
    q, k = torch.randn(2, 8).unbind()
    product = rotate(q.expand(1, 1, 12, 8), rotary(12))[0, 0] @ (
        rotate(k.expand(1, 1, 12, 8), rotary(12))[0, 0].T
    )
    product = product.view(3, 4, 3, 4)
    torch.testing.assert_close(product[0, 1, 2, 2], product[0, 2, 2, 3])
    torch.testing.assert_close(product[0, 1, 1, 2], product[1, 0, 2, 1])
    assert not torch.isclose(product[0, 1, 1, 2], product[0, 1, 2, 2])
    assert not torch.isclose(product[0, 1, 1, 2], product[0, 1, 1, 3])


def test_leading_tokens_are_not_turned() -> None:
    rotary = RotaryPositions(4, grid=(6,))
    x = torch.randn(2, 1, 5, 4)
    turned = rotate(x, rotary(3, prefix=2))
    assert torch.equal(turned[:, :, :2], x[:, :, :2])
    torch.testing.assert_close(turned[:, :, 2:], rotate(x[:, :, 2:], rotary(3)))


def test_places_pick_the_turns_of_the_grid() -> None:
    rotary = RotaryPositions(4, grid=(2, 5))
    everything = rotary(10)
    places = torch.tensor([[7, 0, 9], [3, 3, -1]])
    for made, whole in zip(rotary.at(places, prefix=2), everything, strict=True):
        assert made.shape == (2, 1, 5, 2)
        assert torch.equal(made[0, 0, 2:], whole[[7, 0, 9]])
        assert torch.equal(made[1, 0, 2:4], whole[[3, 3]])
    cos, sin = rotary.at(places, prefix=2)
    assert torch.equal(cos[:, :, :2], torch.ones(2, 1, 2, 2))
    assert torch.equal(sin[:, :, :2], torch.zeros(2, 1, 2, 2))
    trunk = scrambled(Transformer(8, depth=2, heads=2, rotary=RotaryPositions(4, grid=(9,))))
    x = torch.randn(2, 6, 8)
    counted = torch.arange(4).expand(2, 4)
    torch.testing.assert_close(trunk(x, prefix=2, places=counted), trunk(x, prefix=2))
    order = torch.tensor([2, 0, 3, 1])
    moved = trunk(x[:, [0, 1, 4, 2, 5, 3]], prefix=2, places=counted[:, order])
    torch.testing.assert_close(moved[:, 2:], trunk(x, prefix=2)[:, 2:][:, order])


def test_dropping_keeps_the_mean_and_counts() -> None:
    generator = torch.Generator().manual_seed(5)
    ones = torch.ones(4000, 3, 2)
    rows = drop_rows(ones, 0.25, generator=generator)
    assert torch.equal(rows, rows[:, :1, :1].expand_as(rows))
    assert set(rows.flatten().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert float((rows[:, 0, 0] == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    for source in (generator, None):
        torch.manual_seed(6)
        elements = drop_elements(ones, 0.4, generator=source)
        assert float((elements == 0).float().mean()) == pytest.approx(0.4, abs=0.015)
        assert float(elements.mean()) == pytest.approx(1, abs=0.03)
    assert drop_elements(ones, 0.0, generator=generator) is ones
    assert drop_rows(ones, 0.0, generator=None) is ones
    assert drop_rows(ones, 1.0, generator=generator).abs().sum() == 0


def test_stochastic_depth_of_one_leaves_out_the_last_layer() -> None:
    """Depth 2 at ratio 1: layer 1 is dropped half of the time, layer 2 always."""
    trunk = scrambled(Transformer(4, depth=2, heads=1, stochastic_depth=1.0)).train()
    x = torch.randn(200, 3, 4)
    out = trunk(x, generator=torch.Generator().manual_seed(0))
    untouched = (out - trunk.get_submodule("last_norm")(x)).abs().amax(dim=(1, 2)) < 1e-6
    assert 20 < int(untouched.sum()) < 80  # both residuals of layer 1 dropped: 1/4 of 200
    assert not torch.allclose(trunk.eval()(x), trunk.get_submodule("last_norm")(x))


# Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rotary", [False, True])
def test_padding_cannot_leak(causal: bool, rotary: bool) -> None:
    positions = RotaryPositions(4, grid=(9,)) if rotary else None
    trunk = scrambled(Transformer(8, depth=3, heads=2, causal=causal, rotary=positions), std=0.3)
    x = torch.randn(4, 9, 8, requires_grad=True)
    valid = torch.rand(4, 9) < 0.6
    valid[0], valid[1] = True, False
    out = trunk(x, valid=valid)
    weight = torch.randn_like(out) * valid.unsqueeze(-1)
    (out * weight).sum().backward()
    assert x.grad is not None
    assert x.grad[~valid].abs().max() == 0
    assert torch.isfinite(x.grad).all()
    garbage = torch.where(valid.unsqueeze(-1), x.detach(), torch.full_like(x, torch.nan))
    assert torch.equal(trunk(garbage, valid=valid)[valid], out[valid])
    torch.testing.assert_close(trunk(x[:1]), out[:1])
    if not rotary and not causal:
        short = trunk(x[2:3, valid[2]])
        torch.testing.assert_close(short[0], out[2, valid[2]], atol=1e-5, rtol=1e-4)


def test_causal_never_sees_ahead_and_bidirectional_does() -> None:
    x = torch.randn(2, 7, 8, requires_grad=True)
    for causal in (True, False):
        trunk = scrambled(Transformer(8, depth=2, heads=2, causal=causal))
        (grad,) = torch.autograd.grad(trunk(x)[:, 3].square().sum(), x)
        assert (grad[:, 4:].abs().max() == 0) == causal
        assert (grad[:, :4].abs().amax(dim=-1) > 0).all()


def test_without_positions_order_does_not_matter() -> None:
    trunk = scrambled(Transformer(8, depth=2, heads=4)).double()
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    order = torch.randperm(6)
    torch.testing.assert_close(trunk(x)[:, order], trunk(x[:, order]))


@pytest.mark.parametrize("distinct", [1, 2, 4])
def test_shared_layers_have_one_set_of_weights(distinct: int) -> None:
    def size(layers: int | None, depth: int) -> int:
        trunk = Transformer(8, depth=depth, heads=2, distinct_layers=layers)
        return sum(p.numel() for p in trunk.parameters())

    assert size(distinct, 4) == size(None, distinct)


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_gradients_reach_everything(norm: type[nn.LayerNorm] | type[nn.RMSNorm]) -> None:
    torch.manual_seed(3)
    trunk = Transformer(8, depth=2, heads=2, norm=norm, condition_dim=5)
    nn.init.normal_(trunk.get_submodule("layers.0.modulation").weight)  # type: ignore[arg-type]
    out = trunk(torch.randn(4, 5, 8), condition=torch.randn(4, 5))
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-5, name


def test_gradcheck() -> None:
    trunk = Transformer(4, depth=1, heads=2, rotary=RotaryPositions(2, grid=(3,))).double()
    x = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[True, False, True]])
    assert torch.autograd.gradcheck(lambda v: trunk(v, valid=valid)[valid], (x,))


def test_noise_comes_from_the_generator_and_only_in_training() -> None:
    trunk = Transformer(8, depth=2, heads=2, dropout=0.3, stochastic_depth=0.5)
    x = torch.randn(4, 5, 8)
    state = torch.get_rng_state()
    first = trunk(x, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, trunk(x, generator=torch.Generator().manual_seed(1)))
    assert not torch.equal(first, trunk(x, generator=torch.Generator().manual_seed(2)))
    trunk.eval()
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    assert torch.equal(trunk(x), trunk(x, generator=generator))
    assert torch.equal(before, generator.get_state())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("tokens", [1, 4096])
def test_few_and_many_tokens(tokens: int) -> None:
    trunk = Transformer(8, depth=1, heads=1, rotary=RotaryPositions(8, grid=(4096,))).eval()
    with torch.no_grad():
        assert torch.isfinite(trunk(torch.randn(1, tokens, 8))).all()


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    x = torch.randn(2, 3, 4)
    with pytest.raises(ValueError, match=r"Attention: heads must divide dim; got 3 and 4"):
        Attention(4, heads=3)
    with pytest.raises(ValueError, match=r"Attention: heads must be >= 1; got 0"):
        Attention(4, heads=0)
    with pytest.raises(ValueError, match=r"Attention: dim must be >= 1; got 0"):
        Attention(0, heads=1)
    with pytest.raises(ValueError, match=r"causal must be False beside allowed or bias; got both"):
        Attention(4, heads=1)(x, causal=True, allowed=torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"causal must be False beside allowed or bias; got both"):
        Attention(4, heads=1)(x, causal=True, bias=torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"Attention: key must be given beside value; got None"):
        Attention(4, heads=1)(x, value=x)
    with pytest.raises(ValueError, match=r"key must be None with causal or rotation; got a tensor"):
        Attention(4, heads=1)(x, key=x, causal=True)
    with pytest.raises(ValueError, match=r"key must be None with causal or rotation; got a tensor"):
        Attention(4, heads=1)(x, key=x, rotation=RotaryPositions(4, grid=(3,))(3))
    with pytest.raises(ValueError, match=r"Attention: key must have size 2 in dimension 0; got 1"):
        Attention(4, heads=1)(x, key=x[:1])
    with pytest.raises(ValueError, match=r"Attention: key must have size 4 in dimension 2; got 3"):
        Attention(4, heads=1)(x, key=x[..., :3])
    with pytest.raises(ValueError, match=r"key and value must share one shape; got"):
        Attention(4, heads=1)(x, key=x, value=x[:, :2])
    with pytest.raises(ValueError, match=r"places must be None without rotary; got a tensor"):
        Transformer(4, depth=1, heads=1)(x, places=torch.zeros(2, 3, dtype=torch.int64))
    turning = Transformer(4, depth=1, heads=1, rotary=RotaryPositions(4, grid=(3,)))
    with pytest.raises(ValueError, match=r"places must have size 2 in dimension 1; got 3"):
        turning(x, prefix=1, places=torch.zeros(2, 3, dtype=torch.int64))
    for prefix in (-1, 4):
        with pytest.raises(
            ValueError, match=rf"Transformer: prefix must lie in \[0, 3\]; got {prefix}"
        ):
            Transformer(4, depth=1, heads=1)(x, prefix=prefix)
    with pytest.raises(ValueError, match=r"RotaryPositions: places must be int64; got torch.float"):
        turning(x, places=torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"Attention: x must have size 4 in dimension 2; got 5"):
        Attention(4, heads=1)(torch.randn(2, 3, 5))
    with pytest.raises(ValueError, match=r"head_dim must be a multiple of 4; got 6"):
        RotaryPositions(6, grid=(2, 3))
    with pytest.raises(ValueError, match=r"RotaryPositions: axes of grid must be >= 1; got 0"):
        RotaryPositions(6, grid=())
    with pytest.raises(ValueError, match=r"RotaryPositions: grid must be >= 1; got 0"):
        RotaryPositions(8, grid=(2, 0))
    with pytest.raises(ValueError, match=r"RotaryPositions: base must be > 0; got -1"):
        RotaryPositions(8, grid=(2,), base=-1.0)
    with pytest.raises(ValueError, match=r"RotaryPositions: tokens must lie in \[1, 2\]; got 3"):
        RotaryPositions(8, grid=(2,))(3)
    with pytest.raises(ValueError, match=r"Transformer: depth must be >= 1; got 0"):
        Transformer(4, depth=0, heads=1)
    with pytest.raises(ValueError, match=r"distinct_layers must divide depth; got 2 and 3"):
        Transformer(4, depth=3, heads=1, distinct_layers=2)
    with pytest.raises(ValueError, match=r"Transformer: mlp_ratio must be > 0; got 0"):
        Transformer(4, depth=1, heads=1, mlp_ratio=0)
    with pytest.raises(ValueError, match=r"Transformer: dropout must lie in \[0, 1\]; got 2"):
        Transformer(4, depth=1, heads=1, dropout=2)
    with pytest.raises(ValueError, match=r"stochastic_depth must lie in \[0, 1\]; got -1"):
        Transformer(4, depth=1, heads=1, stochastic_depth=-1)
    with pytest.raises(ValueError, match=r"rotary must have head_dim 4; got 2"):
        Transformer(4, depth=1, heads=1, rotary=RotaryPositions(2, grid=(3,)))
    trunk = Transformer(4, depth=1, heads=1)
    with pytest.raises(ValueError, match=r"Transformer: x must be \(batch, tokens, dim\); got"):
        trunk(x[0])
    with pytest.raises(ValueError, match=r"Transformer: batch must be >= 1; got 0"):
        trunk(x[:0])
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 3\); got \(2, 4\)"):
        trunk(x, valid=torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"condition must have shape None; got \(2, 4\)"):
        trunk(x, condition=x[:, 0])
    with pytest.raises(ValueError, match=r"condition must have shape \(2, 3\); got None"):
        Transformer(4, depth=1, heads=1, condition_dim=3)(x)
