"""What holds for every rule of the decoder: whatever is passed, the run stays correct."""

import pytest
import torch

from ssltok import decoding
from ssltok.decoding import (
    LogitsFn,
    Order,
    cap_remask,
    confidence_order,
    confidence_remask,
    critic_order,
    entropy_order,
    fixed_order,
    halton_places,
    iterative_decode,
    margin_order,
    random_order,
    remask_order,
    rescale_remask,
    self_token_critic,
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
}


def linear(progress: torch.Tensor) -> torch.Tensor:
    return 1 - progress


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
