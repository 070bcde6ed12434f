"""The shifted-window transformer for series."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ssltok.nn import PatchEmbed1d, SwinTransformer1d
from ssltok.nn._swin import WindowAttention, pairs
from tests.nn.test_transformer import scrambled


def small(
    *,
    channels: int = 2,
    patch: int = 2,
    stride: int | None = None,
    depths: tuple[int, ...] = (2, 3),
) -> SwinTransformer1d:
    swin = SwinTransformer1d(
        PatchEmbed1d(channels, 8, patch=patch, stride=stride),
        depths=depths,
        heads=[2 * 2**stage for stage in range(len(depths))],
        window=4,
        mlp_ratio=2.0,
    )
    scrambled(swin, std=0.3)
    return swin.eval()


def part(module: nn.Module, name: str) -> nn.Linear:
    found = module.get_submodule(name)
    assert isinstance(found, nn.Linear)
    return found


def naive_windows(module: WindowAttention, x: Tensor, valid: Tensor) -> Tensor:
    """Each token reads the real tokens of its window: floor((place - shift) / window) is equal."""
    batch, tokens, dim = x.shape
    inner = module.attention
    size = dim // inner.heads
    query, key, value = (x @ w.T for w in inner.inward.weight.chunk(3))
    out = torch.zeros_like(x)
    for b in range(batch):
        for i in range(tokens):
            mates = [
                j
                for j in range(tokens)
                if (j - module.shift) // module.window == (i - module.shift) // module.window
                and valid[b, j]
            ]
            if not mates:
                continue
            for h in range(inner.heads):
                at = slice(h * size, (h + 1) * size)
                scores = torch.stack(
                    [
                        query[b, i, at] @ key[b, j, at] / math.sqrt(size)
                        + module.bias[h, i - j + module.window - 1]
                        for j in mates
                    ]
                )
                weights = scores.exp() / scores.exp().sum()
                out[b, i, at] = sum(
                    w * value[b, j, at] for w, j in zip(weights, mates, strict=True)
                )
    return out @ inner.outward.weight.T


def naive_swin(swin: SwinTransformer1d, series: Tensor, valid: Tensor) -> Tensor:
    """The whole network as the paper tells it, with every token of a stage by itself."""
    x = swin.embedding_norm(swin.embedding(series, valid=valid))
    real = swin.embedding.token_valid(valid)
    for stage, layers in enumerate(swin.stages):
        assert isinstance(layers, nn.ModuleList)
        if stage:
            merged, both = [], []
            for i in range(0, x.shape[1], 2):
                right = x[:, i + 1] if i + 1 < x.shape[1] else torch.zeros_like(x[:, i])
                beside = real[:, i + 1] if i + 1 < x.shape[1] else torch.zeros_like(real[:, i])
                left = x[:, i] * real[:, i, None]
                joined = torch.cat([left, right * beside[:, None]], dim=1)
                merge = swin.merges[stage - 1]
                merged.append(part(merge, "1")(merge.get_submodule("0")(joined)))
                both.append(real[:, i] | beside)
            x, real = torch.stack(merged, dim=1), torch.stack(both, dim=1)
        for index, layer in enumerate(layers):
            attention = layer.get_submodule("attention")
            assert isinstance(attention, WindowAttention)
            assert attention.shift == (0 if index % 2 == 0 else 2)
            x = x + naive_windows(attention, layer.get_submodule("attention_norm")(x), real)
            hidden = part(layer, "mlp.0")(layer.get_submodule("mlp_norm")(x))
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            x = x + part(layer, "mlp.2")(hidden)
    out: Tensor = swin.last_norm(x)
    return out


# Oracle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_window_attention_is_the_naive_loop(tokens: int, shift: int) -> None:
    module = scrambled(WindowAttention(6, heads=2, window=4, shift=shift).double())
    assert isinstance(module, WindowAttention)
    x = torch.randn(2, tokens, 6, dtype=torch.float64)
    everywhere = torch.ones(2, tokens, dtype=torch.bool)
    torch.testing.assert_close(module(x, valid=None), naive_windows(module, x, everywhere))
    valid = torch.rand(2, tokens) < 0.6
    made, expected = module(x, valid=valid), naive_windows(module, x, valid)
    torch.testing.assert_close(made[valid], expected[valid])


@pytest.mark.parametrize("length", [2, 9, 16, 27, 40])
def test_is_the_transcription_of_the_paper(length: int) -> None:
    swin = small(depths=(2, 1, 1)).double()
    series = torch.randn(2, 2, length, dtype=torch.float64)
    everywhere = torch.ones(2, length, dtype=torch.bool)
    torch.testing.assert_close(swin(series), naive_swin(swin, series, everywhere))
    valid = torch.arange(length) < torch.tensor([[length], [1 + length // 2]])
    made, real = swin(series, valid=valid), swin.token_valid(valid)
    torch.testing.assert_close(made[real], naive_swin(swin, series, valid)[real])


# Known values ---------------------------------------------------------------------------------


def test_a_shifted_window_ends_where_the_series_ends() -> None:
    """Ten tokens, windows of four cut after two: the first and the last are no neighbours."""
    module = WindowAttention(4, heads=1, window=4, shift=2)
    x = torch.randn(1, 10, 4, requires_grad=True)
    reads = []
    for i in range(10):
        (grad,) = torch.autograd.grad(module(x, valid=None)[0, i].square().sum(), x)
        reads.append((grad[0].abs().sum(dim=1) > 0).nonzero().flatten().tolist())
    assert reads == [[0, 1]] * 2 + [[2, 3, 4, 5]] * 4 + [[6, 7, 8, 9]] * 4


def test_pairs_stand_side_by_side() -> None:
    x = torch.arange(6.0).view(1, 3, 2)
    assert pairs(x).tolist() == [[[0, 1, 2, 3], [4, 5, 0, 0]]]


def test_sizes_and_places() -> None:
    swin = small(depths=(1, 1, 1))
    assert swin.dim == 32
    for length in (2, 5, 8, 21):
        out = swin(torch.randn(1, 2, length))
        assert out.shape == (1, swin.tokens(length), 32)
        stages = swin.stage_tokens(torch.randn(1, 2, length))
        valid = swin.stage_valid(torch.ones(1, length, dtype=torch.bool))
        assert [s.shape[1] for s in stages] == [v.shape[1] for v in valid]
        assert [s.shape[2] for s in stages] == [8, 16, 32]
    series = torch.randn(1, 2, 21)
    torch.testing.assert_close(swin.last_norm(swin.stage_tokens(series)[-1]), swin(series))


# Laws -----------------------------------------------------------------------------------------


def test_cost_is_linear_in_the_length() -> None:
    swin = small(depths=(2, 2))

    def operations(length: int) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            swin(torch.randn(1, 2, length))
        return int(counter.get_total_flops())

    few, many = operations(512), operations(4096)
    assert few > 0
    assert many / few == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize("stride", [None, 1])
def test_padding_cannot_leak(stride: int | None) -> None:
    swin = small(stride=stride)
    series = torch.randn(4, 2, 31, requires_grad=True)
    lengths = [31, 18, 7, 2]
    valid = torch.arange(31) < torch.tensor(lengths).unsqueeze(1)
    garbage = series.masked_fill(~valid.unsqueeze(1), torch.nan)
    out, real = swin(garbage, valid=valid), swin.token_valid(valid)
    out[real].square().sum().backward()
    assert series.grad is not None
    assert torch.equal(series.grad.abs().sum(dim=1) > 0, valid)
    for parameter in swin.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
    for row, length in enumerate(lengths):
        short = swin(series[row : row + 1, :, :length])
        torch.testing.assert_close(out[row, real[row]], short[0], atol=1e-5, rtol=1e-5)
    stages = swin.stage_tokens(garbage, valid=valid)
    assert torch.equal(swin.last_norm(stages[-1]), out)
    zeros = series.masked_fill(~valid.unsqueeze(1), 0)
    assert torch.equal(swin(zeros, valid=valid)[real], out[real])


def test_a_series_does_not_depend_on_its_batch() -> None:
    swin = small()
    series = torch.randn(3, 2, 40, requires_grad=True)
    together = swin(series)
    for row in range(3):
        torch.testing.assert_close(
            swin(series[row : row + 1])[0], together[row], atol=1e-5, rtol=1e-5
        )
    (grad,) = torch.autograd.grad(together[1].square().sum(), series)
    assert grad[[0, 2]].abs().max() == 0


@pytest.mark.parametrize(("length", "channels"), [(8, 1), (37, 7), (1000, 2), (4096, 3)])
def test_any_length_and_number_of_channels(length: int, channels: int) -> None:
    swin = small(channels=channels, patch=4)
    out = swin(torch.randn(2, channels, length))
    assert out.shape == (2, math.ceil(math.ceil(length / 4) / 2), 16)
    assert torch.isfinite(out).all()


def test_stochastic_depth_drops_whole_series_and_repeats() -> None:
    swin = SwinTransformer1d(
        PatchEmbed1d(1, 4, patch=2), depths=(1,), heads=(1,), window=2, stochastic_depth=1.0
    )
    series = torch.randn(3, 1, 10)
    untouched = swin.last_norm(swin.embedding_norm(swin.embedding(series)))
    torch.testing.assert_close(swin(series), untouched)
    assert not torch.allclose(swin.eval()(series), untouched)
    half = SwinTransformer1d(
        PatchEmbed1d(1, 4, patch=2), depths=(2,), heads=(1,), window=2, stochastic_depth=0.5
    )
    state = torch.get_rng_state()
    first = half(series, generator=torch.Generator().manual_seed(4))
    assert torch.equal(first, half(series, generator=torch.Generator().manual_seed(4)))
    assert not torch.equal(first, half(series, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(state, torch.get_rng_state())


def test_gradients_reach_everything() -> None:
    swin = small().train()
    out = swin(torch.randn(4, 2, 40))
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in swin.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


def test_gradcheck() -> None:
    swin = small(depths=(2, 1)).double()
    series = torch.randn(1, 2, 11, dtype=torch.float64, requires_grad=True)
    valid = torch.arange(11).unsqueeze(0) < 9
    real = swin.token_valid(valid)
    assert torch.autograd.gradcheck(lambda s: swin(s, valid=valid)[real], (series,))


def test_one_graph_and_export() -> None:
    swin = small(depths=(2, 1))
    series = torch.randn(2, 2, 27)
    valid = torch.arange(27) < torch.tensor([[27], [12]])
    compiled = torch.compile(swin, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(series, valid=valid), swin(series, valid=valid))
    exported = torch.export.export(swin, (series,), {"valid": valid}).module()
    torch.testing.assert_close(exported(series, valid=valid), swin(series, valid=valid))


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    embed = PatchEmbed1d(1, 8, patch=4)

    def build(**changes: object) -> SwinTransformer1d:
        options: dict[str, object] = {"depths": (2, 2), "heads": (2, 4), "window": 4}
        return SwinTransformer1d(embed, **(options | changes))  # type: ignore[arg-type]

    with pytest.raises(ValueError, match=r"SwinTransformer1d: stages must be >= 1; got 0"):
        build(depths=(), heads=())
    with pytest.raises(ValueError, match=r"Swin.*: depths must be a sequence.*; got 2"):
        build(depths=2)
    with pytest.raises(ValueError, match=r"Swin.*: heads must be a sequence.*; got 2"):
        build(heads=2)
    with pytest.raises(ValueError, match=r"depths and heads must share one length; got 2 and 1"):
        build(heads=(2,))
    with pytest.raises(ValueError, match=r"SwinTransformer1d: depths must be >= 1; got 0"):
        build(depths=(2, 0))
    with pytest.raises(ValueError, match=r"SwinTransformer1d: window must be >= 2; got 1"):
        build(window=1)
    with pytest.raises(ValueError, match=r"SwinTransformer1d: mlp_ratio must be > 0; got 0"):
        build(mlp_ratio=0)
    with pytest.raises(ValueError, match=r"stochastic_depth must lie in \[0, 1\]; got 2"):
        build(stochastic_depth=2)
    with pytest.raises(ValueError, match=r"Attention: heads must divide dim; got 3 and 8"):
        build(heads=(3, 4))
    swin = build()
    with pytest.raises(ValueError, match=r"length must be >= 1; got 0"):
        swin(torch.randn(2, 1, 0))
    with pytest.raises(ValueError, match=r"series must have size 1 in dimension 1; got 2"):
        swin(torch.randn(2, 2, 12))
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 12\); got \(2, 3\)"):
        swin(torch.randn(2, 1, 12), valid=torch.ones(2, 3, dtype=torch.bool))
