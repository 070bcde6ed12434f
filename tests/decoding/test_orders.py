"""Orders: the priority each rule says, noise of the right temperature, and no order of its own."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats

from ssltok.decoding import (
    DecodingState,
    Order,
    confidence_order,
    entropy_order,
    fixed_order,
    margin_order,
    random_order,
)


def state(seed: int = 0, progress: float = 0.25, rows: int = 3) -> DecodingState:
    """Rows of six tokens; places 1, 2, 4 were drawn, 0 is given, 3 and 5 were fixed earlier."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.tensor([False, True, True, False, True, False]).expand(rows, 6)
    logits = torch.randn(rows * 3, 5, generator=generator) * 2
    tokens = torch.randint(5, (rows, 6), generator=generator)
    logprob = torch.zeros(rows, 6)
    logprob[drawn] = logits.log_softmax(1).gather(1, tokens[drawn][:, None])[:, 0]
    given = torch.tensor([True] + [False] * 5).expand(rows, 6)
    return DecodingState(
        tokens, logprob, drawn, given, logits, progress, 0.8, 0.6, generator.manual_seed(seed + 1)
    )


# oracle


def test_confidence_without_noise_is_the_log_probability() -> None:
    now = state()
    priority = confidence_order(temperature=0.0)(now)
    assert torch.equal(priority[now.drawn], now.logprob[now.drawn])
    assert (priority[~now.drawn] == math.inf).all()


@pytest.mark.parametrize(
    ("order", "tau"),
    [
        (confidence_order(temperature=4.5), 4.5 * 0.75),
        (confidence_order(), 4.5 * 0.75),
        (confidence_order(temperature=lambda progress: 8 * progress), 2.0),
    ],
)
def test_noise_is_gumbel_of_the_temperature_asked_for(order: object, tau: float) -> None:
    now = state(rows=20_000)
    priority = order(now)  # type: ignore[operator]
    noise = (priority - now.logprob)[now.drawn] / tau
    assert stats.kstest(noise.double().numpy(), stats.gumbel_r.cdf).pvalue > 0.01
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, rel=0.03)


@pytest.mark.parametrize("order", [confidence_order, random_order])
def test_however_hot_a_priority_stays_a_number(order: Callable[..., Order]) -> None:
    """Also that of a token of probability 0: infinity is for those that stay."""
    now = state(rows=300)
    now = now._replace(logprob=now.logprob.where(torch.arange(6) != 2, -math.inf))
    options = {"temperature": 3e38} if order is confidence_order else {}
    assert order(**options)(now)[now.drawn].isfinite().all()


def test_fp32_noise_reaches_the_tail() -> None:
    """-log(-log u) with fp32 u stops at 16.6; the probability of more than 14 is 8.3e-7."""
    now = state(rows=1_000_000)
    noise = (confidence_order(temperature=lambda _: 1.0)(now) - now.logprob)[now.drawn]
    for level in (10.0, 12.0, 14.0):
        expected = 3_000_000 * -math.expm1(-math.exp(-level))
        found = int((noise > level).sum())
        assert abs(found - expected) <= 4 * math.sqrt(expected) + 1
    assert noise.isfinite().all()


def test_entropy_and_margin_are_their_definitions() -> None:
    now = state()
    probs = now.logits.double().softmax(1)
    entropy = -(probs * probs.log()).sum(1)
    torch.testing.assert_close(entropy_order()(now)[now.drawn], -entropy.float())
    best = probs.sort(1, descending=True).values
    torch.testing.assert_close(margin_order()(now)[now.drawn], (best[:, 0] - best[:, 1]).float())


# known values


def test_a_code_of_no_probability_adds_no_entropy() -> None:
    logits = torch.tensor([0.0, 0.0, -math.inf, -math.inf, -math.inf]).expand(9, 5)
    now = state()._replace(logits=logits)
    priority = entropy_order()(now)[now.drawn]
    torch.testing.assert_close(priority, torch.full((9,), -math.log(2)))
    assert (margin_order()(now)[now.drawn] == 0).all()


def test_one_code_leaves_no_margin_to_measure() -> None:
    now = state()._replace(logits=torch.zeros(9, 1))
    assert (margin_order()(now)[now.drawn] == 1).all()


# laws


def test_random_order_is_uniform_over_orders() -> None:
    now = state(rows=12_000)
    ranks = random_order()(now)[now.drawn].view(-1, 3).argsort(1)
    index = ranks[:, 0] * 9 + ranks[:, 1] * 3 + ranks[:, 2]
    counts = torch.bincount(index)
    assert len(counts[counts > 0]) == 6
    assert stats.chisquare(counts[counts > 0].numpy()).pvalue > 0.01


@pytest.mark.parametrize(
    "order",
    [confidence_order(), random_order(), entropy_order(), margin_order(),
     fixed_order(torch.arange(6))],
)  # fmt: skip
def test_tokens_fixed_earlier_stay_and_the_generator_decides(order: object) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again = (order(state(seed=3)) for _ in range(2))  # type: ignore[operator]
    assert (first[~state().drawn] == math.inf).all()
    assert first[state().drawn].isfinite().all()
    assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())


# complaints


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"^confidence_order: temperature must be >= 0; got -1$"):
        confidence_order(temperature=-1)
    with pytest.raises(ValueError, match=r"^fixed_order: places must be \(tokens,\); got shape"):
        fixed_order(torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"^fixed_order: places must be int64; got torch.float32$"):
        fixed_order(torch.zeros(2))
    said = r"^fixed_order: places must list every token; got 5 places for 6 tokens$"
    with pytest.raises(ValueError, match=said):
        fixed_order(torch.arange(5))(state())
