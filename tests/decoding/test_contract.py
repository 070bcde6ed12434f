"""What holds for every rule of the decoder: whatever is passed, the run stays correct."""

import typing
from collections.abc import Callable

import pytest
import torch

from ssltok import decoding
from ssltok.decoding import (
    DecodingState,
    LogitsFn,
    Order,
    Settle,
    cap_remask,
    confidence_factor,
    confidence_order,
    confidence_remask,
    confidence_threshold,
    corrector,
    critic_order,
    entropy_bound,
    entropy_order,
    fixed_order,
    forward_backward_remask,
    halton_places,
    iterative_decode,
    margin_order,
    moment_order,
    planning_order,
    random_order,
    remask_loop,
    remask_order,
    rescale_remask,
    rule_schedule,
    self_token_critic,
    shadow_verification,
    speculative,
    stable_prediction,
    temperature_sample,
)

CODES, TOKENS, ROWS = 5, 12, 7
TABLE = torch.randn(CODES + 1, CODES, generator=torch.Generator().manual_seed(0))


def model(tokens: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    around = tokens.clamp(min=0).roll(1, dims=1) + tokens.clamp(min=0).roll(-2, dims=1)
    return TABLE[(around % (CODES + 1))[where]]


ORDERS: dict[str, Order] = {
    "confidence_order": confidence_order(temperature=2.0),
    "random_order": random_order(),
    "entropy_order": entropy_order(),
    "margin_order": margin_order(),
    "fixed_order": fixed_order(halton_places((3, 4))),
    "critic_order": critic_order(self_token_critic(model, mask_index=CODES, stride=3)),
    "remask_order": remask_order(confidence_order(), probability=cap_remask(eta=0.5)),
    "rescaled": remask_order(
        random_order(), probability=confidence_remask(rescale_remask(eta=0.7))
    ),
    "forward and backward": remask_order(random_order(), probability=forward_backward_remask()),
    "loop": remask_order(random_order(), probability=remask_loop(eta=0.3).probability),
    "moment_order": moment_order(temperature=2.0),
    "planning_order": planning_order(eta=0.7),
    "planner": planning_order(planner=self_token_critic(model, mask_index=CODES, stride=3)),
}


def ordered(tokens: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """A model that answers a place from the token before it, in the order of the places."""
    return TABLE[torch.nn.functional.pad(tokens.clamp(min=0), (1, 0))[:, :-1][where]]


def never(state: DecodingState) -> DecodingState:
    return state._replace(settled=~state.drawn)


SETTLES: dict[str, Settle] = {
    "entropy_bound": entropy_bound(2.5),
    "entropy_bound, in order": entropy_bound(2.5, order=confidence_order(temperature=0.0)),
    "confidence_threshold": confidence_threshold(0.4),
    "confidence_factor": confidence_factor(1.5),
    "stable_prediction": stable_prediction(divergence=0.5, threshold=0.2, steps=1),
    "corrector": corrector(model, sample=temperature_sample(temperature=0.7), rounds=2),
    "speculative": speculative(ordered, torch.arange(TOKENS)),
    "shadow_verification": shadow_verification().settle,
    "accepts nothing": never,
}


def linear(progress: torch.Tensor) -> torch.Tensor:
    return 1 - progress


def settled(
    name: str, seed: int, tokens: torch.Tensor | None = None, *, steps: int = TOKENS,
    temperature: float = 1.3, observe: Callable[..., None] | None = None,
    logits_fn: LogitsFn | None = None,
) -> torch.Tensor:  # fmt: skip
    settle, guidance = SETTLES[name], None
    if name == "shadow_verification":
        pair = shadow_verification(draft=0.35, verify=0.4)
        guidance, settle = pair.guidance, pair.settle
    if logits_fn is None:
        logits_fn = ordered if name == "speculative" else model
    return iterative_decode(
        logits_fn, start() if tokens is None else tokens, mask_index=CODES, steps=steps,
        schedule=rule_schedule, order=confidence_order(temperature=0.0), settle=settle,
        sample=temperature_sample(temperature=temperature), guidance=guidance, observe=observe,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def decode(order: Order, seed: int, logits_fn: LogitsFn = model) -> torch.Tensor:
    return iterative_decode(
        logits_fn,
        start(),
        mask_index=CODES,
        steps=6,
        schedule=linear,
        order=order,
        sample=temperature_sample(temperature=1.3, top_p=0.95),
        generator=torch.Generator().manual_seed(seed),
    )


def start() -> torch.Tensor:
    tokens = torch.full((ROWS, TOKENS), CODES)
    tokens[1:, 3] = 2
    tokens[2, 5:] = -1
    return tokens


def test_every_order_is_here() -> None:
    names = {name for name in decoding.__all__ if name.endswith("_order")}
    assert names <= set(ORDERS)


@pytest.mark.parametrize("name", list(ORDERS))
def test_known_tokens_stay_and_nothing_is_left(name: str) -> None:
    found, before = decode(ORDERS[name], 1), start()
    known = before != CODES
    assert torch.equal(found[known], before[known])
    assert ((found[~known] >= 0) & (found[~known] < CODES)).all()


@pytest.mark.parametrize("name", list(ORDERS))
def test_the_generator_alone_decides(name: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(decode(ORDERS[name], 1), decode(ORDERS[name], 1))
    assert not torch.equal(decode(ORDERS[name], 1), decode(ORDERS[name], 2))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", list(ORDERS))
def test_half_precision_logits_are_fine(name: str) -> None:
    found = decode(ORDERS[name], 1, lambda tokens, where: model(tokens, where).bfloat16())
    assert (found < CODES).all()


@pytest.mark.parametrize("name", list(ORDERS))
def test_one_forward_per_step(name: str) -> None:
    calls: list[int] = []

    def counted(tokens: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        calls.append(int(where.sum()))
        return model(tokens, where)

    decode(ORDERS[name], 1, counted)
    assert len(calls) <= 6
    assert all(calls)


# rules that say how many


def test_every_rule_that_settles_is_here() -> None:
    def settles(name: str) -> bool:
        thing = getattr(decoding, name)
        if not callable(thing) or isinstance(thing, type) or typing.get_origin(thing):
            return False
        returned = typing.get_type_hints(thing).get("return")
        return returned in (Settle, decoding.ShadowVerification)

    assert {name for name in decoding.__all__ if settles(name)} == set(SETTLES) - {
        "accepts nothing",
        "entropy_bound, in order",
    }


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        (name, steps)
        for name in SETTLES
        for steps in (1, 4, TOKENS)
        if steps == TOKENS or name != "speculative"
    ],  # which needs as many steps as tokens
)
def test_whatever_settles_known_tokens_stay_and_nothing_is_left(name: str, steps: int) -> None:
    calls: list[int] = []

    def watch(state: DecodingState, after: torch.Tensor) -> None:
        calls.append(1)
        assert torch.equal(after == CODES, (after == CODES) & ~state.given)
        open_rows = state.drawn.any(dim=1)  # a row with something to draw keeps something of it
        kept = ((after < CODES) & state.drawn).any(dim=1)
        assert torch.equal(kept, open_rows)
        assert state.logprob.dtype == torch.float32

    for seed in range(4):
        found, before = settled(name, seed, steps=steps, observe=watch), start()
        known = before != CODES
        assert torch.equal(found[known], before[known])
        assert ((found[~known] >= 0) & (found[~known] < CODES)).all()
    assert len(calls) <= 4 * steps


@pytest.mark.parametrize("name", list(SETTLES))
def test_whatever_settles_the_generator_alone_decides(name: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(settled(name, 1), settled(name, 1))
    assert not torch.equal(settled(name, 1), settled(name, 2))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", sorted(set(SETTLES) - {"speculative", "corrector"}))
def test_whatever_settles_a_row_in_a_batch_is_the_row_alone(name: str) -> None:
    tokens = torch.cat([start(), start().flip(0).masked_fill(start() == 2, 0)])
    together = settled(name, 1, tokens, temperature=0.0)
    for row in range(len(tokens)):
        alone = settled(name, 1, tokens[row : row + 1], temperature=0.0)
        assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize("name", list(SETTLES))
def test_whatever_settles_ties_and_double_as_default(name: str) -> None:
    def ties(tokens: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return torch.zeros(int(where.sum()), CODES, dtype=torch.float32)

    if name not in ("speculative", "corrector"):  # these ask a model of their own as well
        assert (settled(name, 1, logits_fn=ties) < CODES).all()
    single = settled(name, 3)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(settled(name, 3), single)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", list(SETTLES))
def test_whatever_settles_no_gradient_is_kept_and_no_forbidden_code_drawn(name: str) -> None:
    weight = torch.ones(CODES, requires_grad=True)
    own = ordered if name == "speculative" else model

    def banning(tokens: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return (own(tokens, where) * weight).index_fill(1, torch.tensor([2]), -torch.inf)

    kept: list[bool] = []
    settle = SETTLES[name]
    SETTLES[name] = {
        "corrector": corrector(banning, sample=temperature_sample()),
        "speculative": speculative(banning, torch.arange(TOKENS)),
    }.get(name, settle)
    try:
        found = settled(
            name, 2, logits_fn=banning,
            observe=lambda state, after: kept.extend(
                part.requires_grad for part in (*state, *(state.memory or {}).values())
                if isinstance(part, torch.Tensor)
            ),
        )  # fmt: skip
    finally:
        SETTLES[name] = settle
    assert kept
    assert not any(kept)
    assert not (found == 2)[start() == CODES].any()
