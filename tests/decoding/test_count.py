"""How many, by the model: each rule against its paper written naively, row by row."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ssltok.decoding import (
    DecodingState,
    DecodingTrace,
    ForwardCount,
    Settle,
    confidence_factor,
    confidence_order,
    confidence_threshold,
    entropy_bound,
    fixed_order,
    iterative_decode,
    random_order,
    rule_schedule,
    stable_prediction,
    temperature_sample,
)

CODES, TOKENS, ROWS = 6, 14, 5
COUNTS: dict[str, Callable[[float], Settle]] = {
    "entropy_bound": entropy_bound,
    "confidence_factor": confidence_factor,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


TABLE = torch.randn(TOKENS, CODES + 1, CODES, generator=seeded(3)).double()
SHARP = torch.linspace(0.2, 2.5, TOKENS).double()[torch.randperm(TOKENS, generator=seeded(4))]


def full(tokens: Tensor) -> Tensor:
    """Logits at every place that depend on both neighbours; some places are surer than others."""
    shown = tokens.where(tokens >= 0, CODES)
    around = TABLE[torch.arange(TOKENS), shown.roll(1, 1)] + TABLE[0, shown.roll(-1, 1)]
    return around * SHARP[:, None]


def model(tokens: Tensor, where: Tensor) -> Tensor:
    return full(tokens)[where].float()


def start() -> Tensor:
    tokens = torch.full((ROWS, TOKENS), CODES)
    tokens[1, [0, 5, 7]] = torch.tensor([1, 2, 3])
    tokens[2, 9:] = -1
    tokens[3, 2:] = 0
    return tokens


def decode(
    settle: Settle, tokens: Tensor | None = None, *, steps: int = TOKENS,
    trace: DecodingTrace | None = None, temperature: float = 0.0, logits_fn: object = model,
) -> Tensor:  # fmt: skip
    return iterative_decode(
        logits_fn,  # type: ignore[arg-type]
        start() if tokens is None else tokens, mask_index=CODES, steps=steps,
        schedule=rule_schedule, order=confidence_order(temperature=0.0), settle=settle,
        sample=temperature_sample(temperature=temperature), observe=trace, generator=seeded(1),
    )  # fmt: skip


def naive(
    tokens: Tensor, accept: Callable[[list[int], Tensor, dict[int, Tensor]], list[int]]
) -> tuple[Tensor, list[int]]:
    """Each row alone, greedily: `accept` lists places of the masked ones; how many forwards."""
    rows, forwards = [], []
    for start_row in tokens:
        row, count = start_row.clone(), 0
        last: dict[int, Tensor] = {}
        while (row == CODES).any():
            masked = [i for i in range(TOKENS) if row[i] == CODES]
            p = full(row[None])[0].softmax(dim=-1)
            chosen = accept(masked, p, last)
            last = {i: p[i] for i in masked}
            for i in chosen:
                row[i] = int(p[i].argmax())
            count += 1
        rows.append(row)
        forwards.append(count)
    return torch.stack(rows), forwards


# oracle


@pytest.mark.parametrize("bound", [0.0, 0.05, 0.7, 3.0, math.inf])
def test_entropy_bound_is_the_rule_of_diffusers_row_by_row(bound: float) -> None:
    def published(masked: list[int], p: Tensor, _: dict[int, Tensor]) -> list[int]:
        # sort ascending, cumulate, and ask whether the sum less the newest stays within the bound
        entropy = -(p * p.log()).nan_to_num().sum(dim=-1)[masked]
        ascending, order = entropy.sort()
        accepted = ascending.cumsum(0) - ascending <= bound
        return [masked[int(k)] for k in order[accepted]]

    trace = DecodingTrace()
    found = decode(entropy_bound(bound), trace=trace)
    expected, forwards = naive(start(), published)
    assert torch.equal(found, expected)
    assert trace.forwards.tolist() == forwards


@pytest.mark.parametrize("bound", [0.0, 0.3, 1.5, 5.0, math.inf])
def test_entropy_bound_takes_places_in_any_order(bound: float) -> None:
    visits = torch.randperm(TOKENS, generator=seeded(6)).tolist()

    def published(masked: list[int], p: Tensor, _: dict[int, Tensor]) -> list[int]:
        entropy = -(p * p.log()).nan_to_num().sum(dim=-1)
        order = [i for i in visits if i in masked]
        fits = [k for k in range(1, len(order) + 1)
                if float(entropy[order[:k]].sum() - entropy[order[:k]].max()) <= bound]  # fmt: skip
        return order[: max(fits[-1], 1)]

    trace = DecodingTrace()
    found = decode(entropy_bound(bound, order=fixed_order(torch.tensor(visits))), trace=trace)
    expected, forwards = naive(start(), published)
    if bound > 0:  # at 0 the last bit of a sum less itself decides
        assert torch.equal(found, expected)
        assert trace.forwards.tolist() == forwards
    else:
        assert trace.forwards.tolist() == (start() == CODES).sum(1).tolist()


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.8, 0.99, 1.0])
def test_threshold_keeps_the_sure_and_at_least_the_surest(threshold: float) -> None:
    def published(masked: list[int], p: Tensor, _: dict[int, Tensor]) -> list[int]:
        best = p.amax(dim=-1)
        sure = [i for i in masked if float(best[i].float()) >= threshold]
        return sure or [max(masked, key=lambda i: float(best[i]))]

    trace = DecodingTrace()
    found = decode(confidence_threshold(threshold), trace=trace)
    expected, forwards = naive(start(), published)
    if threshold < 1:  # at 1 the last bit of fp32 decides
        assert torch.equal(found, expected)
        assert trace.forwards.tolist() == forwards


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 2.5, math.inf])
def test_factor_is_the_largest_count_that_fits(factor: float) -> None:
    def published(masked: list[int], p: Tensor, _: dict[int, Tensor]) -> list[int]:
        best = p.amax(dim=-1)
        order = sorted(masked, key=lambda i: -float(best[i]))
        fits = [k for k in range(1, len(order) + 1)
                if (k + 1) * (1 - float(best[order[k - 1]])) < factor]  # fmt: skip
        return order[: max(fits, default=1)]

    trace = DecodingTrace()
    found = decode(confidence_factor(factor), trace=trace)
    expected, forwards = naive(start(), published)
    assert torch.equal(found, expected)
    assert trace.forwards.tolist() == forwards


@pytest.mark.parametrize("divergence", [0.0, 0.05, 0.5, 5.0])
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.9, 1.0])
def test_stable_prediction_is_klass(divergence: float, steps: int, threshold: float) -> None:
    calm: dict[int, int] = {}

    def published(masked: list[int], p: Tensor, last: dict[int, Tensor]) -> list[int]:
        if not last:
            calm.clear()
        for i in masked:
            moved = math.inf
            if i in last:
                moved = float((p[i] * (p[i] / last[i]).log()).sum())
            calm[i] = calm.get(i, 0) + 1 if moved < divergence else 0
        best = p.amax(dim=-1)
        kept = [i for i in masked if calm[i] >= steps and float(best[i]) > threshold]
        return kept or [max(masked, key=lambda i: float(best[i]))]

    rule = stable_prediction(divergence=divergence, threshold=threshold, steps=steps)
    trace = DecodingTrace()
    found = decode(rule, trace=trace)
    expected, forwards = naive(start(), published)
    assert torch.equal(found, expected)
    assert trace.forwards.tolist() == forwards
    assert torch.equal(decode(rule), found)  # nothing of one run is left for the next


# known values


def test_a_bound_of_nothing_keeps_one_of_two_nearly_certain_tokens() -> None:
    for odd, forwards in ((1e-5, 2), (0.0, 1)):  # what is certain costs nothing
        rows = torch.tensor([[1 - odd, odd]]).log()
        trace = DecodingTrace()
        iterative_decode(
            lambda t, w, rows=rows: rows.expand(int(w.sum()), 2), torch.full((1, 2), 2),  # type: ignore[misc]
            mask_index=2, steps=2, schedule=rule_schedule, order=random_order(),
            sample=temperature_sample(temperature=0.0), settle=entropy_bound(0.0), observe=trace,
        )  # fmt: skip
        assert trace.steps == forwards


def test_a_factor_of_nothing_keeps_one_of_two_certain_tokens() -> None:
    trace = DecodingTrace()
    iterative_decode(
        lambda t, w: torch.tensor([0.0, -torch.inf]).expand(int(w.sum()), 2),
        torch.full((1, 2), 2), mask_index=2, steps=2, schedule=rule_schedule, order=random_order(),
        sample=temperature_sample(), settle=confidence_factor(0.0), observe=trace,
    )  # fmt: skip
    assert trace.steps == 2


@pytest.mark.parametrize(
    "settle", [confidence_threshold(1.0), confidence_factor(0.0), stable_prediction()]
)
def test_where_nothing_is_sure_the_surest_stays_whatever_the_order(settle: Settle) -> None:
    rows = torch.randn(TOKENS, CODES, generator=seeded(9))
    kept: list[list[int]] = []
    iterative_decode(
        lambda t, w: rows.expand(len(t), -1, -1)[w], torch.full((4, TOKENS), CODES),
        mask_index=CODES, steps=TOKENS, schedule=rule_schedule, order=random_order(),
        sample=temperature_sample(temperature=0.0), settle=settle, generator=seeded(2),
        observe=lambda state, after: kept.append(
            ((after < CODES) & state.drawn).long().argmax(1).tolist()
        ),
    )  # fmt: skip
    order = rows.log_softmax(1).amax(1).argsort(descending=True)
    assert kept[:5] == [[int(place)] * 4 for place in order[:5]]


def test_a_schedule_beside_a_rule_is_a_slowest_pace() -> None:
    left: list[list[int]] = []
    for settle in (confidence_factor(0.0), None, confidence_factor(1.0)):
        trace = DecodingTrace()
        iterative_decode(
            model, torch.full((1, TOKENS), CODES), mask_index=CODES, steps=7,
            schedule=lambda progress: 1 - progress, order=confidence_order(temperature=0.0),
            sample=temperature_sample(temperature=0.0), settle=settle, observe=trace,
        )  # fmt: skip
        left.append((trace.tokens[:, 0] == CODES).sum(1).tolist())
    assert left[0] == left[1] == [12, 10, 8, 6, 4, 2, 0]
    assert len(left[2]) <= 7
    assert all(fast <= slow for fast, slow in zip(left[2], left[0], strict=False))


def test_rule_schedule_is_a_schedule() -> None:
    for dtype in (torch.float32, torch.float64):
        share = rule_schedule(torch.linspace(0, 1, 5, dtype=dtype))
        assert share.tolist() == [1, 1, 1, 1, 0]
        assert share.dtype == dtype
    assert float(rule_schedule(0.5)) == 1
    assert float(rule_schedule(1)) == 0


# laws


@pytest.mark.parametrize("name", list(COUNTS))
def test_nothing_allowed_is_one_at_a_time_and_everything_one_step(name: str) -> None:
    for bound, forwards in ((0.0, TOKENS), (math.inf, 1)):
        trace = DecodingTrace()
        decode(COUNTS[name](bound), torch.full((ROWS, TOKENS), CODES), trace=trace, temperature=1.0)
        assert trace.forwards.tolist() == [forwards] * ROWS
        if bound == 0:
            assert (trace.tokens == CODES).sum(2).T.tolist() == [[*range(TOKENS)][::-1]] * ROWS


@pytest.mark.parametrize("name", list(COUNTS))
def test_more_allowed_never_takes_more_forwards_of_a_model_without_context(name: str) -> None:
    rows = torch.randn(TOKENS, CODES, generator=seeded(8)) * SHARP[:, None].float()
    made = []
    for bound in (0.0, 0.01, 0.1, 0.4, 1.0, 3.0, 100.0):
        trace = DecodingTrace()
        decode(
            COUNTS[name](bound), torch.full((1, TOKENS), CODES), trace=trace,
            logits_fn=lambda t, w: rows.expand(len(t), -1, -1)[w],
        )  # fmt: skip
        made.append(trace.steps)
    assert made == sorted(made, reverse=True)
    assert len(set(made)) > 3


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_bound_the_forwards_of_a_rule_that_accepts_nothing(steps: int) -> None:
    def never(state: DecodingState) -> DecodingState:
        return state._replace(settled=~state.drawn)

    count = ForwardCount()
    trace = DecodingTrace()
    found = decode(never, steps=steps, trace=trace, logits_fn=count(model))
    assert (found < CODES).all()
    assert count.calls == trace.steps == steps
    assert count.rows == steps * ROWS
    left = (trace.tokens == CODES).sum(2)
    assert left[-1].tolist() == [0] * ROWS
    for before, after in itertools.pairwise(left[:-1]):
        assert (after == (before - 1).clamp(min=0)).all()  # the surest stays, whatever the rule


def test_settled_has_the_last_word_over_the_order() -> None:
    """Also a place that an order would keep for ever can be taken back, and is masked first."""
    back = torch.zeros(1, 6, dtype=torch.bool)

    def settle(state: DecodingState) -> DecodingState:
        settled = ~state.drawn | (torch.arange(6) < 2)
        if not state.drawn[0, 0]:
            back[0, 1] = True
            settled = settled & ~back
        return state._replace(settled=settled)

    left: list[list[int]] = []
    iterative_decode(
        lambda t, w: torch.zeros(int(w.sum()), 3), torch.full((1, 6), 3), mask_index=3, steps=3,
        schedule=rule_schedule, order=random_order(), sample=temperature_sample(),
        settle=settle,
        observe=lambda s, after: left.append((after[0] == 3).nonzero()[:, 0].tolist()),
    )  # fmt: skip
    assert left[0] == [2, 3, 4, 5]
    assert len(left[1]) == 4
    assert 1 in left[1]


# complaints


def test_complaints() -> None:
    for rule, name in ((entropy_bound, "bound"), (confidence_factor, "factor")):
        for bad in (-0.1, math.nan):
            with pytest.raises(ValueError, match=rf"^{rule.__name__}: {name} must be >= 0; got"):
                rule(bad)
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"^confidence_threshold: threshold must lie in"):
            confidence_threshold(bad)
        with pytest.raises(ValueError, match=r"^stable_prediction: threshold must lie in"):
            stable_prediction(threshold=bad)
    with pytest.raises(ValueError, match=r"^stable_prediction: steps must be >= 1; got 0$"):
        stable_prediction(steps=0)
    with pytest.raises(ValueError, match=r"^stable_prediction: divergence must be >= 0; got -1"):
        stable_prediction(divergence=-1)
    with pytest.raises(ValueError, match=r"iterative_decode: settled must have shape \(5, 14\)"):
        decode(lambda state: state._replace(settled=state.drawn[:1]))
    with pytest.raises(ValueError, match=r"iterative_decode: settle must return int64 tokens of"):
        decode(lambda state: state._replace(tokens=state.tokens[:, :3]))
