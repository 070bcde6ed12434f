"""Which and what: moments, planning, ReMDM's loop and forward-backward, correction, levels."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

from ssltok.decoding import (
    DecodingState,
    confidence_order,
    corrector,
    critic_order,
    decode_levels,
    entropy_bound,
    forward_backward_remask,
    iterative_decode,
    moment_order,
    moment_sample,
    planning_order,
    quality_loss,
    random_order,
    remask_loop,
    remask_order,
    rule_schedule,
    self_correction_loss,
    temperature_sample,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def state_of(
    logits: Tensor, drawn: Tensor, *, progress: float = 0.25, before: float = 0.8,
    after: float = 0.6, logprob: Tensor | None = None, given: Tensor | None = None,
) -> DecodingState:  # fmt: skip
    return DecodingState(
        torch.zeros(drawn.shape, dtype=torch.int64),
        torch.zeros(drawn.shape) if logprob is None else logprob, drawn,
        torch.zeros_like(drawn) if given is None else given, logits, progress, before, after,
        seeded(1),
    )  # fmt: skip


# moments


@pytest.mark.parametrize("alpha", [0.4, 2.0, 9.0])
def test_a_place_is_chosen_by_its_moment(alpha: float) -> None:
    rows, logits = 8_000, torch.randn(4, 5, generator=seeded(2)) * 1.5
    beta = 1 + 1 / alpha
    weights = logits.double().softmax(1).pow(beta).sum(1)
    state = state_of(logits.repeat(rows, 1), torch.ones(rows, 4, dtype=torch.bool))
    first = moment_order(temperature=alpha / 0.75)(state).argmax(dim=1)
    seen = torch.bincount(first, minlength=4).double()
    expected = weights / weights.sum() * rows
    assert stats.chisquare(seen.numpy(), expected.numpy()).pvalue > 0.01
    # Gumbel-top-k: the second is chosen likewise among the others
    priority = moment_order(temperature=lambda progress: alpha)(state)
    first, second = priority.argsort(dim=1, descending=True)[:, :2].unbind(1)
    seen = torch.bincount(second[first == 0], minlength=4).double()[1:]
    expected = weights[1:] / weights[1:].sum() * seen.sum()
    assert stats.chisquare(seen.numpy(), expected.numpy()).pvalue > 0.01


def test_without_noise_the_surest_place_is_first() -> None:
    logits = torch.randn(6, 5, generator=seeded(3))
    state = state_of(logits, torch.ones(1, 6, dtype=torch.bool))
    priority = moment_order(temperature=0.0)(state)
    torch.testing.assert_close(priority[0], logits.log_softmax(1).amax(1))
    nearly = moment_order(temperature=1e-6)(state)
    torch.testing.assert_close(nearly, priority, atol=1e-4, rtol=0)


@pytest.mark.parametrize("alpha", [0.4, 2.0])
def test_a_token_is_drawn_from_the_power(alpha: float) -> None:
    logits = torch.randn(1, 5, generator=seeded(4)).expand(8_000, -1)
    wanted = logits[0].double().softmax(0).pow(1 + 1 / alpha)
    for progress, shares in ((0.5, wanted / wanted.sum()), (1.0, logits[0].double().softmax(0))):
        drawn = moment_sample(temperature=alpha / 0.5)(logits, progress, seeded(5))
        seen = torch.bincount(drawn.tokens, minlength=5).double()
        assert stats.chisquare(seen.numpy(), (shares * 8_000).numpy()).pvalue > 0.01
        expected = logits.log_softmax(1).gather(1, drawn.tokens[:, None])[:, 0]
        torch.testing.assert_close(drawn.logprob, expected)


def test_noise_without_end_draws_from_the_probabilities_themselves() -> None:
    logits = torch.randn(50, 5, generator=seeded(4))
    for temperature in (math.inf, lambda progress: math.inf):
        drawn = moment_sample(temperature=temperature)(logits, 0.5, seeded(5))
        assert torch.equal(drawn.tokens, temperature_sample()(logits, 0.5, seeded(5)).tokens)


def test_few_of_many_places_are_kept_as_maskgit_keeps_them() -> None:
    """The theorem that the moment sampler stands on: places of the confidence order with noise."""
    rows, places, alpha = 6_000, 40, 1.0
    logits = torch.randn(places, 4, generator=seeded(6)) * 2
    shares = []
    for order, sample in (
        (confidence_order(temperature=lambda progress: alpha), temperature_sample()),
        (moment_order(temperature=lambda progress: alpha), temperature_sample()),
    ):
        state = state_of(logits.repeat(rows, 1), torch.ones(rows, places, dtype=torch.bool))
        drawn = sample(state.logits, 0.25, seeded(7))
        state = state._replace(
            tokens=drawn.tokens.view(rows, -1), logprob=drawn.logprob.view(rows, -1)
        )
        shares.append(torch.bincount(order(state).argmax(1), minlength=places) / rows)
    assert float((shares[0] - shares[1]).abs().sum()) / 2 < 0.08
    assert float(shares[0].max()) > 0.04  # they are far from uniform


# planning


def test_all_open_places_are_ranked_by_probability() -> None:
    drawn = torch.tensor([[True, False, True, False]])
    logprob = torch.tensor([[0.5, 0.6, 0.2, 0.9]]).log()
    state = state_of(torch.zeros(2, 3), drawn, logprob=logprob)
    torch.testing.assert_close(
        planning_order(eta=0.5)(state), torch.tensor([[0.5, 0.3, 0.2, 0.45]])
    )
    planner = planning_order(eta=2.0, planner=lambda tokens: torch.full((1, 4), 0.1).log())
    torch.testing.assert_close(planner(state), torch.tensor([[0.5, 0.2, 0.2, 0.2]]))
    assert planning_order(eta=math.inf)(state)[0, 1::2].tolist() == [math.inf, math.inf]


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, math.inf])
def test_planning_keeps_the_schedule_and_takes_back_more_at_small_eta(eta: float) -> None:
    left, back = [], 0

    def watch(state: DecodingState, after: Tensor) -> None:
        nonlocal back
        left.append((after == 4).sum(1).tolist())
        back += int(((after == 4) & ~state.drawn).sum())

    iterative_decode(
        lambda t, w: torch.randn(int(w.sum()), 4, generator=seeded(int(w.sum()))),
        torch.full((3, 12), 4), mask_index=4, steps=6, schedule=lambda r: 1 - r,
        order=planning_order(eta=eta), sample=temperature_sample(), observe=watch,
        generator=seeded(8),
    )  # fmt: skip
    assert left == [[n] * 3 for n in (10, 8, 6, 4, 2, 0)]
    # at 0 every step takes back what was settled before, as far as the masked places go
    assert back == 3 * (2 + 4 + 4 + 2) if eta == 0 else back < 36
    assert (back == 0) == (eta == math.inf)


# ReMDM


def test_forward_backward_is_three_moves_of_coins() -> None:
    before, after, n = 0.7, 0.5, 400_000
    state = state_of(
        torch.zeros(0, 2), torch.zeros(1, 1, dtype=torch.bool), before=before, after=after
    )
    back = (before - after) / before  # a step back unmasks a masked token
    noise = 1 - (1 - before) / (1 - after)  # one of noise masks a known one

    def coin(share: float) -> Tensor:
        return torch.rand(n, generator=generator) < share

    generator = seeded(9)
    known = torch.ones(n, dtype=torch.bool)
    known = (known & ~coin(noise)) | (~known & coin(back))
    masked = ~(known | coin(back))
    sigma = float(forward_backward_remask()(state))
    assert float(masked.double().mean()) == pytest.approx(sigma, abs=0.003)
    assert sigma <= min(1.0, after / (1 - before))
    for shares in ((1.0, 0.9), (0.2, 0.0), (0.5, 0.5), (1.0, 1.0)):
        edge = state._replace(share_before=shares[0], share_after=shares[1])
        assert float(forward_backward_remask()(edge)) == pytest.approx(
            {(1.0, 0.9): 0.9, (0.2, 0.0): 0.0, (0.5, 0.5): 0.0, (1.0, 1.0): 0.0}[shares]
        )


def test_a_loop_wanders_at_its_share_and_only_there() -> None:
    loop = remask_loop(eta=0.3, share=0.25, start=0.25, stop=0.75)
    left, back = [], []

    def watch(state: DecodingState, after: Tensor) -> None:
        left.append(int((after == 4).sum()) / 60)
        back.append(int(((after == 4) & ~state.drawn).sum()) / 60)

    iterative_decode(
        lambda t, w: torch.zeros(int(w.sum()), 4), torch.full((60, 40), 4), mask_index=4, steps=16,
        schedule=loop.schedule, sample=temperature_sample(), observe=watch, generator=seeded(10),
        order=remask_order(random_order(), probability=loop.probability),
    )  # fmt: skip
    assert left == [32, 25, 17, 10, *[10] * 8, 7, 5, 2, 0]
    assert back[:4] == [0] * 4
    assert back[12:] == [0] * 4
    assert all(share == pytest.approx(30 * 0.3, rel=0.15) for share in back[4:12])


# correction


def test_quality_is_the_chance_of_being_right() -> None:
    scores = torch.randn(3, 7, generator=seeded(11)).double().requires_grad_()
    draft, truth = (torch.randint(3, (3, 7), generator=seeded(k)) for k in (12, 13))
    where = torch.rand(3, 7, generator=seeded(14)) < 0.6
    expected = 0.0
    for b, i in where.nonzero().tolist():
        q = 1 / (1 + math.exp(-float(scores.detach()[b, i])))
        expected -= math.log(q if draft[b, i] == truth[b, i] else 1 - q)
    loss = quality_loss(scores, draft, truth, where)
    assert float(loss.detach()) == pytest.approx(expected / int(where.sum()), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, scores)
    right = (draft == truth).double()
    wanted = (scores.detach().sigmoid() - right) * where / where.sum()
    torch.testing.assert_close(gradient, wanted, atol=1e-12, rtol=1e-12)
    assert float(quality_loss(scores.detach(), draft, truth, torch.zeros_like(where))) == 0
    assert quality_loss(torch.full((3, 7), 1e4), draft, draft, where).isfinite()


def test_a_learned_head_is_a_critic() -> None:
    """Trained on drafts that are right where even, it finds even codes real."""
    generator, table = seeded(15), torch.zeros(6, requires_grad=True)
    for _ in range(60):
        draft = torch.randint(6, (8, 10), generator=generator)
        truth = torch.where(draft % 2 == 0, draft, (draft + 1) % 6)
        loss = quality_loss(table[draft], draft, truth, torch.ones(8, 10, dtype=torch.bool))
        (gradient,) = torch.autograd.grad(loss, table)
        table = (table - 5 * gradient).detach().requires_grad_()
    assert (table[::2] > 1).all()
    assert (table[1::2] < -1).all()
    found = iterative_decode(
        lambda t, w: torch.zeros(int(w.sum()), 6), torch.full((200, 4), 6), mask_index=6, steps=8,
        schedule=lambda r: 1 - r, order=critic_order(lambda tokens: table[tokens]),
        sample=temperature_sample(), generator=generator,
    )  # fmt: skip
    assert float((found % 2 == 0).double().mean()) > 0.7


def test_self_correction_asks_for_the_truth_beside_its_own_guess() -> None:
    weight = torch.randn(5, 6, 4, generator=seeded(16), dtype=torch.float64).requires_grad_()
    seen: list[Tensor] = []

    def model(tokens: Tensor, where: Tensor) -> Tensor:
        seen.append(tokens.clone())
        shown = tokens.clamp(min=0)
        return (weight[0, shown] + weight[1, shown.roll(1, 1)])[where]

    codes = torch.randint(4, (3, 6), generator=seeded(17))
    codes[2, 4:] = -1
    where = torch.rand(3, 6, generator=seeded(18)) < 0.5
    where[2, 4:] = True  # padding is not filled, whatever is asked
    loss = self_correction_loss(model, codes, where, mask_index=4)
    where = where & (codes >= 0)
    everywhere = torch.ones_like(where)
    guess = model(codes.masked_fill(where, 4), everywhere).argmax(-1).view(3, 6)
    filled = torch.where(where, guess, codes)
    assert torch.equal(seen[1], filled)
    real = codes >= 0
    logits = model(filled, everywhere).view(3, 6, 4)
    expected = [-logits[b, i].log_softmax(0)[codes[b, i]] for b, i in real.nonzero().tolist()]
    assert float(loss.detach()) == pytest.approx(
        float(torch.stack(expected).mean().detach()), rel=1e-12
    )
    (gradient,) = torch.autograd.grad(loss, weight)
    (wanted,) = torch.autograd.grad(functional.cross_entropy(logits[real], codes[real]), weight)
    torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)


def test_a_corrector_mends_what_is_not_given_and_leaves_finished_rows() -> None:
    asked: list[Tensor] = []

    def model(tokens: Tensor, where: Tensor) -> Tensor:
        """Unsure of hidden tokens; of visible ones sure that all of a row are its first."""
        asked.append(where)
        logits = torch.zeros(*tokens.shape, 3)
        first = tokens[:, :1].clamp(max=2).expand_as(tokens)
        sure = logits.scatter(2, first[..., None], 9.0)
        return torch.where((tokens == 3)[..., None], logits, sure)[where]

    start = torch.full((4, 6), 3)
    start[0, 0], start[1, 0] = 2, 1
    start[3, :5] = torch.tensor([1, 2, 2, 2, 2])  # ends in the first step
    start[2] = torch.tensor([0, 1, 2, 0, 1, 2])  # finished before it begins
    greedy = temperature_sample(temperature=0.0)
    found = iterative_decode(
        model, start, mask_index=3, steps=3, schedule=lambda r: 1 - r, order=random_order(),
        sample=temperature_sample(), settle=corrector(model, sample=greedy, rounds=2),
        generator=seeded(19),
    )  # fmt: skip
    assert found.tolist() == [[2] * 6, [1] * 6, [0, 1, 2, 0, 1, 2], [1, 2, 2, 2, 2, 1]]
    assert len(asked) == 9
    assert not any(where[3].any() for where in asked[3:])
    assert not any(where[2].any() for where in asked)
    assert not any(where[:2, 0].any() for where in asked)


def test_complaints_of_correction() -> None:
    where = torch.ones(2, 3, dtype=torch.bool)
    codes = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^corrector: rounds must be >= 1; got 0$"):
        corrector(lambda t, w: torch.zeros(0), sample=temperature_sample(), rounds=0)
    with pytest.raises(ValueError, match=r"^quality_loss: scores and tokens must"):
        quality_loss(torch.zeros(2, 4), codes, codes, where)
    with pytest.raises(ValueError, match=r"^self_correction_loss: where must be boolean"):
        self_correction_loss(lambda t, w: torch.zeros(0), codes, codes, mask_index=4)
    with pytest.raises(ValueError, match=r"^planning_order: eta must be >= 0; got -1"):
        planning_order(eta=-1)
    with pytest.raises(ValueError, match=r"^planning_order: planner must return shape \(1, 4\)"):
        planning_order(planner=lambda t: torch.zeros(4))(
            state_of(torch.zeros(4, 2), torch.ones(1, 4, dtype=torch.bool))
        )
    for option, bad, low in (("share", 1.0, "0.0, 1.0"), ("start", 0.0, "0.0, 1.0"),
                             ("stop", 0.4, "0.45, 1.0"), ("stop", 1.0, "0.45, 1.0")):  # fmt: skip
        with pytest.raises(ValueError, match=rf"^remask_loop: {option} must lie in \({low}\); got"):
            remask_loop(**{option: bad})
    for rule in (moment_order, moment_sample):
        with pytest.raises(ValueError, match=r"temperature must be >= 0; got -1"):
            rule(temperature=-1.0)


# levels


def decode_level(settle: Callable[..., DecodingState] | None) -> Callable[..., Tensor]:
    def decode(codes: Tensor, level: int, coarser: Tensor) -> Tensor:
        size = (5, 3)[level]

        def model(tokens: Tensor, where: Tensor) -> Tensor:
            shown = coarser.clamp(min=0).sum(-1)[where] if level else torch.zeros(int(where.sum()))
            return torch.nn.functional.one_hot(shown.long() % size, size) * 30.0 * level

        return iterative_decode(
            model, codes.clamp(max=size), mask_index=size, steps=4, schedule=rule_schedule,
            order=confidence_order(), sample=temperature_sample(), settle=settle,
            generator=seeded(20),
        )  # fmt: skip

    return decode


@pytest.mark.parametrize("settle", [None, entropy_bound(0.5)])
def test_levels_are_filled_coarse_to_fine_and_finer_ones_read_them(
    settle: Callable[..., DecodingState] | None,
) -> None:
    tokens = torch.full((4, 6, 2), 5)
    tokens[1, 2] = torch.tensor([4, 0])
    tokens[2, 1, 0] = 3
    tokens[3, 4:] = -1
    found = decode_levels(decode_level(settle), tokens, mask_index=5)
    known = tokens != 5
    assert torch.equal(found[known], tokens[known])
    real = (tokens[..., 1] == 5) & (found[..., 0] >= 0)
    assert torch.equal(found[..., 1][real], found[..., 0][real] % 3)
    assert len(found[0, :, 0].unique()) > 1
    with pytest.raises(ValueError, match=r"^decode_levels: decode must return shape \(4, 6\) at l"):
        decode_levels(lambda codes, level, coarser: codes[:, :3], tokens, mask_index=5)
    with pytest.raises(
        ValueError, match=r"^decode_levels: tokens must be \(batch, tokens, codes\)"
    ):
        decode_levels(decode_level(settle), tokens[..., 0], mask_index=5)
