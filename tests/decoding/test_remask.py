"""Second thoughts: re-masking keeps the schedule's counts and never touches what was given."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from ssltok.decoding import (
    DecodingState,
    Order,
    cap_remask,
    confidence_remask,
    critic_order,
    iterative_decode,
    random_order,
    remask_order,
    rescale_remask,
    self_token_critic,
    temperature_sample,
)
from tests.decoding.test_iterative import conditionals


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(progress: Tensor) -> Tensor:
    return 1 - progress


def run(
    order: Order, steps: int, tokens: int, rows: int, schedule: Callable[[Tensor], Tensor] = linear
) -> tuple[Tensor, list[tuple[DecodingState, Tensor]]]:
    """Decode rows of which the first token is given; keep every step."""
    ids = torch.full((rows, tokens), 4)
    ids[:, 0] = 1
    ids[0, -1] = -1
    seen: list[tuple[DecodingState, Tensor]] = []
    found = iterative_decode(
        lambda now, where: torch.randn(int(where.sum()), 4, generator=seeded(int(where.sum()))),
        ids, mask_index=4, steps=steps, schedule=schedule, order=order,
        sample=temperature_sample(), observe=lambda state, after: seen.append((state, after)),
        generator=seeded(1),
    )  # fmt: skip
    return found, seen


# oracle


@pytest.mark.parametrize("before", [1.0, 0.9, 0.5, 0.2])
def test_probabilities_are_the_formulas(before: float) -> None:
    after = before - 0.1
    state = DecodingState(
        torch.zeros(1, 4, dtype=torch.int64), torch.tensor([[0.5, 0.2, 0.9, 0.7]]).log(),
        torch.tensor([[True, False, False, False]]), torch.zeros(1, 4, dtype=torch.bool),
        torch.zeros(1, 3), 0.5, before, after, None,
    )  # fmt: skip
    alpha_t, alpha_s = 1 - before, 1 - after
    bound = min(1.0, (1 - alpha_s) / alpha_t) if alpha_t else 0.0
    assert float(cap_remask(eta=0.3)(state)) == pytest.approx(min(0.3, bound))
    assert float(rescale_remask(eta=0.3)(state)) == pytest.approx(0.3 * bound)
    weights = torch.tensor([-0.2, -0.9, -0.7]).softmax(0) * 3 * 0.3 * bound
    found = confidence_remask(rescale_remask(eta=0.3))(state)
    torch.testing.assert_close(found, torch.tensor([[0.0, *weights.tolist()]]))


def test_tokens_fixed_earlier_are_masked_again_as_often_as_asked() -> None:
    order = remask_order(random_order(), probability=cap_remask(eta=0.1))
    _, seen = run(order, steps=8, tokens=40, rows=800)
    for state, after in seen[:-1]:
        fixed = ~state.given & ~state.drawn
        again = int((fixed & (after == 4)).sum())
        total = int(fixed.sum())
        share = min(0.1, state.share_after / max(1 - state.share_before, 1e-9))
        assert abs(again - total * share) <= 5 * math.sqrt(total * share) + 1


def test_remasking_single_tokens_draws_from_the_joint() -> None:
    """Fixed one by one, then masked and drawn again one by one, which is Gibbs sampling."""
    joint = torch.rand((3,) * 3, generator=seeded(2), dtype=torch.float64).pow(2)
    joint /= joint.sum()

    def waiting(progress: Tensor) -> Tensor:  # 3, 2, 1, 1, 1, 1, 0 tokens masked
        return torch.where(progress < 0.3, 1 - progress * 2, (progress < 0.99) * 0.4)

    forwards: list[int] = []
    found = iterative_decode(
        conditionals(joint),
        torch.full((30_000, 3), 3),
        mask_index=3,
        steps=7,
        schedule=waiting,
        order=remask_order(
            random_order(),
            probability=lambda state: torch.tensor(0.5 if state.share_before < 0.5 else 0.0),
        ),
        sample=temperature_sample(),
        generator=seeded(3),
        observe=lambda state, after: forwards.append(int((state.drawn & ~state.given).sum())),
    )
    assert forwards[:3] == [90_000, 60_000, 30_000]
    assert forwards[3] > 20_000  # three rows in four were opened again
    index = (found * 3 ** torch.arange(2, -1, -1)).sum(dim=1)
    counts = torch.bincount(index, minlength=27).double()
    assert stats.chisquare(counts.numpy(), (joint.reshape(-1) * 30_000).numpy()).pvalue > 0.01


# laws


@pytest.mark.parametrize(
    "order",
    [
        remask_order(random_order(), probability=cap_remask(eta=1.0)),
        remask_order(random_order(), probability=confidence_remask(rescale_remask(eta=0.9))),
        critic_order(lambda tokens: tokens.float(), temperature=2.0),
    ],
)
@pytest.mark.parametrize("steps", [1, 5, 30])
def test_counts_follow_the_schedule_and_given_tokens_stay(order: Order, steps: int) -> None:
    found, seen = run(order, steps=steps, tokens=13, rows=6)
    assert (found[:, 0] == 1).all()
    assert found[0, -1] == -1
    assert ((found < 4) & (found >= -1)).all()
    unknown = torch.tensor([11] + [12] * 5)
    for state, after in seen:
        hidden = (after == 4).sum(dim=1)
        assert (hidden <= torch.floor(unknown * state.share_after + 1e-4)).all()
        assert not ((after == 4) & state.given).any()
    if steps == 30:
        assert any(((after == 4) & ~state.drawn).any() for state, after in seen)


def test_the_critics_noise_is_gumbel_and_dies_out() -> None:
    shape = (1, 20_000)
    blank, no = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool)
    verdict = torch.linspace(-3, 3, shape[1]).expand(shape)
    for progress in (0.25, 1.0):
        state = DecodingState(
            blank, torch.zeros(shape), no, no, torch.zeros(0, 2), progress, 0.8, 0.6, seeded(2)
        )
        noise = critic_order(lambda tokens: verdict, temperature=2.0)(state) - verdict
        if progress == 1:
            assert (noise == 0).all()
        else:
            sample = noise[0].double().numpy() / (2.0 * 0.75)
            assert stats.kstest(sample, stats.gumbel_r.cdf).pvalue > 0.01


def test_a_critic_may_condemn_a_token_fixed_earlier() -> None:
    visits: list[Tensor] = []

    def suspicious(tokens: Tensor) -> Tensor:  # the last step's verdict flips the first's
        visits.append(tokens)
        score = torch.arange(4).float()
        return (score if len(visits) == 1 else -score).expand_as(tokens)

    left: list[list[int]] = []
    iterative_decode(
        lambda now, where: torch.zeros(int(where.sum()), 2),
        torch.full((1, 4), 2),
        mask_index=2,
        steps=3,
        schedule=linear,
        order=critic_order(suspicious),
        sample=temperature_sample(temperature=0.0),
        observe=lambda state, after: left.append((after[0] == 2).nonzero()[:, 0].tolist()),
    )
    assert left == [[0, 1], [3], []]


def test_given_opens_known_tokens_to_revision() -> None:
    ids = torch.tensor([[0, 0, 2, 2]])
    given = torch.tensor([[True, False, False, False]])
    left: list[list[int]] = []
    iterative_decode(
        lambda now, where: torch.zeros(int(where.sum()), 2),
        ids,
        mask_index=2,
        steps=2,
        schedule=linear,
        order=critic_order(lambda tokens: torch.arange(4.0).expand_as(tokens)),
        sample=temperature_sample(temperature=0.0),
        given=given,
        observe=lambda state, after: left.append((after[0] == 2).nonzero()[:, 0].tolist()),
    )
    assert left == [[1], []]


def test_padding_stays_even_when_nothing_is_given() -> None:
    kept: list[list[int]] = []
    ids = torch.tensor([[0, -1, 2, 2, 1], [2, 2, 2, -1, -1]])
    valid = torch.tensor([[True, True, True, True, False], [True] * 5])
    found = iterative_decode(
        lambda now, where: torch.zeros(int(where.sum()), 2),
        ids,
        mask_index=2,
        steps=4,
        schedule=linear,
        order=critic_order(lambda tokens: -torch.ones(2, 5).cumsum(1) * (tokens < 2)),
        sample=temperature_sample(temperature=0.0),
        given=torch.zeros(2, 5, dtype=torch.bool),
        valid=valid,
        observe=lambda state, after: kept.append(after[[0, 0, 1, 1], [1, 4, 3, 4]].tolist()),
    )
    assert kept
    assert all(values == [-1, 1, -1, -1] for values in kept)
    assert found.tolist() == [[0, -1, 0, 0, 1], [0, 0, 0, -1, -1]]


def test_the_self_token_critic_finds_the_token_that_does_not_fit() -> None:
    joint = torch.full((2,) * 5, 1e-3, dtype=torch.float64)
    joint[0, 0, 0, 0, 0] = joint[1, 1, 1, 1, 1] = 0.5
    joint /= joint.sum()
    critic = self_token_critic(conditionals(joint), mask_index=2)
    scores = critic(torch.tensor([[1, 1, 0, 1, 1], [0, 0, 0, 0, 1]]))
    assert scores.argmin(dim=1).tolist() == [2, 4]


# complaints


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"^cap_remask: eta must lie in \[0, 1\]; got 2$"):
        cap_remask(eta=2)
    with pytest.raises(ValueError, match=r"^rescale_remask: eta must lie in \[0, 1\]; got -1$"):
        rescale_remask(eta=-1)
    with pytest.raises(ValueError, match=r"^critic_order: temperature must be >= 0; got -1$"):
        critic_order(lambda tokens: tokens.float(), temperature=-1)
    said = r"^critic_order: critic must return shape \(6, 13\); got \(6,\)$"
    with pytest.raises(ValueError, match=said):
        run(critic_order(lambda tokens: tokens[:, 0].float()), steps=3, tokens=13, rows=6)
