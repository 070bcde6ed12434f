"""The bidirectional prior, its embeddings and its context."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok.nn import (
    ContextEmbedding,
    RotaryPositions,
    TokenEmbedding,
    TokenTransformer,
    Transformer,
)

K = 7


def make(trunk: dict[str, Any] | None = None, **options: Any) -> TokenTransformer:
    torch.manual_seed(0)
    options = {"tokens": 6, "classes": 3} | options
    codebook = torch.randn(K, 5)
    prior = TokenTransformer(
        TokenEmbedding(K, 8, codebook=codebook),
        Transformer(8, **({"depth": 2, "heads": 2} | (trunk or {}))),
        **options,
    )
    for name, parameter in prior.named_parameters():
        if "modulation" in name or "bias" in name:
            nn.init.normal_(parameter, std=0.3)
    return prior


def batch(*, hidden: float = 0.5, tokens: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    where = torch.rand(4, tokens) < hidden
    codes = torch.randint(K, (4, tokens)).masked_fill(where, K)
    return codes, where, torch.tensor([2, 0, -1, 1])


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "adaptive": {"trunk": {"condition_dim": 3}},
    "unconditional": {"classes": 0},
    "rotary": {"trunk": {"rotary": RotaryPositions(4, grid=(2, 3))}, "learned_positions": False},
    "registers": {"registers": 2, "tied": True},
    "shared": {"trunk": {"distinct_layers": 1, "norm": nn.RMSNorm}},
    "causal": {"trunk": {"causal": True}},
    "noisy": {"trunk": {"dropout": 0.2, "stochastic_depth": 0.3}, "dropout": 0.1},
}  # fmt: skip


def call(prior: TokenTransformer, **options: Any) -> Tensor:
    codes, where, labels = batch()
    logits: Tensor = prior(codes, where, labels if prior.classes else None, **options)
    return logits


# Oracle ---------------------------------------------------------------------------------------


def test_forward_is_embed_trunk_head() -> None:
    """The published order, by hand: norm(token + position), class in front, trunk, head."""
    prior = make(registers=1).double().eval()
    codes, where, labels = batch()
    state = prior.state_dict()
    table = state["embedding.table.weight"] @ state["embedding.widen.weight"].T
    rows = []
    for b in range(4):
        tokens = torch.stack(
            [table[int(c)] + state["positions"][i] for i, c in enumerate(codes[b])]
        )
        tokens = functional.layer_norm(tokens, [8], state["norm.weight"], state["norm.bias"])
        label = state["labels"][int(labels[b]) if labels[b] >= 0 else 3]
        sequence = torch.cat([label[None], state["registers"], tokens])
        features = prior.trunk(sequence[None])[0, 2:]
        for i in range(6):
            if where[b, i]:
                inner = features[i] @ state["head_inner.weight"].T + state["head_inner.bias"]
                inner = (
                    functional.layer_norm(functional.gelu(inner), [8]) * state["head_norm.weight"]
                )
                inner = inner + state["head_norm.bias"]
                rows.append(inner @ state["head_weight"].T + state["head_bias"])
    torch.testing.assert_close(prior(codes, where, labels), torch.stack(rows))


def test_context_follows_time() -> None:
    """Nearest neighbour along time, then two convolutions, the same for each frequency."""
    context = ContextEmbedding(TokenEmbedding(K, 4), grid=(2, 3), onto=(3, 7), kernel=3).double()
    codes = torch.randint(K, (2, 6))
    table = context.embedding.table.weight
    rows = torch.zeros(2, 8, 7, dtype=torch.float64)
    for frame in range(7):
        low = int((frame + 0.5) * 3 / 7)
        rows[:, :, frame] = torch.cat([table[codes[:, low]], table[codes[:, 3 + low]]], dim=1)
    first, _, second = context.mix
    assert isinstance(first, nn.Conv1d)
    assert isinstance(second, nn.Conv1d)
    rows = functional.conv1d(functional.pad(rows, (1, 1)), first.weight, first.bias)
    rows = functional.pad(functional.gelu(rows), (2, 2))
    rows = functional.conv1d(rows, second.weight, second.bias, dilation=2)
    out = context(codes).view(2, 3, 7, 4)
    for freq in range(3):
        torch.testing.assert_close(out[:, freq], rows.transpose(1, 2))


# Known values ---------------------------------------------------------------------------------


def test_codebook_is_copied() -> None:
    codebook = torch.randn(K, 5, requires_grad=True)
    embedding = TokenEmbedding(K, 5, codebook=codebook)
    torch.testing.assert_close(embedding(torch.arange(K)), codebook.detach())
    with torch.no_grad():
        codebook.zero_()
    assert embedding(torch.arange(K)).abs().max() > 0
    assert embedding(torch.tensor([K])).shape == (1, 5)


def test_random_embeddings_have_the_scale_of_maskgit() -> None:
    weight = TokenEmbedding(400, 32, embedding_dim=16).table.weight
    assert weight.shape == (401, 16)
    assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.05)


def test_factorised_embedding_counts() -> None:
    """ALBERT: (K + 1) * E + E * H instead of (K + 1) * H."""
    embedding = TokenEmbedding(1000, 64, embedding_dim=8)
    assert sum(p.numel() for p in embedding.parameters()) == 1001 * 8 + 8 * 64


def test_tied_head_is_tied() -> None:
    tied, free = make(tied=True), make(tied=False)
    sizes = [sum(p.numel() for p in prior.parameters()) for prior in (tied, free)]
    # the free head has 8x8 + K*8 weights where the tied one has 8x5, and biases and norms of 8
    assert sizes[1] - sizes[0] == (64 + K * 8 + 24) - (40 + 15)
    tied.eval()
    features = torch.randn(2, 8)
    before = tied.head(features)
    with torch.no_grad():
        tied.embedding.table.weight[3] += 1.0
    moved = (tied.head(features) - before).abs().amax(dim=0) > 1e-6
    assert moved.tolist() == [i == 3 for i in range(K)]


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_tied_logits_do_not_blow_up_with_the_codebook(scale: float) -> None:
    """A row of norm scale * sqrt(E) times a normed row times 1 / (scale * sqrt(E))."""
    torch.manual_seed(0)
    embedding = TokenEmbedding(500, 16, codebook=scale * torch.randn(500, 16))
    trunk = Transformer(16, depth=1, heads=1)
    prior = TokenTransformer(embedding, trunk, tokens=3, tied=True)
    assert prior.head(torch.randn(100, 16)).std().item() < 1.1


def test_nothing_wanted_gives_no_row() -> None:
    codes, where, labels = batch()
    assert make()(codes, torch.zeros_like(where), labels).shape == (0, K)


# Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_rows_follow_where(name: str) -> None:
    """Logits at `where` are those of the full grid, row by row; nothing else is computed."""
    prior = make(**VARIANTS[name]).eval()
    codes, where, labels = batch()
    chosen = labels if prior.classes else None
    full = prior(codes, torch.ones_like(where), chosen).view(4, 6, K)
    rows = []
    hook = prior.head_norm.register_forward_hook(lambda _m, _i, out: rows.append(len(out)))
    torch.testing.assert_close(call(prior), full[where])
    hook.remove()
    assert rows == [int(where.sum())]


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_reach_everything(name: str) -> None:
    prior = make(**VARIANTS[name])
    for _ in range(8):  # noise may drop a residual of every row: sum a few passes
        logits = call(prior)
        torch.autograd.backward((logits * torch.randn_like(logits)).sum())
    for key, parameter in prior.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 1e-6, key


@pytest.mark.parametrize("name", VARIANTS)
def test_padding_cannot_leak(name: str) -> None:
    prior = make(**VARIANTS[name]).eval()
    codes, _, labels = batch()
    valid = torch.tensor(
        [[True] * 6, [True] * 4 + [False] * 2, [True] + [False] * 5, [True] * 3 + [False] * 3]
    )
    context = torch.randn(4, 6, 8, requires_grad=True)
    chosen = labels if prior.classes else None
    out: Tensor = prior(codes, valid, chosen, valid=valid, context=context)
    torch.autograd.backward((out * torch.randn_like(out)).sum())
    assert context.grad is not None
    assert context.grad[~valid].abs().max() == 0
    assert context.grad[valid].abs().amax(dim=-1).min() > 0
    garbage = torch.where(valid, codes, -1)
    noise = torch.where(valid.unsqueeze(-1), context, torch.nan)
    assert torch.equal(prior(garbage, valid, chosen, valid=valid, context=noise), out)
    part = prior(
        codes[1:2, :4],
        valid[1:2, :4],
        chosen if chosen is None else chosen[1:2],
        context=context[1:2, :4],
    )
    torch.testing.assert_close(part, out[6:10], atol=1e-5, rtol=1e-4)
    everywhere = prior(codes, ~valid | valid, chosen, valid=torch.zeros_like(valid))
    assert torch.isfinite(everywhere).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_rows_of_the_batch_are_independent_in_eval(name: str) -> None:
    prior = make(**VARIANTS[name]).eval()
    codes, where, labels = batch()
    alone = [
        prior(codes[i : i + 1], where[i : i + 1], labels[i : i + 1] if prior.classes else None)
        for i in range(4)
    ]
    torch.testing.assert_close(torch.cat(alone), call(prior))
    twin = make(**VARIANTS[name]).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin.load_state_dict(prior.state_dict())
    assert torch.equal(call(twin), call(prior))


def test_labels_matter_and_minus_one_is_none() -> None:
    for options in (VARIANTS["plain"], VARIANTS["adaptive"]):
        prior = make(**options).eval()
        codes, where, _ = batch()
        null = prior(codes, where, torch.full((4,), -1))
        assert torch.equal(null, prior(codes, where))
        assert not torch.allclose(null, prior(codes, where, torch.zeros(4, dtype=torch.int64)))


def test_label_dropout_only_in_training_and_at_its_rate() -> None:
    prior = make(label_dropout=0.25)
    codes = torch.full((2000, 1), K)
    labels = torch.ones(2000, dtype=torch.int64)
    where = torch.ones(2000, 1, dtype=torch.bool)
    prior.eval()
    classed, null = prior(codes[:1], where[:1], labels[:1]), prior(codes[:1], where[:1])
    state = torch.get_rng_state()
    torch.testing.assert_close(prior(codes, where, labels), classed.expand(2000, K))
    assert torch.equal(state, torch.get_rng_state())
    prior.train()
    out = prior(codes, where, labels, generator=torch.Generator().manual_seed(4))
    dropped = (out - null).abs().amax(dim=1) < 1e-5
    assert 0.22 < float(dropped.float().mean()) < 0.28
    torch.testing.assert_close(out[~dropped], classed.expand(2000, K)[~dropped])
    assert torch.equal(state, torch.get_rng_state())
    again = prior(codes, where, labels, generator=torch.Generator().manual_seed(4))
    assert torch.equal(out, again)
    torch.manual_seed(4)
    default = prior(codes, where, labels)
    torch.manual_seed(4)
    assert torch.equal(default, prior(codes, where, labels))
    assert not torch.equal(state, torch.get_rng_state())
    always, never = make(label_dropout=1.0), make(label_dropout=0.0)
    torch.testing.assert_close(always(codes[:9], where[:9], labels[:9]), null.expand(9, K))
    torch.testing.assert_close(never(codes[:9], where[:9], labels[:9]), classed.expand(9, K))


def test_noisy_training_repeats_from_the_generator() -> None:
    prior = make(**VARIANTS["noisy"])
    state = torch.get_rng_state()
    first, second = (call(prior, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    torch.manual_seed(0)
    assert not torch.equal(first, call(prior, generator=torch.Generator().manual_seed(5)))
    torch.set_rng_state(state)


def test_context_changes_the_prior_moment_by_moment() -> None:
    context = ContextEmbedding(TokenEmbedding(4, 8), grid=(1, 4), onto=(2, 3), kernel=1)
    prior = make(context=context).eval()
    codes, where, labels = batch()
    low = torch.randint(4, (4, 4))
    kept = prior.embed_context(low)
    assert kept.shape == (4, 6, 8)
    first = prior(codes, where, labels, context=kept)
    assert torch.equal(first, prior(codes, where, labels, context=prior.embed_context(low)))
    low[:, 0] = 3 - low[:, 0]
    changed = (prior.embed_context(low) - kept).abs().amax(dim=(0, 2)).view(2, 3)
    assert (changed > 0).tolist() == [[True, False, False]] * 2
    padded = prior.embed_context(low.clone().fill_(-1), valid=torch.zeros(4, 4, dtype=torch.bool))
    assert torch.isfinite(padded).all()


def test_padded_context_cannot_leak() -> None:
    context = ContextEmbedding(TokenEmbedding(4, 8), grid=(2, 4), onto=(2, 6))
    low, valid = torch.randint(4, (3, 8)), torch.rand(3, 8) < 0.5
    other = torch.where(valid, low, -1)
    assert torch.equal(context(low, valid=valid), context(other, valid=valid))
    assert not torch.allclose(context(low), context(low, valid=valid))
    assert torch.equal(context(low), context(low, valid=torch.ones_like(valid)))


@pytest.mark.parametrize("tokens", [1, 4096])
def test_one_token_and_many(tokens: int) -> None:
    prior = make(tokens=4096, trunk={"depth": 1, "heads": 1}).eval()
    codes = torch.full((1, tokens), K)
    with torch.no_grad():
        logits = prior(codes, torch.ones_like(codes, dtype=torch.bool), torch.tensor([1]))
    assert logits.shape == (tokens, K)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ["adaptive", "rotary", "registers"])
def test_compile_and_export(name: str) -> None:
    prior = make(**VARIANTS[name]).eval()
    codes, where, labels = batch()
    expected = prior(codes, where, labels)
    features = torch.compile(prior.features, fullgraph=True, backend="eager")
    torch.testing.assert_close(prior.head(features(codes, labels)[where]), expected)
    exported = torch.export.export(prior, (codes, where, labels))
    torch.testing.assert_close(exported.module()(codes, where, labels), expected)
    torch.testing.assert_close(
        exported.module()(codes, ~where, labels), prior(codes, ~where, labels)
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_autocast_stays_close(name: str) -> None:
    prior = make(**VARIANTS[name]).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = call(prior)
    high = call(prior)
    assert (low.float() - high).square().mean() < 1e-3 * high.square().mean()


def test_it_learns_a_rule() -> None:
    """Token i + 3 repeats token i: hidden halves become certain after a few steps."""
    prior = make(classes=0)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    where = torch.tensor([[False] * 3 + [True] * 3]).expand(64, 6)
    loss = torch.tensor(0.0)
    for _ in range(60):
        codes = torch.randint(K, (64, 3), generator=generator).repeat(1, 2)
        logits = prior(codes.masked_fill(where, K), where)
        loss = functional.cross_entropy(logits, codes[where])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss.item() < 0.5  # chance is ln 7 = 1.95


# Complaints -----------------------------------------------------------------------------------


def test_complaints_of_the_constructors() -> None:
    embedding, trunk = TokenEmbedding(K, 8), Transformer(8, depth=1, heads=1)
    options: dict[str, Any]
    for name, value, rule in [
        ("tokens", 0, ">= 1"),
        ("classes", -1, ">= 0"),
        ("registers", -1, ">= 0"),
    ]:
        options = {"tokens": 6, name: value}
        with pytest.raises(ValueError, match=rf"TokenTransformer: {name} must be {rule}; got"):
            TokenTransformer(embedding, trunk, **options)
    for name in ("label_dropout", "dropout"):
        options = {"tokens": 6, name: 1.5}
        with pytest.raises(ValueError, match=rf"{name} must lie in \[0, 1\]; got 1.5"):
            TokenTransformer(embedding, trunk, **options)
    with pytest.raises(ValueError, match=r"embedding and trunk must share dim; got 8 and 4"):
        TokenTransformer(embedding, Transformer(4, depth=1, heads=1), tokens=6)
    adaptive = Transformer(8, depth=1, heads=1, condition_dim=2)
    with pytest.raises(ValueError, match=r"classes must be >= 1 with adaptive norms; got 0"):
        TokenTransformer(embedding, adaptive, tokens=6)
    with pytest.raises(ValueError, match=r"TokenEmbedding: codebook_size must be >= 1; got 0"):
        TokenEmbedding(0, 8)
    with pytest.raises(ValueError, match=r"TokenEmbedding: dim must be >= 1; got 0"):
        TokenEmbedding(K, 0)
    with pytest.raises(ValueError, match=r"TokenEmbedding: embedding_dim must be >= 1; got 0"):
        TokenEmbedding(K, 8, embedding_dim=0)
    with pytest.raises(ValueError, match=r"codebook must have size 7 in dimension 0; got 6"):
        TokenEmbedding(K, 8, codebook=torch.randn(6, 8))
    with pytest.raises(ValueError, match=r"codebook must have size 4 in dimension 1; got 5"):
        TokenEmbedding(K, 8, embedding_dim=4, codebook=torch.randn(7, 5))
    with pytest.raises(ValueError, match=r"ContextEmbedding: kernel must be odd; got 4"):
        ContextEmbedding(embedding, grid=(1, 2), onto=(1, 4), kernel=4)
    with pytest.raises(ValueError, match=r"ContextEmbedding: onto must be >= 1; got 0"):
        ContextEmbedding(embedding, grid=(1, 2), onto=(1, 0))


def test_complaints_of_the_calls() -> None:
    prior = make()
    codes, where, labels = batch()
    with pytest.raises(ValueError, match=r"TokenTransformer: tokens must be \(batch, tokens\)"):
        prior(codes[0], where[0])
    with pytest.raises(ValueError, match=r"tokens must be int64; got torch.float32"):
        prior(codes.float(), where)
    with pytest.raises(ValueError, match=r"tokens must be 1 to 6; got 7"):
        prior(*batch(tokens=7))
    with pytest.raises(ValueError, match=r"TokenTransformer: batch must be >= 1; got 0"):
        prior(codes[:0], where[:0])
    with pytest.raises(ValueError, match=r"where must be boolean; got torch.int64"):
        prior(codes, where.long())
    with pytest.raises(ValueError, match=r"labels must have shape \(4,\); got \(3,\)"):
        prior(codes, where, labels[:3])
    with pytest.raises(ValueError, match=r"labels must be int64; got torch.float32"):
        prior(codes, where, labels.float())
    with pytest.raises(ValueError, match=r"valid must have shape \(4, 6\); got \(4, 5\)"):
        prior(codes, where, valid=where[:, :5])
    with pytest.raises(ValueError, match=r"context must have shape \(4, 6, 8\); got \(4, 5, 8\)"):
        prior(codes, where, context=torch.randn(4, 5, 8))
    with pytest.raises(ValueError, match=r"context must be given when built; got None"):
        prior.embed_context(codes)
    with pytest.raises(ValueError, match=r"labels must be None without classes; got a tensor"):
        make(classes=0)(codes, where, labels)
    context = ContextEmbedding(TokenEmbedding(4, 8), grid=(1, 4), onto=(2, 3))
    with pytest.raises(ValueError, match=r"context must be given \(see embed_context\); got None"):
        make(context=context)(codes, where)
    with pytest.raises(ValueError, match=r"ContextEmbedding: codes must have size 4 in dim"):
        context(codes)
    with pytest.raises(ValueError, match=r"ContextEmbedding: valid must be boolean"):
        context(codes[:, :4], valid=codes[:, :4])
    with pytest.raises(ValueError, match=r"TokenEmbedding: codes must be int64; got torch.float32"):
        prior.embedding(codes.float())


def test_a_label_that_is_no_class_is_not_taken_for_the_null_class() -> None:
    prior = TokenTransformer(
        TokenEmbedding(5, 8), Transformer(8, depth=1, heads=2), tokens=4, classes=3
    ).eval()
    codes, where = torch.zeros(2, 4, dtype=torch.int64), torch.ones(2, 4, dtype=torch.bool)
    for label in (3, 4, 99):
        with pytest.raises(ValueError, match=rf"labels must lie in \[-1, 3\); got {label}$"):
            prior(codes, where, torch.tensor([0, label]))
    prior(codes, where, torch.tensor([-1, 2]))
