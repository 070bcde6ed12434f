"""Guidance: the mix of two models, and never a forward that changes nothing."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ssltok.decoding import (
    classifier_free_guidance,
    interval_scale,
    iterative_decode,
    random_order,
    rising_scale,
    self_guidance,
    temperature_sample,
)

TOKENS = torch.tensor([[3, 1, 3], [3, 3, 0]])
WHERE = TOKENS == 3


def counted(seed: int, calls: list[int]) -> Callable[[Tensor, Tensor], Tensor]:
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))

    def logits_fn(tokens: Tensor, where: Tensor) -> Tensor:
        calls.append(seed)
        return rows[: int(where.sum())] / 3

    return logits_fn


# oracle


@pytest.mark.parametrize("scale", [-0.5, 0.3, 2.0, 7.5])
def test_the_mix_is_the_formula(scale: float) -> None:
    calls: list[int] = []
    conditional, free = counted(1, calls), counted(2, calls)
    rule = classifier_free_guidance(free, scale=scale)
    found = rule(conditional, TOKENS, WHERE, 0.5)
    kept, unkept = conditional(TOKENS, WHERE), free(TOKENS, WHERE)
    torch.testing.assert_close(found, (1 - scale) * unkept + scale * kept)


# known values


def test_scale_one_is_the_conditional_model_bit_for_bit_and_one_call() -> None:
    calls: list[int] = []
    conditional, free = counted(1, calls), counted(2, calls)
    found = classifier_free_guidance(free, scale=1.0)(conditional, TOKENS, WHERE, 0.5)
    assert calls == [1]
    assert torch.equal(found, conditional(TOKENS, WHERE))


def test_scale_zero_is_the_unconditional_model_and_one_call() -> None:
    calls: list[int] = []
    conditional, free = counted(1, calls), counted(2, calls)
    found = classifier_free_guidance(free, scale=0.0)(conditional, TOKENS, WHERE, 0.5)
    assert calls == [2]
    assert torch.equal(found, free(TOKENS, WHERE))


# laws


def test_a_schedule_of_the_scale_costs_a_second_forward_only_where_it_acts() -> None:
    calls: list[int] = []
    seen: list[float] = []

    def late(progress: float) -> float:
        seen.append(progress)
        return 1.0 if progress <= 0.5 else 3.0

    iterative_decode(
        counted(1, calls),
        torch.full((1, 4), 3),
        mask_index=3,
        steps=4,
        schedule=lambda r: 1 - r,
        order=random_order(),
        sample=temperature_sample(),
        guidance=classifier_free_guidance(counted(2, calls), scale=late),
    )
    assert seen == [0.25, 0.5, 0.75, 1.0]
    assert sorted(calls) == [1, 1, 1, 1, 2, 2]


def test_self_guidance_pushes_away_from_the_model_on_worse_tokens() -> None:
    table = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    seen: list[Tensor] = []

    def model(tokens: Tensor, where: Tensor) -> Tensor:
        seen.append(tokens)
        return table[tokens.roll(1, 1)][where]

    tokens = torch.tensor([[0, 1, 4, 2, 4]])
    where = tokens == 4
    rule = self_guidance(lambda tokens: torch.full_like(tokens, 3), scale=2.5)
    found = rule(model, tokens, where, 0.5)
    worse = torch.tensor([[3, 3, 4, 3, 4]])  # the places asked for stay masked
    torch.testing.assert_close(found, 2.5 * table[[1, 2]] - 1.5 * table[[3, 3]])
    assert [row.tolist() for row in seen] in (
        [worse.tolist(), tokens.tolist()],
        [tokens.tolist(), worse.tolist()],
    )
    seen.clear()
    self_guidance(lambda tokens: tokens, scale=1.0)(model, tokens, where, 0.5)
    assert len(seen) == 1


def test_scales_of_progress() -> None:
    rising = rising_scale(4.0)
    assert [rising(r) for r in (0.0, 0.5, 1.0)] == [1.0, 2.5, 4.0]
    inside = interval_scale(3.0, start=0.2, stop=0.8)
    assert [inside(r) for r in (0.1, 0.2, 0.21, 0.8, 0.81)] == [1.0, 1.0, 3.0, 3.0, 1.0]
    assert interval_scale(3.0)(1.0) == 3.0
    for wrong in ({"start": -0.1}, {"stop": 1.1}, {"start": 0.6, "stop": 0.5}, {"start": math.nan}):
        with pytest.raises(ValueError, match=r"^interval_scale: start and stop must lie in"):
            interval_scale(2.0, **wrong)


def test_the_second_forward_is_made_inside_the_interval_only() -> None:
    calls: list[int] = []
    iterative_decode(
        counted(1, calls), torch.full((1, 8), 3).index_fill(1, torch.arange(4, 8), 0),
        mask_index=3, steps=4, schedule=lambda r: 1 - r, order=random_order(),
        sample=temperature_sample(),
        guidance=classifier_free_guidance(
            counted(2, calls), scale=interval_scale(3.0, start=0.25, stop=0.5)
        ),
    )  # fmt: skip
    assert sorted(calls) == [1, 1, 1, 1, 2]
