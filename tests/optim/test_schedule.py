"""The schedule: against the recipes' own formulas, golden numbers, and its ends."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssltok.optim import warmup_cosine_schedule

# oracle


def byol_momentum(step: int, steps: int, base: float) -> float:
    return 1 - (1 - base) * (math.cos(math.pi * step / steps) + 1) / 2


def barlow_learning_rate(
    step: int, steps: int, warmup: int, base: float, end_share: float
) -> float:
    if step < warmup:
        return base * step / warmup
    q = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
    return base * q + base * end_share * (1 - q)


@given(st.integers(1, 500), st.floats(0.9, 0.9999), st.data())
def test_is_the_momentum_of_byol(steps: int, base: float, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, steps))
    got = warmup_cosine_schedule(step, steps=steps, start=base, end=1.0)
    assert got == pytest.approx(byol_momentum(step, steps, base), abs=1e-14)


@given(st.integers(2, 500), st.floats(0.01, 5), st.data())
def test_is_the_learning_rate_of_barlow_twins(steps: int, base: float, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(1, steps - 1))
    step = data.draw(st.integers(0, steps))
    got = warmup_cosine_schedule(
        step, steps=steps, start=base, end=0.001 * base, warmup_steps=warmup
    )
    assert got == pytest.approx(barlow_learning_rate(step, steps, warmup, base, 0.001), abs=1e-12)


# known values


def test_golden_numbers() -> None:
    assert warmup_cosine_schedule(1, steps=9, start=1.0) == pytest.approx(0.96984631, abs=5e-9)
    assert warmup_cosine_schedule(2, steps=9, start=1.0) == pytest.approx(0.88302222, abs=5e-9)
    assert warmup_cosine_schedule(1, steps=5, start=1.0) == pytest.approx(0.90450850, abs=5e-9)


def test_the_temperature_of_a_teacher_warms_up_and_stays() -> None:
    values = [
        warmup_cosine_schedule(k, steps=8, start=0.07, end=0.07, warmup_steps=3, warmup_start=0.04)
        for k in range(10)
    ]
    assert values == pytest.approx([0.04, 0.05, 0.06] + [0.07] * 7)


def test_may_be_all_warm_up() -> None:
    values = [warmup_cosine_schedule(k, steps=2, start=4.0, warmup_steps=2) for k in range(3)]
    assert values == [0.0, 2.0, 0.0]


# laws


@given(st.integers(2, 60), st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), st.data())
def test_hits_its_ends_and_stays_between(
    steps: int, start: float, end: float, first: float, data: st.DataObject
) -> None:
    warmup = data.draw(st.integers(1, steps - 1))

    def value(step: int) -> float:
        return warmup_cosine_schedule(
            step, steps=steps, start=start, end=end, warmup_steps=warmup, warmup_start=first
        )

    assert value(0) == first
    assert value(warmup) == pytest.approx(start, abs=1e-12)
    assert value(steps) == value(steps + 99) == end
    for step in range(warmup, steps):
        assert min(start, end) - 1e-12 <= value(step) <= max(start, end) + 1e-12
        assert (value(step + 1) - value(step)) * (end - start) >= -1e-12


# complaints


@pytest.mark.parametrize(
    ("step", "steps", "warmup", "said"),
    [
        (-1, 5, 0, r"^warmup_cosine_schedule: step must be >= 0; got -1$"),
        (0, 0, 0, r"steps must be >= 1; got 0$"),
        (0, 5, -2, r"warmup_steps must be >= 0; got -2$"),
        (0, 5, 6, r"warmup_steps must be <= steps = 5; got 6$"),
    ],
)
def test_refuses(step: int, steps: int, warmup: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        warmup_cosine_schedule(step, steps=steps, start=1.0, warmup_steps=warmup)
