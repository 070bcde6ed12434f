"""Conditions: against enumerated joint distributions."""

import itertools
from functools import partial

import pytest
import torch
from scipy import stats
from torch import Tensor

from ssltok.decoding import (
    LogitsFn,
    classifier_free_guidance,
    condition_on,
    confidence_order,
    impute,
    in_context,
    iterative_decode,
    random_order,
    temperature_sample,
)

CODES = 3


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def states(tokens: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(CODES), repeat=tokens)))


def exact(weights: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
    """Log-conditionals of each token given the visible ones, `weights` of all states by row."""
    every = states(tokens.shape[1])
    agree = ((tokens[:, None] == every) | (tokens[:, None] == CODES)).all(-1)
    codes = torch.nn.functional.one_hot(every, CODES).to(weights)
    each = torch.einsum("bs,stk->btk", agree * weights, codes)
    return each.log()[where]


def decoder(logits_fn: LogitsFn, seed: int, steps: int) -> partial[Tensor]:
    """Exact for exact conditionals: one token a step, in random order."""
    return partial(
        iterative_decode,
        logits_fn,
        mask_index=CODES,
        steps=steps,
        schedule=lambda progress: 1 - progress,
        order=random_order(),
        sample=temperature_sample(),
        generator=seeded(seed),
    )


def p_value(found: Tensor, probabilities: Tensor) -> float:
    """Compare drawn rows with the probabilities of all states; rare states together."""
    powers = CODES ** torch.arange(found.shape[1] - 1, -1, -1)
    counts = torch.bincount((found * powers).sum(1), minlength=len(probabilities)).double()
    expected = probabilities / probabilities.sum() * len(found)
    rare = expected < 5
    seen = torch.cat([counts[~rare], counts[rare].sum()[None]])
    wanted = torch.cat([expected[~rare], expected[rare].sum()[None]])
    return float(stats.chisquare(seen[wanted > 0].numpy(), wanted[wanted > 0].numpy()).pvalue)


# oracle


def conditional(tokens: Tensor, where: Tensor, h: Tensor) -> Tensor:
    """The exact conditionals of a joint distribution of three tokens that depends on h."""
    return exact(family(h), tokens, where)


def family(h: Tensor) -> Tensor:
    """An exponential family: the weights of all states of three tokens for each row of h."""
    features = torch.randn(2, CODES**3, generator=seeded(0), dtype=torch.float64)
    return (h @ features).exp()


def test_rows_are_drawn_from_the_distribution_of_their_representation() -> None:
    h = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.0, -2.0]], dtype=torch.float64)
    decode = decoder(condition_on(conditional, h), 1, steps=3)
    hidden = torch.zeros(3, 3, dtype=torch.int64)
    found = impute(
        decode, hidden, torch.ones_like(hidden, dtype=torch.bool), mask_index=CODES, samples=4000
    )
    for row, weights in enumerate(family(h)):
        assert p_value(found[:, row], weights) > 0.01
        # the test tells one representation from another
        assert p_value(found[:, row], family(h)[row - 1]) < 1e-6


def test_a_representation_and_known_tokens_together() -> None:
    h = torch.tensor([[0.7, -0.4]], dtype=torch.float64)
    tokens = torch.tensor([[0, 2, 0]])
    known = torch.tensor([[False, True, False]])
    decode = decoder(condition_on(conditional, h), 2, steps=2)
    found = impute(decode, tokens, ~known, mask_index=CODES, samples=6000)[:, 0]
    assert (found[:, 1] == 2).all()
    weights = family(h)[0] * (states(3)[:, 1] == 2)
    assert p_value(found, weights) > 0.01


def mixture(tokens: Tensor, where: Tensor) -> Tensor:
    """The exact conditionals of a sequence of four tokens, independent given one of two kinds."""
    each = KINDS.log()[:, states(4)].sum(-1).exp()  # (kinds, states)
    return exact((PRIOR @ each).expand(len(tokens), -1), tokens, where)


PRIOR = torch.tensor([0.35, 0.65], dtype=torch.float64)
KINDS = torch.tensor([[0.8, 0.15, 0.05], [0.1, 0.3, 0.6]], dtype=torch.float64)


def test_rows_continue_in_the_manner_of_their_examples() -> None:
    """The predictive distribution of Bayes: the kinds weighed by the examples."""
    support = torch.tensor([[0, 0], [2, 1], [0, 2]])
    decode = decoder(in_context(mixture, support), 3, steps=2)
    hidden = torch.zeros(3, 2, dtype=torch.int64)
    found = impute(
        decode, hidden, torch.ones_like(hidden, dtype=torch.bool), mask_index=CODES, samples=4000
    )
    predictions = []
    for example in support:
        posterior = PRIOR * KINDS[:, example].prod(dim=1)
        predictions.append((posterior / posterior.sum()) @ KINDS[:, states(2)].prod(dim=2))
    for row, predicted in enumerate(predictions):
        assert p_value(found[:, row], predicted) > 0.01
        assert p_value(found[:, row], predictions[row - 1]) < 1e-6


def test_decoding_behind_the_examples_is_decoding_the_long_sequence() -> None:
    """At temperature 0, where no draw differs: the examples are known tokens of a longer row."""
    table = torch.randn(6, CODES + 1, 6, CODES, generator=seeded(4))

    def model(tokens: Tensor, where: Tensor) -> Tensor:
        return table[torch.arange(6), tokens].sum(dim=1)[where]

    run = partial(
        iterative_decode,
        mask_index=CODES,
        steps=3,
        schedule=lambda progress: 1 - progress,
        order=confidence_order(temperature=0.0),
        sample=temperature_sample(temperature=0.0),
    )
    support = torch.randint(CODES, (5, 2), generator=seeded(5))
    hidden = torch.full((5, 4), CODES)
    hidden[1, 2] = 0
    long = run(model, torch.cat([support, hidden], dim=1))
    assert torch.equal(run(in_context(model, support), hidden), long[:, 2:])


# known values


def test_guidance_between_two_representations() -> None:
    """Logits that are the representation: guidance walks on the line through the two."""

    def model(tokens: Tensor, where: Tensor, h: Tensor) -> Tensor:
        return h[:, None].expand(-1, tokens.shape[1], -1)[where]

    h, null = torch.tensor([[1.0, 2.0, 0.0]]), torch.zeros(1, 3)
    rule = classifier_free_guidance(condition_on(model, null), scale=3.0)
    tokens, where = torch.tensor([[3, 0]]), torch.tensor([[True, False]])
    assert rule(condition_on(model, h), tokens, where, 0.5).tolist() == [[3.0, 6.0, 0.0]]


# laws


def test_rows_are_repeated_sample_after_sample() -> None:
    seen: list[Tensor] = []

    def model(tokens: Tensor, where: Tensor, h: Tensor) -> Tensor:
        seen.append(h)
        return torch.zeros(int(where.sum()), CODES)

    def long_model(tokens: Tensor, where: Tensor) -> Tensor:
        seen.append(tokens)
        assert torch.equal(where, tokens == CODES)
        return torch.zeros(int(where.sum()), CODES)

    h = torch.arange(12.0).view(2, 3, 2)
    tokens = torch.full((6, 4), CODES)
    tokens[1, 2] = 0
    where = tokens == CODES
    condition_on(model, h)(tokens, where)
    assert torch.equal(seen[0], torch.cat([h, h, h]))
    condition_on(model, h)(tokens[:2], where[:2])
    assert seen[1] is h
    support = torch.tensor([[1, -1, 2], [0, 1, 1]])
    found = in_context(long_model, support)(tokens, where)
    assert torch.equal(seen[2], torch.cat([torch.cat([support] * 3), tokens], dim=1))
    assert found.shape == (23, CODES)


# complaints


def test_complaints() -> None:
    def model(tokens: Tensor, where: Tensor, h: Tensor) -> Tensor:
        return torch.zeros(int(where.sum()), CODES)

    with pytest.raises(TypeError, match=r"^condition_on: condition must be a tensor; got list$"):
        condition_on(model, [1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^condition_on: axes of condition must be >= 1; got 0$"):
        condition_on(model, torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"^condition_on: rows of condition must be >= 1; got 0$"):
        condition_on(model, torch.zeros(0, 3))
    tokens = torch.full((5, 4), CODES)
    for rows in (2, 6):
        said = (
            rf"^condition_on: rows of condition must divide the rows of tokens; got {rows} and 5$"
        )
        with pytest.raises(ValueError, match=said):
            condition_on(model, torch.zeros(rows, 3))(tokens, tokens == CODES)
    with pytest.raises(ValueError, match=r"^in_context: support must be \(batch, tokens\); got"):
        in_context(mixture, torch.tensor([1, 2]))
    with pytest.raises(ValueError, match=r"^in_context: support must be int64; got torch.float32$"):
        in_context(mixture, torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"^in_context: support.numel\(\) must be >= 1; got 0$"):
        in_context(mixture, torch.zeros(1, 0, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"^in_context: rows of support must divide the rows of"):
        in_context(mixture, torch.zeros(2, 2, dtype=torch.int64))(tokens, tokens == CODES)
