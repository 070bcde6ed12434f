"""One token after the other: with a cache as without, in a batch as alone."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from ssltok.decoding import CausalModel, Drawn, Sample, causal_decode, temperature_sample
from ssltok.nn import CausalTokenTransformer
from tests.nn.test_causal_token_transformer import CODES, PRIORS, prior_of

SAMPLES: dict[str, Sample] = {
    "temperature": temperature_sample(temperature=1.4),
    "greedy": temperature_sample(temperature=0.0),
    "top_k": temperature_sample(top_k=3),
    "top_p": temperature_sample(top_p=0.8),
    "by progress": temperature_sample(temperature=lambda progress: 2 * progress),
}
PROMPTS: dict[str, Tensor] = {
    "none": torch.empty(4, 0, dtype=torch.int64),
    "full": torch.tensor([[0, 4, 3], [2, 2, 0], [1, 0, 3], [4, 4, 4]]),
    "left": torch.tensor([[-1, 4, 3], [-1, -1, 0], [1, 0, 3], [-1, -1, -1]]),
    "right": torch.tensor([[4, 3, -1], [0, -1, -1], [1, 0, 3], [-1, -1, -1]]),
    "single": torch.tensor([[3, 1]]),
}
LABELS = torch.tensor([2, -1, 0, 1])
STEPS = 4


def uncached(prior: CausalTokenTransformer, labels: Tensor | None) -> CausalModel:
    """The loop without a cache: all tokens so far, through all layers, in every step."""

    def model(
        tokens: Tensor, cache: tuple[Tensor, Tensor] | None, /, *, valid: Tensor | None
    ) -> tuple[Tensor, Any]:
        valid = torch.ones_like(tokens, dtype=torch.bool) if valid is None else valid
        if cache is not None:
            tokens = torch.cat([cache[0], tokens], dim=1)
            valid = torch.cat([cache[1], valid], dim=1)
        asked = torch.nn.functional.pad(tokens, (0, 1))
        whole = prior(asked, labels, valid=torch.nn.functional.pad(valid, (0, 1), value=True))
        return whole[:, -1], (tokens, valid)

    return model


def cached(prior: CausalTokenTransformer, labels: Tensor | None) -> CausalModel:
    return partial(prior.extend, labels=labels)


def stream(
    model: CausalModel, prompt: Tensor, sample: Sample, *, steps: int = STEPS, seed: int = 0
) -> Iterator[Drawn]:
    return causal_decode(
        model, prompt, codebook_size=CODES, steps=steps, sample=sample,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def watched(model: CausalModel, seen: list[Tensor]) -> CausalModel:
    def call(tokens: Tensor, cache: Any, /, *, valid: Tensor | None) -> tuple[Tensor, Any]:
        logits, cache = model(tokens, cache, valid=valid)
        seen.append(logits)
        return logits, cache

    return call


def drawn_tokens(draws: Iterator[Drawn]) -> Tensor:
    return torch.stack([drawn.tokens for drawn in draws], dim=1)


# Oracle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("rule", SAMPLES)
def test_the_uncached_loop_draws_the_same(name: str, prompt: str, rule: str) -> None:
    prior, tokens = PRIORS[name](), PROMPTS[prompt]
    labels = LABELS[: len(tokens)] if prior.classes else None
    plain: list[Tensor] = []
    fast: list[Tensor] = []
    expected = list(stream(watched(uncached(prior, labels), plain), tokens, SAMPLES[rule]))
    found = list(stream(watched(cached(prior, labels), fast), tokens, SAMPLES[rule]))
    assert len(found) == STEPS
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.tokens, other.tokens)
        torch.testing.assert_close(one.logprob, other.logprob)
    for one_of_fast, one_of_plain in zip(fast, plain, strict=True):
        torch.testing.assert_close(one_of_fast, one_of_plain, rtol=0.0, atol=1e-12)


def test_the_joint_is_the_models() -> None:
    """Chi-squared over all rows of three tokens, each row with its exact probability."""
    prior = prior_of(tokens=3)
    rows = torch.cartesian_prod(*[torch.arange(CODES)] * 3)
    logprob = prior(rows).log_softmax(dim=-1).gather(2, rows[..., None]).sum(dim=(1, 2)).detach()
    prompt = torch.empty(20_000, 0, dtype=torch.int64)
    draws = list(stream(prior.extend, prompt, temperature_sample(), steps=3))
    tokens = torch.stack([drawn.tokens for drawn in draws], dim=1)
    index = tokens @ torch.tensor([CODES**2, CODES, 1])
    total = torch.stack([drawn.logprob for drawn in draws], dim=1).sum(dim=1)
    torch.testing.assert_close(total, logprob[index].float(), rtol=1e-4, atol=1e-4)
    expected = logprob.exp() * len(prompt)
    often = expected >= 5
    counts = index.bincount(minlength=len(rows))
    pooled = torch.cat([counts[often], counts[~often].sum()[None]])
    wanted = torch.cat([expected[often], expected[~often].sum()[None]])
    assert stats.chisquare(pooled, wanted, sum_check=False).pvalue > 1e-3


# Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("prompt", ["left", "right"])
def test_a_ragged_row_is_the_row_alone(name: str, prompt: str) -> None:
    prior, greedy = PRIORS[name](), SAMPLES["greedy"]
    labels = LABELS if prior.classes else None
    together = drawn_tokens(stream(cached(prior, labels), PROMPTS[prompt], greedy))
    for row, tokens in enumerate(PROMPTS[prompt]):
        label = None if labels is None else labels[row : row + 1]
        alone = drawn_tokens(stream(cached(prior, label), tokens[tokens >= 0][None], greedy))
        assert torch.equal(together[row], alone[0])


def test_the_generator_alone_decides() -> None:
    prior, before = prior_of(), torch.get_rng_state()
    one, two, other = (
        drawn_tokens(stream(prior.extend, PROMPTS["full"], SAMPLES["temperature"], seed=seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("prompt", PROMPTS)
def test_each_step_reads_one_token_and_only_when_asked(prompt: str) -> None:
    """Linear cost: the prompt once, then one token a call, and none after the last token."""
    prior, tokens, widths = prior_of(), PROMPTS[prompt], list[int]()

    def counted(tokens: Tensor, cache: Any, /, *, valid: Tensor | None) -> tuple[Tensor, Any]:
        widths.append(tokens.shape[1])
        return prior.extend(tokens, cache, valid=valid)

    draws = stream(counted, tokens, SAMPLES["top_p"])
    assert widths == []
    for step, _ in enumerate(draws):
        assert widths == [tokens.shape[1]] + [1] * step
    assert len(widths) == STEPS


def test_no_gradient_is_kept_and_the_callers_mode_stays() -> None:
    prior, prompt = prior_of(), PROMPTS["left"].clone()
    seen: list[Tensor] = []
    for drawn in stream(watched(prior.extend, seen), prompt, SAMPLES["temperature"]):
        assert torch.is_grad_enabled()
        assert not drawn.logprob.requires_grad
    assert not any(logits.requires_grad for logits in seen)
    assert torch.equal(prompt, PROMPTS["left"])


def test_progress_runs_to_one() -> None:
    seen: list[float] = []

    def rule(logits: Tensor, progress: float, generator: torch.Generator | None) -> Drawn:
        seen.append(progress)
        return SAMPLES["greedy"](logits, progress, generator)

    drawn_tokens(stream(prior_of().extend, PROMPTS["full"], rule))
    assert seen == [0.25, 0.5, 0.75, 1.0]


def test_a_forbidden_code_is_never_drawn() -> None:
    def model(tokens: Tensor, cache: Any, /, *, valid: Tensor | None) -> tuple[Tensor, Any]:
        return torch.tensor([0.0, -torch.inf, 0.0, 0.0, -torch.inf]).expand(len(tokens), -1), None

    prompt = torch.empty(200, 0, dtype=torch.int64)
    tokens = drawn_tokens(stream(model, prompt, SAMPLES["temperature"]))
    assert set(tokens.unique().tolist()) == {0, 2, 3}


# Complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": torch.zeros(3, dtype=torch.int64)}, r"tokens must be \(batch, tokens\)"),
        ({"tokens": torch.zeros(1, 3)}, "tokens must be int64; got torch.float32"),
        ({"tokens": torch.zeros(0, 3, dtype=torch.int64)}, "batch must be >= 1; got 0"),
        ({"tokens": torch.tensor([[0, 5]])}, r"tokens must lie in \[-1, codebook_size = 5\); got"),
        ({"tokens": torch.tensor([[0, -2]])}, r"tokens must lie in .* got -2 to 0"),
        ({"steps": 0}, "steps must be >= 1; got 0"),
        ({"codebook_size": 0}, "codebook_size must be >= 1; got 0"),
    ],
)
def test_bad_input_is_refused_before_the_first_token(options: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"tokens": PROMPTS["full"], "codebook_size": CODES, "steps": 2}
    good |= options
    with pytest.raises(ValueError, match=f"causal_decode: {message}"):
        causal_decode(prior_of().extend, good.pop("tokens"), sample=SAMPLES["top_k"], **good)


def test_what_the_model_or_the_rule_returns_is_checked() -> None:
    def returning(logits: Tensor) -> CausalModel:
        return lambda tokens, cache, /, *, valid: (logits, None)

    full, rule = PROMPTS["full"], SAMPLES["temperature"]
    with pytest.raises(ValueError, match=r"causal_decode: logits must be \(batch, codebook_size\)"):
        next(stream(returning(torch.zeros(4, CODES + 1)), full, rule))
    for bad, value in itertools.product((torch.nan, torch.inf), (0.0, -1.0)):
        logits = torch.full((4, CODES), value)
        logits[2, 1] = bad
        with pytest.raises(ValueError, match="causal_decode: every row of logits must have a code"):
            next(stream(returning(logits), full, rule))
    with pytest.raises(ValueError, match="causal_decode: sample must return tokens and logprob"):
        next(stream(returning(torch.zeros(4, CODES)), full, lambda x, p, g: Drawn(full, x[:, 0])))


def test_more_tokens_than_the_prior_has_places_for() -> None:
    draws = stream(prior_of(tokens=5).extend, PROMPTS["full"], SAMPLES["greedy"])
    next(draws), next(draws)
    with pytest.raises(ValueError, match="CausalTokenTransformer: tokens to read must be fewer"):
        next(draws)
