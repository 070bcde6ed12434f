"""The causal prior: one token from those before it, by the whole row and by the cache."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.nn import (
    CausalTokenTransformer,
    KeyValueCache,
    RotaryPositions,
    TokenEmbedding,
    Transformer,
)
from tests.nn.test_transformer import scrambled

CODES, TOKENS = 5, 7
CLOSE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-12}


def prior_of(
    *, rotary: bool = False, condition_dim: int | None = None, tokens: int = TOKENS, **options: Any
) -> CausalTokenTransformer:
    turn = RotaryPositions(4, grid=(max(tokens - 1, 1),)) if rotary else None
    trunk = Transformer(
        8, depth=2, heads=2, causal=True, rotary=turn, condition_dim=condition_dim,
        distinct_layers=1 if rotary else None,
    )  # fmt: skip
    embedding = TokenEmbedding(CODES, 8, embedding_dim=3 if rotary else None)
    prior = CausalTokenTransformer(embedding, trunk, tokens=tokens, **options)
    scrambled(prior.double(), std=0.6)
    return prior.eval()


PRIORS: dict[str, Callable[[], CausalTokenTransformer]] = {
    "plain": prior_of,
    "rotary, tied": lambda: prior_of(rotary=True, tied=True, learned_positions=False),
    "classes": lambda: prior_of(classes=3, dropout=0.4, label_dropout=0.3),
    "adaptive": lambda: prior_of(classes=3, condition_dim=6, rotary=True),
}
PADDED = torch.tensor(
    [[-1, -1, 3, 1, 0, 2, 4], [2, 2, 0, 4, -1, -1, -1], [1, 0, 3, 3, 2, 4, 0], [-1] * 7]
)
FULL = torch.tensor([[0, 4, 3, 1, 0, 2, 4], [2, 2, 0, 4, 1, 1, 3], [1, 0, 3, 3, 2, 4, 0]])
every = pytest.mark.parametrize("name", PRIORS)


def labels_of(prior: CausalTokenTransformer, rows: int) -> Tensor | None:
    return torch.tensor([2, -1, 0, 1])[:rows] if prior.classes else None


# Oracle ---------------------------------------------------------------------------------------


@every
def test_each_token_from_those_before_it_alone(name: str) -> None:
    """Row by row and token by token: the start, the tokens before, the trunk, the head."""
    prior = PRIORS[name]()
    labels = labels_of(prior, 3)
    logits = prior(FULL, labels)
    table, head = prior.embedding.table.weight, prior.head
    for row, column in itertools.product(range(3), range(TOKENS)):
        x = prior.embedding.widen(table[FULL[row, :column]])
        if prior.positions is not None:
            x = x + prior.positions[:column]
        condition: Tensor | None = None
        front: Tensor | None = prior.start
        if prior.labels is not None and labels is not None:
            chosen = prior.labels[3 if labels[row] < 0 else labels[row]][None]
            front, condition = (chosen, None) if front is None else (front, chosen)
        assert front is not None
        together = torch.cat([front, prior.norm(x)])[None]
        y = prior.trunk(together, condition=condition, prefix=1)[0, -1]
        hidden = head.norm(torch.nn.functional.gelu(head.inner(y)))
        weight = table[:CODES] if head.weight is None else head.weight
        torch.testing.assert_close(logits[row, column], weight @ hidden + head.bias, **CLOSE)


@every
@pytest.mark.parametrize("cuts", [[0, 1, 1, 1, 1, 1, 1], [0, 4, 2], [3, 1, 2], [6]])
def test_extended_as_the_whole_row(name: str, cuts: list[int]) -> None:
    prior = PRIORS[name]()
    labels = labels_of(prior, 3)
    expected = prior(FULL, labels)
    cache, start = None, 0
    for training in (False, True):
        prior.train(training)  # nothing is dropped
        cache, start = None, 0
        for size in cuts:
            logits, cache = prior.extend(FULL[:, start : start + size], cache, labels)
            start += size
            torch.testing.assert_close(logits, expected[:, start], **CLOSE)
            assert cache.tokens == start + 1  # the start token is in the cache, and has no place


@every
@pytest.mark.parametrize("cuts", [[3, 7], [0, 1, 4, 7], [6, 7]])
def test_context_is_of_the_token_that_is_predicted(name: str, cuts: list[int]) -> None:
    prior = PRIORS[name]()
    context = torch.randn(3, TOKENS, 8, generator=torch.Generator().manual_seed(2)).double()
    labels = torch.tensor([2, -1, 0]) if prior.classes else None
    plain, whole = prior(FULL, labels), prior(FULL, labels, context=context)
    late = context.clone()
    late[:, :4] = 0  # the first that is told of anything is the fifth
    some = prior(FULL, labels, context=late)
    torch.testing.assert_close(some[:, :4], plain[:, :4], **CLOSE)
    assert bool(((some[:, 4:] - plain[:, 4:]).abs().amax(dim=(0, 2)) > 1e-6).all())
    cache, before = None, 0
    for cut in cuts:
        if cut == TOKENS:
            break
        beside = context[:, before + (cache is not None) : cut + 1]
        logits, cache = prior.extend(FULL[:, before:cut], cache, labels, context=beside)
        torch.testing.assert_close(logits, whole[:, cut], **CLOSE)
        before = cut


@every
def test_a_padded_row_is_the_row_alone(name: str) -> None:
    prior = PRIORS[name]()
    labels, valid = labels_of(prior, 4), PADDED >= 0
    logits = prior(PADDED, labels, valid=valid)
    assert torch.equal(prior(PADDED.where(valid, 99), labels, valid=valid), logits)
    for row in range(4):
        label = None if labels is None else labels[row : row + 1]
        tokens = PADDED[row][valid[row]][None]
        if tokens.shape[1]:
            alone = prior(tokens, label)
            torch.testing.assert_close(logits[row][valid[row]], alone[0], **CLOSE)
    for cuts in ([4, 2], [6], [0, 6], [1, 1, 4]):
        cache, start = None, 0
        for chunk, size in enumerate(cuts):
            at = slice(start, start + size)
            start += size
            step = prior.extend(PADDED[:, at], cache, labels, valid=valid[:, at])
            cache = step.cache
            for row in range(4):
                label = None if labels is None else labels[row : row + 1]
                read = PADDED[row, :start][valid[row, :start]][None]
                if chunk == 0 or bool(valid[row, at].any()):
                    alone = prior.extend(read, None, label).logits[0]
                    torch.testing.assert_close(step.logits[row], alone, **CLOSE)


# Known values ---------------------------------------------------------------------------------


def test_the_joint_sums_to_one() -> None:
    prior = prior_of(tokens=3)
    rows = torch.cartesian_prod(*[torch.arange(CODES)] * 3)
    logprob = prior(rows).log_softmax(dim=-1).gather(2, rows[..., None]).sum(dim=(1, 2))
    torch.testing.assert_close(logprob.exp().sum(), torch.ones((), dtype=torch.float64))


def test_one_token_is_the_start_alone() -> None:
    for rotary in (False, True):
        prior = prior_of(tokens=1, rotary=rotary)
        nothing = torch.empty(2, 0, dtype=torch.int64)
        expected = prior.extend(nothing).logits
        for valid in (None, torch.ones(2, 1, dtype=torch.bool)):
            logits = prior(torch.tensor([[3], [0]]), valid=valid)
            torch.testing.assert_close(logits[:, 0], expected, **CLOSE)


# Laws -----------------------------------------------------------------------------------------


@every
def test_nothing_later_is_read(name: str) -> None:
    prior = PRIORS[name]()
    labels = labels_of(prior, 3)
    before = prior(FULL, labels)
    for column in range(TOKENS):
        other = FULL.clone()
        other[:, column:] = (other[:, column:] + 1) % CODES
        after = prior(other, labels)
        assert torch.equal(after[:, : column + 1], before[:, : column + 1])
        if column + 1 < TOKENS:
            assert not torch.allclose(after[:, column + 1], before[:, column + 1])


@every
def test_training_reaches_every_parameter(name: str) -> None:
    prior = PRIORS[name]().train()
    labels = labels_of(prior, 3)
    valid = torch.ones_like(FULL, dtype=torch.bool)
    valid[0, 5:] = False
    generator = torch.Generator().manual_seed(0)
    state = torch.get_rng_state()
    logits = prior(FULL, labels, valid=valid, generator=generator)
    assert torch.equal(state, torch.get_rng_state())
    torch.nn.functional.cross_entropy(logits[valid], FULL[valid]).backward()
    for key, parameter in prior.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


def test_labels_are_dropped_in_training_only() -> None:
    prior = prior_of(classes=3, label_dropout=1.0)
    labels = torch.tensor([2, 1, 0])
    free = prior(FULL)
    assert not torch.allclose(prior(FULL, labels), free)
    torch.testing.assert_close(prior.train()(FULL, labels), free, **CLOSE)
    assert not torch.allclose(prior.extend(FULL[:, :2], None, labels).logits, free[:, 2])


def test_the_input_is_dropped_in_training_only() -> None:
    """With nearly all of the input dropped, the tokens do not matter; the start is not dropped."""
    prior = prior_of(dropout=0.999999)
    other = (FULL + 1) % CODES
    assert not torch.allclose(prior(FULL), prior(other))
    prior.train()
    first, second = (
        prior(tokens, generator=torch.Generator().manual_seed(0)) for tokens in (FULL, other)
    )
    torch.testing.assert_close(first, second, **CLOSE)


# Complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 0}, "tokens must be >= 1; got 0"),
        ({"classes": -1}, "classes must be >= 0; got -1"),
        ({"label_dropout": 1.5}, "label_dropout must"),
        ({"dropout": -0.1}, "dropout must"),
        ({"embedding": TokenEmbedding(4, 6)}, "embedding and trunk must share dim; got 6 and 8"),
        ({"trunk": Transformer(8, depth=1, heads=2)}, "trunk must be causal; got causal=False"),
        (
            {"trunk": Transformer(8, depth=1, heads=2, causal=True, condition_dim=4)},
            "classes must be >= 1 with adaptive norms; got 0",
        ),
        (
            {
                "trunk": Transformer(
                    8, depth=1, heads=2, causal=True, rotary=RotaryPositions(4, grid=(5,))
                )
            },
            "rotary positions must be 6 or more; got 5",
        ),
    ],
)
def test_a_prior_that_cannot_be(options: dict[str, Any], message: str) -> None:
    parts: dict[str, Any] = {
        "embedding": TokenEmbedding(4, 8),
        "trunk": Transformer(8, depth=1, heads=2, causal=True),
        "tokens": 7,
    } | options
    embedding, trunk = parts.pop("embedding"), parts.pop("trunk")
    with pytest.raises(ValueError, match=f"CausalTokenTransformer: {message}"):
        CausalTokenTransformer(embedding, trunk, **parts)


def test_complaints() -> None:
    prior, who = prior_of(), "CausalTokenTransformer: "
    cache = prior.extend(FULL[:, :3]).cache
    mask = torch.ones(3, 4, dtype=torch.bool)
    for call, message in (
        (lambda: prior(FULL[0]), r"tokens must be \(batch, tokens\)"),
        (lambda: prior(FULL.float()), "tokens must be int64"),
        (lambda: prior(FULL[:0]), "batch must be >= 1; got 0"),
        (lambda: prior(FULL[:, :0]), "tokens must be 1 to 7; got 0"),
        (lambda: prior(torch.cat([FULL, FULL], 1)), "tokens must be 1 to 7; got 14"),
        (lambda: prior(FULL, torch.tensor([0, 0, 0])), "labels must be None without classes"),
        (lambda: prior(FULL, valid=mask), r"valid must have shape \(3, 7\); got \(3, 4\)"),
        (lambda: prior.extend(FULL), "tokens to read must be fewer than 7; got 7"),
        (lambda: prior.extend(FULL[:, :4], cache), "tokens to read must be fewer than 7; got 7"),
        (lambda: prior.extend(FULL[:, :4], cache, valid=mask), r"places must lie in \[0, 6\); got"),
        (lambda: prior.extend(FULL[:, :0], cache), "tokens beside a cache must be >= 1; got 0"),
        (lambda: prior.extend(FULL[:2, :1], cache), "keys of memory must have size 2 in dimension"),
        (
            lambda: prior.extend(FULL[:, :1], cache._replace(prefix=0)),
            "prefix of cache must be 1; got 0",
        ),
        (
            lambda: prior.extend(FULL[:, :1], KeyValueCache(cache.layers[:1], None, 1)),
            "cache must have 2 layers; got 1",
        ),
    ):
        with pytest.raises(ValueError, match=who + message):
            call()
    with pytest.raises(TypeError, match=who + "cache must be a KeyValueCache; got list"):
        prior.extend(FULL[:, :1], [])  # type: ignore[arg-type]
    classes = prior_of(classes=2)
    with pytest.raises(ValueError, match=who + r"labels must have shape \(3,\); got \(2,\)"):
        classes.extend(FULL[:, :2], None, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=who + r"labels must lie in \[-1, 2\); got 2"):
        classes(FULL, torch.tensor([0, 2, 1]))


def test_a_context_of_another_shape_is_refused() -> None:
    prior = prior_of()
    for ask in (prior, prior.extend):
        with pytest.raises(
            ValueError,
            match=r"^CausalTokenTransformer: context must be \(batch, tokens to predict, dim\), "
            r"\(3, \d, 8\); got \(3, 1, 8\)$",
        ):
            ask(FULL[:, :6], context=torch.zeros(3, 1, 8))
