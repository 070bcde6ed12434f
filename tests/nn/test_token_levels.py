"""Several codes a token, and tokens on a grid: what the prior reads, and what it must not."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ssltok.nn import (
    ContextEmbedding,
    LevelEmbedding,
    TokenEmbedding,
    TokenTransformer,
    Transformer,
)

SIZES = (7, 3, 5)
HIDDEN = max(SIZES)


def make(sizes: tuple[int, ...] = SIZES, **options: Any) -> TokenTransformer:
    torch.manual_seed(0)
    options = {"tokens": 6, "classes": 3} | options
    books = [torch.randn(size, 4) for size in sizes]
    embedding = LevelEmbedding(sizes, 8, codebooks=books)
    return TokenTransformer(embedding, Transformer(8, depth=2, heads=2), **options)


def batch(level: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes that are known before `level`, hidden at `where` in it, and [MASK] behind it."""
    torch.manual_seed(1)
    codes = torch.stack([torch.randint(size, (4, 6)) for size in SIZES], dim=-1)
    where = torch.rand(4, 6) < 0.5
    codes[..., level] = codes[..., level].masked_fill(where, HIDDEN)
    codes[..., level + 1 :] = HIDDEN
    return codes, where, torch.tensor([2, 0, -1, 1])


# Oracle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"tied": True, "registers": 2}, {"grid": (3, 2)}])
def test_it_is_a_sum_of_tables_and_a_head_for_each_level(
    level: int, options: dict[str, Any]
) -> None:
    """Token by token, level by level."""
    prior = make(**options).double().eval()
    codes, where, labels = batch(level)
    state = prior.state_dict()
    rows = []
    for b in range(4):
        tokens = []
        for i in range(6):
            if "grid" in options:  # row by row, the last axis fastest
                x = state["axis_positions.0"][i // 2] + state["axis_positions.1"][i % 2]
            else:
                x = state["positions"][i].clone()
            for k, size in enumerate(SIZES):
                index = min(int(codes[b, i, k]), size)
                widen = state[f"embedding.levels.{k}.widen.weight"]
                x += widen @ state[f"embedding.levels.{k}.table.weight"][index]
            x += state["levels"][level]
            tokens.append(functional.layer_norm(x, [8], state["norm.weight"], state["norm.bias"]))
        label = state["labels"][int(labels[b]) if labels[b] >= 0 else 3]
        front = [label[None], *([state["registers"]] if "registers" in options else [])]
        features = prior.trunk(torch.cat([*front, torch.stack(tokens)])[None])[0, -6:]
        names = ["head_inner.", "head_norm.", "head_weight", "head_bias"]
        if level:
            names = [f"deeper_heads.{level - 1}.{n.removeprefix('head_')}" for n in names]
        inner, norm, weight, bias = names
        for i in range(6):
            if where[b, i]:
                h = functional.gelu(state[inner + "weight"] @ features[i] + state[inner + "bias"])
                h = functional.layer_norm(h, h.shape, state[norm + "weight"], state[norm + "bias"])
                table = state[f"embedding.levels.{level}.table.weight"][: SIZES[level]]
                matrix = table if options.get("tied") else state[weight]
                rows.append(matrix @ h + state[bias])
    out = prior(codes, where, labels, level=level)
    assert out.shape == (int(where.sum()), SIZES[level])
    torch.testing.assert_close(out, torch.stack(rows))


@pytest.mark.parametrize("options", [{}, {"tied": True}, {"registers": 2, "dropout": 0.3}])
def test_one_level_is_the_prior_of_one_code(options: dict[str, Any]) -> None:
    """To the bit: same draws, same state but for the tables' prefix, same logits and gradients."""
    several = make((7,), **options)
    torch.manual_seed(0)
    embedding = TokenEmbedding(7, 8, codebook=torch.randn(7, 4))
    single = TokenTransformer(
        embedding, Transformer(8, depth=2, heads=2), **{"tokens": 6, "classes": 3} | options
    )
    renamed = {
        k.replace("embedding.levels.0", "embedding"): v for k, v in single.state_dict().items()
    }
    state = {
        k.replace("embedding.levels.0", "embedding"): v for k, v in several.state_dict().items()
    }
    assert list(state) == list(renamed)
    assert all(torch.equal(state[key], renamed[key]) for key in state)
    codes, where, labels = batch(0)
    valid = torch.arange(6) < torch.tensor([[6], [2], [5], [3]])
    outs = []
    for prior, tokens in ((single, codes[..., 0]), (several, codes[..., :1])):
        draws = torch.Generator().manual_seed(3)
        out = prior(tokens, where, labels, valid=valid, generator=draws)
        grads = torch.autograd.grad(out.square().sum(), list(prior.parameters()))
        outs.append((out, *grads))
    assert all(torch.equal(a, b) for a, b in zip(*outs, strict=True))


# Known values ---------------------------------------------------------------------------------


def test_every_index_from_the_size_on_is_mask() -> None:
    assert LevelEmbedding([2, 3], 4).codebook_size == 3
    embedding = LevelEmbedding([3, 2], 4)
    assert embedding.codebook_size == 3
    assert embedding.codebook_sizes == (3, 2)
    hidden = embedding(torch.tensor([[3, 2], [3, 3], [9, 7]]))
    torch.testing.assert_close(hidden, hidden[:1].expand(3, 4), rtol=0, atol=0)
    expected = embedding.level(0).table.weight[3] + embedding.level(1).table.weight[2]
    assert torch.equal(hidden[0], expected)


def test_parameters_of_a_grid() -> None:
    """2 + 3 + 4 vectors in place of 24."""
    plain, grid = (make(tokens=24, grid=axes) for axes in (None, (2, 3, 4)))
    assert sum(p.numel() for p in plain.parameters()) - sum(
        p.numel() for p in grid.parameters()
    ) == 8 * (24 - 9)


def test_grid_positions_add_up() -> None:
    """A table of three axes, entry by entry, and the first tokens of it for a short sequence."""
    prior = make(tokens=24, grid=(2, 3, 4))
    a, b, c = (vectors.detach() for vectors in prior.axis_positions)
    table = prior._grid_positions()
    for channel in range(2):
        for freq in range(3):
            for frame in range(4):
                expected = a[channel] + b[freq] + c[frame]
                torch.testing.assert_close(table[12 * channel + 4 * freq + frame], expected)
    codes, where, _ = batch(0)
    assert prior(codes, where).shape == (int(where.sum()), 7)


# Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 2])
def test_levels_behind_are_not_read_and_levels_before_are(level: int) -> None:
    prior = make().eval()
    codes, where, labels = batch(level)
    out = prior(codes, where, labels, level=level)
    for other in range(3):
        changed = codes.clone()
        changed[..., other] = (changed[..., other] + 1) % SIZES[other]
        same = torch.equal(prior(changed, where, labels, level=level), out)
        assert same == (other > level)
    behind = codes.clone()
    behind[..., level + 1 :] = -1
    assert torch.equal(prior(behind, where, labels, level=level), out)


def test_padding_is_not_read_at_any_level() -> None:
    prior = make().eval()
    codes, where, labels = batch(2)
    valid = torch.arange(6) < torch.tensor([[6], [2], [5], [3]])
    other = torch.where(valid[..., None], codes, -1)
    first, second = (
        prior(tokens, where & valid, labels, level=2, valid=valid) for tokens in (codes, other)
    )
    assert torch.equal(first, second)


def test_levels_have_heads_of_their_own_and_are_told_apart() -> None:
    prior = make((4, 4)).eval()
    codes = torch.full((1, 6, 2), 4)
    where = torch.ones(1, 6, dtype=torch.bool)
    coarse, fine = (prior.features(codes, level=level) for level in (0, 1))
    assert not torch.allclose(coarse, fine)
    x = torch.randn(3, 8)
    assert not torch.allclose(prior.head(x, level=0), prior.head(x, level=1))
    prior(codes, where, level=1).square().sum().backward()
    got = {name for name, p in prior.named_parameters() if p.grad is not None}
    assert {n for n in got if "head" in n} == {
        f"deeper_heads.0.{n}" for n in
        ("inner.weight", "inner.bias", "norm.weight", "norm.bias", "weight", "bias")
    }  # fmt: skip
    assert prior.levels is not None
    assert prior.levels.grad is not None
    assert (prior.levels.grad.abs().sum(1) > 0).tolist() == [False, True]


@pytest.mark.parametrize("name", ["levels", "axis_positions.0", "embedding.levels.1.table.weight"])
def test_gradients(name: str) -> None:
    prior = make(grid=(2, 3)).double()
    codes, where, labels = batch(1)

    def loss(value: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(
            prior.eval(), {name: value}, (codes, where, labels), {"level": 1}
        )
        return out.square().sum()

    value = dict(prior.named_parameters())[name].detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (value,))


def test_context_of_several_codes() -> None:
    """The same as that of vectors added up by hand; padded codes are zeros."""
    embedding = LevelEmbedding([5, 3], 8)
    context = ContextEmbedding(embedding, grid=(1, 4), onto=(2, 3), kernel=1)
    codes = torch.stack([torch.randint(5, (2, 4)), torch.randint(3, (2, 4))], dim=-1)
    single = ContextEmbedding(TokenEmbedding(60, 8), grid=(1, 4), onto=(2, 3), kernel=1)
    single.mix.load_state_dict(context.mix.state_dict())
    with torch.no_grad():
        for k in range(5):
            for j in range(3):
                vector = embedding(torch.tensor([[k, j]]))[0]
                assert isinstance(single.embedding, TokenEmbedding)
                single.embedding.table.weight[10 * k + j] = vector
    torch.testing.assert_close(context(codes), single(10 * codes[..., 0] + codes[..., 1]))
    valid = torch.rand(2, 4) < 0.5
    other = torch.where(valid[..., None], codes, -1)
    assert torch.equal(context(codes, valid=valid), context(other, valid=valid))
    prior = make(context=context).eval()
    tokens, where, labels = batch(1)
    kept = context(codes.repeat(2, 1, 1))
    assert prior(tokens, where, labels, level=1, context=kept).shape == (int(where.sum()), 3)


def test_compile_and_export() -> None:
    prior = make(grid=(2, 3)).eval()
    codes, where, labels = batch(1)
    expected = prior(codes, where, labels, level=1)
    features = torch.compile(prior.features, fullgraph=True, backend="eager")
    read = features(codes, labels, level=1)[where]
    torch.testing.assert_close(prior.head(read, level=1), expected)
    exported = torch.export.export(prior, (codes, where, labels), {"level": 1}).module()
    torch.testing.assert_close(exported(codes, where, labels, level=1), expected)


def test_it_learns_the_second_level_from_the_first() -> None:
    """The fine code is the coarse one doubled: certain after a few steps, though all are hidden."""
    prior = make((3, 6), classes=0)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    where = torch.ones(64, 6, dtype=torch.bool)
    loss = torch.tensor(0.0)
    for _ in range(60):
        coarse = torch.randint(3, (64, 6), generator=generator)
        codes = torch.stack([coarse, torch.full_like(coarse, 6)], dim=-1)
        logits = prior(codes, where, level=1)
        loss = functional.cross_entropy(logits, 2 * coarse[where])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss.item() < 0.3  # chance is ln 6 = 1.79


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"LevelEmbedding: levels must be >= 1; got 0"):
        LevelEmbedding([], 4)
    with pytest.raises(ValueError, match=r"LevelEmbedding: codebook_sizes must be >= 1; got 0"):
        LevelEmbedding([3, 0], 4)
    with pytest.raises(ValueError, match=r"codebooks must be as many as levels, 2; got 1"):
        LevelEmbedding([3, 2], 4, codebooks=[torch.randn(3, 4)])
    with pytest.raises(ValueError, match=r"codebook must have size 2 in dimension 0; got 3"):
        LevelEmbedding([3, 2], 4, codebooks=[torch.randn(3, 4)] * 2)
    embedding = LevelEmbedding([3, 2], 4)
    with pytest.raises(ValueError, match=r"LevelEmbedding: codes must be int64; got torch.float32"):
        embedding(torch.randn(3, 2))
    with pytest.raises(ValueError, match=r"LevelEmbedding: codes must have size 2 in dimension 1"):
        embedding(torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"TokenEmbedding: level must be 0; got 1"):
        TokenEmbedding(3, 4).level(1)
    prior = make()
    codes, where, labels = batch(0)
    with pytest.raises(ValueError, match=r"tokens must be \(batch, tokens, levels\); got shape"):
        prior(codes[..., 0], where, labels)
    with pytest.raises(ValueError, match=r"tokens must have size 3 in dimension 2; got 2"):
        prior(codes[..., :2], where, labels)
    with pytest.raises(ValueError, match=r"TokenTransformer: level must lie in \[0, 2\]; got 3"):
        prior(codes, where, labels, level=3)
    with pytest.raises(ValueError, match=r"TokenTransformer: level must lie in \[0, 2\]; got -1"):
        prior(codes, where, labels, level=-1)
    with pytest.raises(ValueError, match=r"grid must hold all tokens, 6, at learned positions; "):
        make(grid=(2, 2))
    with pytest.raises(ValueError, match=r"got \(2, 3\) and learned_positions False"):
        make(grid=(2, 3), learned_positions=False)
    context = ContextEmbedding(embedding, grid=(1, 4), onto=(2, 3))
    with pytest.raises(ValueError, match=r"codes must be \(batch, tokens, levels\); got shape"):
        context(torch.zeros(2, 4, dtype=torch.int64))
