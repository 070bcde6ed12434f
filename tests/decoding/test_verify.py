"""Drafts that are verified: the joint of one at a time, forwards counted in rows, and WINO."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from scipy import stats
from torch import Tensor

from ssltok.decoding import (
    DecodingTrace,
    ForwardCount,
    LogitsFn,
    confidence_order,
    fixed_order,
    iterative_decode,
    ordered_logits,
    rule_schedule,
    shadow_logits,
    shadow_verification,
    speculative,
    temperature_sample,
    visit_ranks,
)
from ssltok.nn import RotaryPositions, TokenEmbedding, TokenTransformer, Transformer


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ordered_conditionals(joint: Tensor, ranks: Tensor) -> LogitsFn:
    """The exact p(x_i | known tokens of lower rank) of an enumerated joint, by summing it up."""
    tokens, codes = joint.ndim, joint.shape[0]
    states = torch.tensor(list(itertools.product(range(codes), repeat=tokens)))
    weights = joint.reshape(-1)

    def logits_fn(ids: Tensor, where: Tensor) -> Tensor:
        answers = []
        for place in range(tokens):
            free = (ids[:, None] == codes) | (ranks >= ranks[place])
            agree = ((ids[:, None] == states) | free).all(dim=-1).to(weights)
            hot = torch.nn.functional.one_hot(states[:, place], codes).to(weights)
            answers.append((agree * weights) @ hot)
        return torch.stack(answers, dim=1).log()[where]

    return logits_fn


def skewed(codes: int, tokens: int, seed: int) -> Tensor:
    joint = torch.rand((codes,) * tokens, generator=seeded(seed), dtype=torch.float64).pow(3)
    return joint / joint.sum()


def p_value(found: Tensor, joint: Tensor) -> float:
    codes, tokens = joint.shape[0], joint.ndim
    index = (found * codes ** torch.arange(tokens - 1, -1, -1)).sum(dim=1)
    counts = torch.bincount(index, minlength=codes**tokens).double()
    expected = joint.reshape(-1) * len(found)
    rare = expected < 5
    seen = torch.cat([counts[~rare], counts[rare].sum()[None]])
    wanted = torch.cat([expected[~rare], expected[rare].sum()[None]])
    return float(stats.chisquare(seen.numpy(), wanted.numpy()).pvalue)


def exact(
    model: LogitsFn, start: Tensor, codes: int, ranks: Tensor, *, seed: int,
    temperature: float = 1.0, trace: DecodingTrace | None = None, steps: int | None = None,
) -> Tensor:  # fmt: skip
    return iterative_decode(
        model, start, mask_index=codes, steps=steps or start.shape[1], schedule=rule_schedule,
        order=confidence_order(), sample=temperature_sample(temperature=3.0),  # no matter
        settle=speculative(model, ranks, temperature=temperature), observe=trace,
        generator=seeded(seed),
    )  # fmt: skip


# oracle


def test_a_verified_draft_has_the_joint_distribution() -> None:
    joint, ranks = skewed(3, 5, seed=4), torch.tensor([3, 1, 5, 2, 4])
    count, samples = ForwardCount(), 5_000
    trace = DecodingTrace()
    model = count(ordered_conditionals(joint, ranks))
    found = exact(model, torch.full((samples, 5), 3), 3, ranks, seed=5, trace=trace)
    assert p_value(found, joint) > 0.01
    # no row takes more than one forward a token, checks included, and most take fewer
    made = 2 * trace.forwards - ((trace.tokens == 3).sum(2) == 1).any(0).long()
    assert int(made.max()) <= 5
    assert float(made.double().mean()) < 4.5
    assert count.rows == count.calls * samples
    most_left = [5, *(trace.tokens[:-1] == 3).sum(2).amax(1).tolist()]
    assert count.calls == sum(2 if left > 1 else 1 for left in most_left)
    assert most_left[-1] == 1  # a single token left is not verified
    # what a token had when it was kept stays beside it
    kept = trace.tokens[:-1] < 3
    assert torch.equal(trace.logprob[1:][kept], trace.logprob[:-1][kept])
    # the test has the power to see drafts that nobody verified
    at_once = iterative_decode(
        model, torch.full((samples, 5), 3), mask_index=3, steps=1, schedule=rule_schedule,
        order=confidence_order(), sample=temperature_sample(), generator=seeded(6),
    )  # fmt: skip
    assert p_value(at_once, joint) < 1e-6


def test_the_joint_is_that_of_one_at_a_time_at_any_temperature_and_beside_known_tokens() -> None:
    joint, ranks, tau = skewed(3, 4, seed=7), torch.tensor([4, 2, 1, 3]), 0.6
    states = torch.tensor(list(itertools.product(range(3), repeat=4)))
    wanted = torch.zeros(81, dtype=torch.float64)
    model = ordered_conditionals(joint, torch.where(torch.arange(4) == 0, 0, ranks))
    for code, state in enumerate(states):  # the chain rule, tempered token by token
        if state[0] != 2:
            continue
        row, logp = torch.tensor([[2, 3, 3, 3]]), 0.0
        for place in (2, 1, 3):
            where = torch.zeros(1, 4, dtype=torch.bool)
            where[0, place] = True
            each = (model(row, where)[0] / tau).log_softmax(dim=-1)
            logp += float(each[state[place]])
            row[0, place] = state[place]
        wanted[code] = math.exp(logp)
    assert float(wanted.sum()) == pytest.approx(1)
    start = torch.tensor([[2, 3, 3, 3]]).repeat(9_000, 1)
    known_first = torch.where(torch.arange(4) == 0, 0, ranks)
    found = exact(model, start, 3, known_first, seed=8, temperature=tau)
    assert (found[:, 0] == 2).all()
    keep = wanted > 0
    index = (found * 3 ** torch.arange(3, -1, -1)).sum(dim=1)
    seen = torch.bincount(index, minlength=81).double()[keep]
    expected = wanted[keep] * len(found)
    rare = expected < 5
    groups = [torch.cat([part[~rare], part[rare].sum()[None]]) for part in (seen, expected)]
    assert stats.chisquare(groups[0].numpy(), groups[1].numpy() + 1e-12).pvalue > 0.01


# the prior that verifies in one forward


def prior(kind: str, depth: int = 3) -> TokenTransformer:
    torch.manual_seed(1)
    rotary = RotaryPositions(8, grid=(9,)) if kind == "rotary" else None
    made = TokenTransformer(
        TokenEmbedding(5, 16),
        Transformer(16, depth=depth, heads=2, rotary=rotary),
        tokens=9,
        classes=3,
        registers=2,
        learned_positions=kind != "rotary",
        grid=(3, 3) if kind == "grid" else None,
    )
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=seeded(parameter.numel()))
    return made.double().eval()


def bound(model: TokenTransformer, labels: Tensor) -> Callable[..., Tensor]:
    def ask(tokens: Tensor, where: Tensor, **options: Tensor) -> Tensor:
        valid = tokens >= 0
        logits: Tensor = model(tokens.clamp(min=0), where, labels, valid=valid, **options)
        return logits

    return ask


LABELS = torch.tensor([2, -1, 0])
PLACES = torch.tensor([4, 0, 8, 2, 6, 1, 3, 7, 5])


def row_of(places: list[int] | None = None) -> Tensor:
    tokens = torch.randint(5, (3, 9), generator=seeded(2))
    tokens[1, 7:] = -1
    return tokens


@pytest.mark.parametrize("kind", ["learned", "rotary", "grid"])
@torch.no_grad()
def test_one_forward_verifies_as_so_many_rows_do(kind: str) -> None:
    model, tokens = bound(prior(kind), LABELS), row_of()
    hidden = (tokens >= 0) & torch.tensor([[1, 1, 0, 1, 1, 1, 0, 1, 1]]).bool()
    ranks = visit_ranks(PLACES, hidden)
    guess = ordered_logits(model, ranks, mask_index=5)
    together = torch.zeros(3, 9, 5, dtype=torch.float64)
    together[hidden] = guess(tokens, hidden)
    for place in range(9):  # k prefixes as k rows: only what has a lower rank is there
        alone = tokens.masked_fill((ranks >= ranks[:, place : place + 1]) & (tokens >= 0), 5)
        where = hidden & (torch.arange(9) == place)
        if where.any():
            torch.testing.assert_close(guess(alone, where), together[where], rtol=1e-12, atol=1e-12)
    # and nothing of a higher rank can be seen, however deep
    later = torch.where(ranks >= 4, (tokens + 1) % 5, tokens).where(tokens >= 0, -1)
    again = torch.zeros_like(together)
    again[hidden] = guess(later, hidden)
    early = hidden & (ranks <= 4)
    torch.testing.assert_close(again[early], together[early], rtol=1e-12, atol=1e-12)
    assert (again - together)[hidden & (ranks > 4)].abs().max() > 1e-3


def test_a_prior_decodes_exactly_and_in_fewer_forwards() -> None:
    model = bound(prior("learned", depth=1), LABELS)
    start = row_of().masked_fill(torch.tensor([[1, 1, 0, 1, 1, 1, 0, 1, 1]]).bool(), 5)
    start[1, 7:] = -1
    ranks = visit_ranks(PLACES, start == 5)
    count = ForwardCount()
    guess = count(ordered_logits(model, ranks, mask_index=5))
    trace = DecodingTrace()
    found = exact(guess, start, 5, ranks, seed=3, trace=trace)
    known = start != 5
    assert torch.equal(found[known], start[known])
    assert ((found >= 0) & (found < 5))[~known].all()
    assert count.calls <= 7


# WINO


@pytest.mark.parametrize("kind", ["learned", "rotary", "grid"])
@torch.no_grad()
def test_shadows_of_one_layer_leave_one_out_and_the_row_is_not_touched(kind: str) -> None:
    for depth in (1, 3):
        model = bound(prior(kind, depth), LABELS)
        tokens = row_of()
        tokens[0, 2:5] = 5
        tokens[2, ::3] = 5
        real = tokens >= 0
        found = torch.zeros(3, 9, 5, dtype=torch.float64)
        found[real] = shadow_logits(model, mask_index=5)(tokens, real)
        hidden = tokens == 5
        plain = model(tokens, hidden)
        torch.testing.assert_close(found[hidden], plain, rtol=1e-12, atol=1e-12)
        for place in range(9):
            where = real & ~hidden & (torch.arange(9) == place)
            left_out = model(tokens.masked_fill(where, 5), where)
            close = torch.allclose(found[where], left_out, rtol=1e-10, atol=1e-12)
            assert close == (depth == 1)


def naive_wino(
    ask: LogitsFn, row: Tensor, *, draft: float, verify: float, most: float
) -> tuple[Tensor, int]:
    """The authors' loop for one row, greedy, with a share of the masked places as the only cap."""
    start, row, forwards, before = row.clone(), row.clone(), 0, math.inf
    places = range(len(row))
    while (row == 5).any() and forwards < 20:
        p = torch.zeros(len(row), 5)
        p[row >= 0] = ask(row[None], (row >= 0)[None]).softmax(dim=-1)
        masked = [i for i in places if row[i] == 5]
        settled = [i for i in places if row[i] != 5 and start[i] == 5]
        order = sorted(masked, key=lambda i: -float(p[i].max()))
        cap = max(int(most * len(masked) + 1e-6), 1)
        kept = [i for i in order if float(p[i].max()) > draft][:cap] or order[:1]
        doubted = sorted((i for i in settled if float(p[i, row[i]]) < verify),
                         key=lambda i: float(p[i, row[i]]))  # fmt: skip
        doubted = [] if len(kept) <= 1 else doubted[: max(int(min(before - 1, 99)), 0)]
        for i in kept:
            row[i] = int(p[i].argmax())
        for i in doubted:
            row[i] = 5
        before, forwards = len(kept), forwards + 1
    return row, forwards


@pytest.mark.parametrize("draft", [0.0, 0.25, 0.35, 0.5])
@pytest.mark.parametrize("verify", [0.0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("most", [0.4, 1.0])
@torch.no_grad()
def test_narrowing_is_the_authors_loop_row_by_row(draft: float, verify: float, most: float) -> None:
    rows = torch.full((3, 9), 5)
    rows[1, [0, 4]] = torch.tensor([1, 2])
    rows[2, 6:] = -1
    pair = shadow_verification(draft=draft, verify=verify, most=most)
    trace = DecodingTrace()
    model = prior("learned", 2).float()
    labels = torch.full((3,), -1)
    found = iterative_decode(
        shadow_logits(bound(model, labels), mask_index=5), rows, mask_index=5, steps=20,
        schedule=rule_schedule, order=confidence_order(temperature=0.0),
        sample=temperature_sample(temperature=0.0), guidance=pair.guidance, settle=pair.settle,
        observe=trace,
    )  # fmt: skip
    for row in range(3):
        ask = shadow_logits(bound(model, labels[:1]), mask_index=5)
        expected, forwards = naive_wino(ask, rows[row], draft=draft, verify=verify, most=most)
        assert torch.equal(found[row], expected)
        assert int(trace.forwards[row]) == forwards


def test_narrowing_takes_something_back() -> None:
    """A model that likes ones only beside zeros: shadows see what the draft could not."""

    def ask(tokens: Tensor, where: Tensor, *, places: Tensor, allowed: Tensor) -> Tensor:
        read = allowed[:, 1:].double() @ (tokens == 1).double()[..., None]
        liking = torch.where(read[..., 0] > 0, -3.0, 2.0) - 0.1 * places
        return torch.stack([torch.zeros_like(liking), liking], dim=-1)[where]

    pair = shadow_verification(draft=0.5, verify=0.5, most=0.5)
    trace = DecodingTrace()
    iterative_decode(
        shadow_logits(ask, mask_index=2), torch.full((1, 12), 2), mask_index=2, steps=9,
        schedule=rule_schedule, order=confidence_order(temperature=0.0),
        sample=temperature_sample(temperature=1.5), guidance=pair.guidance, settle=pair.settle,
        observe=trace, generator=seeded(2),
    )  # fmt: skip
    kept = trace.tokens[:, 0] < 2
    assert (kept[:-1] & ~kept[1:]).any()


# complaints


def test_complaints() -> None:
    ranks = torch.arange(9)
    model = ordered_conditionals(skewed(3, 5, seed=4), ranks[:5])
    with pytest.raises(ValueError, match=r"^speculative: steps must be as many as tokens; got a"):
        exact(model, torch.full((50, 5), 3), 3, ranks[:5], seed=3, steps=1)
    with pytest.raises(ValueError, match=r"^speculative: temperature must be > 0; got 0"):
        speculative(partial(torch.zeros), ranks, temperature=0)
    with pytest.raises(ValueError, match=r"^speculative: ranks must be int64; got torch.float32$"):
        speculative(partial(torch.zeros), ranks.float())
    with pytest.raises(ValueError, match=r"^ordered_logits: ranks must be int64"):
        ordered_logits(bound(prior("grid"), LABELS), ranks.int(), mask_index=5)
    for option in ("draft", "verify", "most"):
        with pytest.raises(ValueError, match=rf"^shadow_verification: {option} must lie in \[0, 1"):
            shadow_verification(**{option: 1.5})
    with pytest.raises(ValueError, match=r"^shadow_verification: most must be > 0; got 0"):
        shadow_verification(most=0.0)
    with pytest.raises(ValueError, match=r"^visit_ranks: hidden must have shape \(2, 9\)"):
        visit_ranks(ranks, torch.ones(2, 8, dtype=torch.bool))
    made = prior("learned")
    tokens, where = row_of().clamp(min=0), torch.ones(3, 9, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"places must have shape \(3, 9\); got \(9,\)"):
        made(tokens, where, places=ranks)
    with pytest.raises(ValueError, match=r"allowed must have shape \(3, 10, 9\); got \(3, 9, 9\)"):
        made(tokens, where, allowed=torch.ones(3, 9, 9, dtype=torch.bool))
    causal = Transformer(8, depth=1, heads=2, causal=True)
    with pytest.raises(ValueError, match=r"^Transformer: allowed must be None when causal"):
        causal(torch.zeros(1, 2, 8), allowed=torch.ones(1, 2, 2, dtype=torch.bool))


def test_fixed_order_one_at_a_time_is_what_exact_shortens() -> None:
    """With steps as many as tokens and no verification the same model gives the same joint."""
    joint, ranks = skewed(2, 4, seed=9), torch.tensor([2, 4, 1, 3])
    slow = iterative_decode(
        ordered_conditionals(joint, ranks), torch.full((4_000, 4), 2), mask_index=2, steps=4,
        schedule=lambda progress: 1 - progress, order=fixed_order(ranks.argsort()),
        sample=temperature_sample(), generator=seeded(1),
    )  # fmt: skip
    assert p_value(slow, joint) > 0.01
