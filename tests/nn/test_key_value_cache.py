"""Attention and transformer with a cache: the same numbers as without, wherever rows are cut."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok.nn import (
    Attention,
    KeyValueCache,
    KeyValues,
    RotaryPositions,
    Transformer,
)
from tests.nn.test_transformer import naive_attention, scrambled

BATCH, TOKENS, DIM = 3, 9, 12
CLOSE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-12}


def rotary(*grid: int) -> RotaryPositions:
    torch.set_default_dtype(torch.float64)
    try:
        return RotaryPositions(4, grid=grid)
    finally:
        torch.set_default_dtype(torch.float32)


TRUNKS: dict[str, Callable[[], Transformer]] = {
    "plain": lambda: Transformer(DIM, depth=2, heads=3, causal=True),
    "rotary": lambda: Transformer(DIM, depth=2, heads=3, causal=True, rotary=rotary(TOKENS)),
    "two axes": lambda: Transformer(12, depth=1, heads=3, causal=True, rotary=rotary(3, 4)),
    "shared": lambda: Transformer(
        DIM, depth=4, heads=3, causal=True, distinct_layers=2, norm=nn.RMSNorm, rotary=rotary(9)
    ),
    "adaptive": lambda: Transformer(
        DIM, depth=2, heads=3, causal=True, condition_dim=5, mlp_ratio=0.5, rotary=rotary(9)
    ),
    "normed queries and scaled layers": lambda: Transformer(
        DIM,
        depth=2,
        heads=3,
        causal=True,
        qk_norm=nn.LayerNorm,
        layer_scale=0.3,
        rotary=rotary(9),
    ),
    "drops in training": lambda: Transformer(
        DIM, depth=2, heads=3, causal=True, dropout=0.5, stochastic_depth=0.5
    ),
}
PADDING = {
    "none": None,
    "left": [[0, 0, 0, 1, 1, 1, 1, 1, 1], [1] * 9, [0, 1, 1, 1, 1, 1, 1, 1, 1]],
    "right": [[1, 1, 1, 1, 1, 1, 1, 0, 0], [1] * 9, [1, 1, 0, 0, 0, 0, 0, 0, 0]],
    "holes": [[1, 0, 1, 1, 0, 0, 1, 1, 1], [0] * 9, [0, 1, 1, 0, 1, 0, 1, 0, 1]],
}
CUTS = [[9], [1] * 9, [4, 1, 1, 3], [2, 7], [5, 1, 1, 1, 1]]
every_trunk = pytest.mark.parametrize("name", TRUNKS)


def ready(name: str) -> tuple[Transformer, Tensor, dict[str, Any]]:
    trunk = scrambled(TRUNKS[name]().double(), std=0.4)
    assert isinstance(trunk, Transformer)
    x = torch.randn(BATCH, TOKENS, DIM, dtype=torch.float64)
    options = {}
    if trunk.condition_dim:
        options["condition"] = torch.randn(BATCH, trunk.condition_dim, dtype=torch.float64)
    return trunk, x, options


def padding(name: str) -> Tensor | None:
    mask = PADDING[name]
    return None if mask is None else torch.tensor(mask, dtype=torch.bool)


def in_chunks(
    trunk: Transformer, x: Tensor, cuts: list[int], *, valid: Tensor | None, prefix: int,
    **options: Any,
) -> tuple[Tensor, KeyValueCache]:  # fmt: skip
    cache, parts, start = None, [], 0
    for size in cuts:
        at = slice(start, start + size)
        step = trunk.extend(
            x[:, at], cache, valid=None if valid is None else valid[:, at],
            prefix=0 if cache is not None else prefix, **options,
        )  # fmt: skip
        parts.append(step.tokens)
        cache, start = step.cache, start + size
    assert cache is not None
    return torch.cat(parts, dim=1), cache


def whole(
    trunk: Transformer, x: Tensor, *, valid: Tensor | None, prefix: int, **options: Any
) -> Tensor:
    """The uncached form, rotary places counted row by row."""
    places = None
    if valid is not None and trunk.rotary is not None:
        places = torch.full((len(x), x.shape[1] - prefix), -1)
        for row in range(len(x)):
            count = 0
            for column in range(prefix, x.shape[1]):
                if valid[row, column]:
                    places[row, column - prefix] = count
                    count += 1
    out: Tensor = trunk(x, valid=valid, prefix=prefix, places=places, **options)
    return out


# Oracle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 1, 4])
@pytest.mark.parametrize("new", [1, 3])
def test_attention_reads_memory_as_the_naive_loop(before: int, new: int) -> None:
    attention = scrambled(Attention(6, heads=2).double())
    assert isinstance(attention, Attention)
    x = torch.randn(2, before + new, 6, dtype=torch.float64)
    earlier = torch.ones(2, before + new, before + new).tril()
    memory = attention.extend(x[:, :before]).memory if before else None
    step = attention.extend(x[:, before:], memory)
    expected = naive_attention(attention, x, earlier)[:, before:]
    torch.testing.assert_close(step.tokens, expected, **CLOSE)
    keys = (x @ attention.inward.weight[6:12].T).unflatten(2, (2, 3)).transpose(1, 2)
    torch.testing.assert_close(step.memory.keys, keys, **CLOSE)


def test_attention_takes_another_rule_than_the_causal_one() -> None:
    attention = scrambled(Attention(6, heads=2).double())
    assert isinstance(attention, Attention)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    allowed = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 1]], dtype=torch.bool)
    step = attention.extend(x[:, 3:], attention.extend(x[:, :3]).memory, allowed=allowed)
    full = torch.ones(2, 5, 5)
    full[:, 3:] = allowed
    torch.testing.assert_close(step.tokens, naive_attention(attention, x, full)[:, 3:], **CLOSE)


@every_trunk
@pytest.mark.parametrize("padded", PADDING)
@pytest.mark.parametrize("prefix", [0, 2])
def test_in_chunks_as_all_at_once(name: str, padded: str, prefix: int) -> None:
    trunk, x, options = ready(name)
    valid = padding(padded)
    if valid is not None:
        valid[:, :prefix] = True
        x = x.masked_fill(~valid[..., None], torch.nan)  # padding may be anything
    shown = slice(None) if valid is None else valid
    expected = whole(trunk.eval(), x, valid=valid, prefix=prefix, **options)[shown]
    for training in (False, True):
        trunk.train(training)  # nothing is dropped
        for cuts in CUTS:
            if cuts[0] >= prefix:
                tokens, cache = in_chunks(trunk, x, cuts, valid=valid, prefix=prefix, **options)
                torch.testing.assert_close(tokens[shown], expected, **CLOSE)
                assert tokens.isfinite().all()
                assert (cache.tokens, cache.prefix) == (TOKENS, prefix)
                assert (cache.valid is None) == (valid is None)


# Laws -----------------------------------------------------------------------------------------


@every_trunk
def test_padding_in_one_part_alone(name: str) -> None:
    """A prompt with padding and new tokens without, and the other way round."""
    trunk, x, options = ready(name)
    trunk.eval()
    for first in (True, False):
        valid = torch.ones(BATCH, TOKENS, dtype=torch.bool)
        valid[1, 1 if first else 7] = False
        one = trunk.extend(x[:, :5], valid=valid[:, :5] if first else None, **options)
        two = trunk.extend(x[:, 5:], one.cache, valid=None if first else valid[:, 5:], **options)
        tokens = torch.cat([one.tokens, two.tokens], dim=1)
        expected = whole(trunk, x, valid=valid, prefix=0, **options)
        torch.testing.assert_close(tokens[valid], expected[valid], **CLOSE)


@every_trunk
def test_a_cache_is_a_value(name: str) -> None:
    """Two continuations of one cache do not meet, and the module remembers nothing."""
    trunk, x, options = ready(name)
    trunk.eval()
    state = {key: value.clone() for key, value in trunk.state_dict().items()}
    attributes = set(vars(trunk))
    first = trunk.extend(x[:, :6], **options)
    before = [KeyValues(*(part.clone() for part in layer)) for layer in first.cache.layers]
    one = trunk.extend(x[:, 6:], first.cache, **options).tokens
    trunk.extend(-x[:, 6:], first.cache, **options)
    again = trunk.extend(x[:, 6:], first.cache, **options).tokens
    assert torch.equal(one, again)
    for layer, old in zip(first.cache.layers, before, strict=True):
        assert torch.equal(layer.keys, old.keys)
        assert torch.equal(layer.values, old.values)
    assert set(vars(trunk)) == attributes
    assert all(torch.equal(trunk.state_dict()[key], value) for key, value in state.items())


@every_trunk
@pytest.mark.parametrize("padded", ["none", "holes"])
def test_rows_are_selected(name: str, padded: str) -> None:
    trunk, x, options = ready(name)
    trunk.eval()
    valid, rows = padding(padded), torch.tensor([2, 0, 0, 1])
    front = None if valid is None else valid[:, :5]
    cache = trunk.extend(x[:, :5], valid=front, **options).cache.select(rows)
    picked = {key: value[rows] for key, value in options.items()}
    step = trunk.extend(x[rows, 5:], cache, **picked)
    expected = trunk.extend(
        x[:, 5:], trunk.extend(x[:, :5], valid=front, **options).cache, **options
    )
    torch.testing.assert_close(step.tokens, expected.tokens[rows], **CLOSE)


def test_gradients_flow_through_the_cache() -> None:
    trunk, x, _ = ready("rotary")
    x.requires_grad_()
    weight = torch.randn(BATCH, TOKENS, DIM, dtype=torch.float64)
    (expected,) = torch.autograd.grad((trunk(x) * weight).sum(), x)
    tokens, _ = in_chunks(trunk, x, [4, 1, 4], valid=None, prefix=0)
    (grad,) = torch.autograd.grad((tokens * weight).sum(), x)
    torch.testing.assert_close(grad, expected, **CLOSE)


def test_rotary_places_go_on() -> None:
    turned = rotary(9)
    for whole_part, part in zip(turned(9), turned(4, start=3), strict=True):
        assert torch.equal(whole_part[3:7], part)
    cos, sin = turned(2, prefix=3, start=5)
    assert torch.equal(cos[:3], torch.ones(3, 2, dtype=torch.float64))
    assert torch.equal(sin[3:], turned(9)[1][5:7])


def test_a_prefix_alone_is_not_turned() -> None:
    trunk, x, _ = ready("rotary")
    expected = trunk(x, prefix=2)[:, :2]
    torch.testing.assert_close(trunk(x[:, :2], prefix=2), expected, **CLOSE)
    torch.testing.assert_close(trunk.extend(x[:, :2], prefix=2).tokens, expected, **CLOSE)


def test_half_precision_and_autocast() -> None:
    trunk = Transformer(8, depth=2, heads=2, causal=True).eval()
    x = torch.randn(2, 5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = trunk.extend(x[:, :3])
        step = trunk.extend(x[:, 3:], first.cache)
    assert first.cache.layers[0].keys.dtype == torch.bfloat16
    assert (step.tokens - trunk(x)[:, 3:]).square().mean() < 2e-3
    with pytest.raises(ValueError, match=r"Attention: memory must have the dtype .*float32; got"):
        trunk.extend(x[:, 3:], first.cache)


# Complaints -----------------------------------------------------------------------------------


def change(cache: KeyValueCache, **options: Any) -> KeyValueCache:
    return cache._replace(**options)


def shorter(cache: KeyValueCache) -> KeyValueCache:
    first, last = cache.layers
    return change(cache, layers=(first, KeyValues(last.keys[:, :, 1:], last.values[:, :, 1:])))


def single(layer: KeyValues) -> KeyValues:
    return KeyValues(layer.keys.float(), layer.values.float())


WRONG: dict[str, tuple[Callable[[KeyValueCache], Any], type[Exception], str]] = {
    "no cache": (lambda _: 3, TypeError, "Transformer: cache must be a KeyValueCache; got int"),
    "no memory": (
        lambda c: change(c, layers=(tuple(c.layers[0]), c.layers[1])),
        TypeError,
        "Transformer: memory must be KeyValues; got tuple",
    ),
    "depth": (
        lambda c: change(c, layers=c.layers[:1]),
        ValueError,
        "Transformer: cache must have 2 layers; got 1",
    ),
    "length": (shorter, ValueError, r"Transformer: layers of cache .* one length; got \[3, 4\]"),
    "batch": (
        lambda c: c.select(torch.tensor([0])),
        ValueError,
        "Transformer: keys of memory must have size 3 in dimension 0; got 1",
    ),
    "heads": (
        lambda c: change(c, layers=tuple(KeyValues(k[:, :2], v[:, :2]) for k, v in c.layers)),
        ValueError,
        "Transformer: keys of memory must have size 3 in dimension 1; got 2",
    ),
    "head_dim": (
        lambda c: change(c, layers=tuple(KeyValues(k[..., :2], v[..., :2]) for k, v in c.layers)),
        ValueError,
        "Transformer: keys of memory must have size 4 in dimension 3; got 2",
    ),
    "keys and values": (
        lambda c: change(c, layers=tuple(KeyValues(k, v[:, :, 1:]) for k, v in c.layers)),
        ValueError,
        "Transformer: keys and values of memory must share one shape",
    ),
    "axes": (
        lambda c: change(c, layers=tuple(KeyValues(k[0], v[0]) for k, v in c.layers)),
        ValueError,
        r"Transformer: keys of memory must be \(batch, heads, tokens, head_dim\)",
    ),
    "dtype": (
        lambda c: change(c, layers=tuple(single(layer) for layer in c.layers)),
        ValueError,
        "Attention: memory must have the dtype of new keys, torch.float64; got torch.float32",
    ),
    "dtype of a layer": (
        lambda c: change(c, layers=(c.layers[0], single(c.layers[1]))),
        ValueError,
        "Transformer: layers of cache must share one dtype",
    ),
    "dtype of values": (
        lambda c: change(c, layers=tuple(KeyValues(k, v.float()) for k, v in c.layers)),
        ValueError,
        "Transformer: keys and values of memory must share one dtype",
    ),
    "valid": (
        lambda c: change(c, valid=torch.ones(3, 5, dtype=torch.bool)),
        ValueError,
        r"Transformer: valid of cache must have shape \(3, 4\); got \(3, 5\)",
    ),
    "prefix": (
        lambda c: change(c, prefix=5),
        ValueError,
        r"Transformer: prefix of cache must lie in \[0, 4\]; got 5",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_cache_is_refused(name: str) -> None:
    trunk, x, _ = ready("rotary")
    spoil, kind, message = WRONG[name]
    cache = spoil(trunk.extend(x[:, :4]).cache)
    with pytest.raises(kind, match=message):
        trunk.extend(x[:, 4:], cache)


@pytest.mark.parametrize("name", ["batch", "heads", "head_dim", "keys and values", "axes", "dtype"])
def test_another_memory_is_refused_by_attention(name: str) -> None:
    attention = Attention(12, heads=3).double()
    x = torch.randn(3, 6, 12, dtype=torch.float64)
    cache = WRONG[name][0](KeyValueCache((attention.extend(x[:, :4]).memory,)))
    with pytest.raises(ValueError, match=WRONG[name][2].replace("Transformer", "Attention")):
        attention.extend(x[:, 4:], cache.layers[0])


def test_complaints() -> None:
    trunk, x, _ = ready("rotary")
    cache = trunk.extend(x, prefix=1).cache
    with pytest.raises(ValueError, match="Transformer: prefix must be 0 beside a cache; got 1"):
        trunk.extend(x[:, :2], cache, prefix=1)
    with pytest.raises(ValueError, match=r"tokens must lie in \[1, 1\]; got 2 behind 8"):
        trunk.extend(x[:, :2], cache)
    valid = torch.ones(BATCH, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"Transformer: places must lie in \[0, 9\); got 9"):
        trunk.extend(x[:, :2], cache, valid=valid)
    valid[:, 1] = False
    assert trunk.extend(x[:, :2], cache, valid=valid).tokens.isfinite().all()
    with pytest.raises(ValueError, match="RotaryPositions: start must be >= 0; got -1"):
        rotary(3)(1, start=-1)
    with pytest.raises(ValueError, match="Transformer: causal must be True to extend; got False"):
        Transformer(8, depth=1, heads=2).extend(torch.randn(1, 2, 8))
    with pytest.raises(ValueError, match=r"Attention: x must be \(batch, tokens, dim\)"):
        Attention(8, heads=2).extend(torch.randn(2, 8))
    with pytest.raises(ValueError, match="Attention: x must have size 8 in dimension 2; got 6"):
        Attention(8, heads=2).extend(torch.randn(1, 2, 6))
