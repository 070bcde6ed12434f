"""All state: `forward` reads, everything is in `state_dict`, and no value is read on the host."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ssltok.state
from ssltok.state import (
    EMATeacher,
    FeatureQueue,
    Prototypes,
    RunningCenter,
    RunningMoment,
    average_buffers,
)
from tests._shared.options import check_options, rebuilt

STATES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], None]]] = {
    "EMATeacher": (
        lambda: EMATeacher(nn.Linear(3, 2)),
        lambda state: state.update(nn.Linear(3, 2)),  # type: ignore[operator]
    ),
    "FeatureQueue": (
        lambda: FeatureQueue(4, 3),
        lambda state: state.update(torch.randn(2, 3)),  # type: ignore[operator]
    ),
    "Prototypes": (
        lambda: _long_prototypes(),
        lambda state: state.update(),  # type: ignore[operator]
    ),
    "RunningCenter": (
        lambda: RunningCenter(3),
        lambda state: state.update(torch.randn(2, 3)),  # type: ignore[operator]
    ),
    "RunningMoment": (
        lambda: RunningMoment(3),
        lambda state: state.update(torch.randn(2, 3)),  # type: ignore[operator]
    ),
}

OPTIONS: dict[str, dict[str, Any]] = {
    "EMATeacher": {
        "student": nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)),
        "buffer_rule": average_buffers,
        "training": True,
    },
    "FeatureQueue": {"size": 5, "dim": 3},
    "Prototypes": {"dim": 3, "prototypes": 4},
    "RunningCenter": {"dim": 3, "momentum": 0.3},
    "RunningMoment": {"dim": 3, "momentum": 0.3},
}


# What the last rows of an update would leave for good, or for long.
ROWS: dict[str, Callable[[], nn.Module]] = {
    "FeatureQueue": lambda: FeatureQueue(5, 3, generator=torch.Generator().manual_seed(3)),
    "RunningCenter": lambda: RunningCenter(3, momentum=0.7),
    "RunningMoment": lambda: RunningMoment(3, momentum=0.7),
}
BROKEN = torch.tensor(
    [[torch.nan, 0.0, 1.0], [0.0, torch.inf, 1.0], [0.0, 1.0, -torch.inf], [torch.nan] * 3]
)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("rows", [0, 1, 3, 5, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_rows_that_are_not_finite_do_not_count(name: str, rows: int, dtype: torch.dtype) -> None:
    """An update with them is the update without them; also where none is left."""
    generator = torch.Generator().manual_seed(rows)
    first, finite = torch.randn(2, 9, 3, generator=generator).to(dtype).split([1, 1])
    for broken in (BROKEN[:0], BROKEN[:1], BROKEN):
        batch = torch.cat([finite[0, :rows], broken.to(dtype)])
        batch = batch[torch.randperm(len(batch), generator=generator)]
        clean, mixed = ROWS[name](), ROWS[name]()
        for state, values in ((clean, batch[batch.isfinite().all(1)]), (mixed, batch)):
            for given in (first[0, :4], values, first[0, 4:6]):
                state.update(given)  # type: ignore[operator]
        for key, value in mixed.state_dict().items():  # a sum may go in another order
            torch.testing.assert_close(value, clean.state_dict()[key], rtol=1e-6, atol=1e-7)
        assert read(mixed).isfinite().all()


def test_every_state_that_reads_rows_is_asked() -> None:
    assert set(STATES) - set(ROWS) == {"EMATeacher", "Prototypes"}  # theirs are weights


def _long_prototypes() -> Prototypes:
    layer = Prototypes(3, 4)
    layer.weight.data.mul_(2)
    return layer


def read(state: nn.Module) -> Tensor:
    takes_series = isinstance(state, (EMATeacher, Prototypes))
    result = state(torch.ones(2, 3)) if takes_series else state()
    assert isinstance(result, Tensor)
    return result


def test_every_state_is_here() -> None:
    classes = {n for n in ssltok.state.__all__ if isinstance(getattr(ssltok.state, n), type)}
    assert classes == set(STATES)


@pytest.mark.parametrize("name", STATES)
def test_forward_reads_and_update_writes(name: str) -> None:
    build, update = STATES[name]
    state = build()
    before = {key: value.clone() for key, value in state.state_dict().items()}
    assert before
    random = torch.get_rng_state()
    for mode in (True, False):
        state.train(mode)
        read(state)
    assert torch.equal(random, torch.get_rng_state())
    for key, value in state.state_dict().items():
        assert torch.equal(value, before[key])
    update(state)
    assert any(not torch.equal(v, before[k]) for k, v in state.state_dict().items())


@pytest.mark.parametrize("name", STATES)
def test_goes_on_from_its_state_dict(name: str) -> None:
    build, update = STATES[name]
    first, second = build(), build()
    update(first)
    second.load_state_dict(first.state_dict())
    assert torch.equal(read(first), read(second))
    for state in (first, second):
        torch.manual_seed(0)
        update(state)
    assert torch.equal(read(first), read(second))


@pytest.mark.parametrize("name", STATES)
def test_moves_and_waits_for_no_value(name: str) -> None:
    """Tensors of the meta device have no values: whoever asks for one gets an error."""
    build, update = STATES[name]
    state = build().to("meta")
    assert {value.device.type for value in state.state_dict().values()} == {"meta"}
    with torch.device("meta"):
        update(state)
        assert read(state).device.type == "meta"


@pytest.mark.parametrize("name", STATES)
def test_options_can_be_read_back_and_build_an_equal(name: str) -> None:
    build: Callable[..., nn.Module] = getattr(ssltok.state, name)
    check_options(build, OPTIONS[name])
    first = build(**OPTIONS[name])
    second, update = rebuilt(first), STATES[name][1]
    assert torch.equal(read(second), read(first))
    if name == "EMATeacher":
        assert isinstance(second, EMATeacher)
        assert second.student is not first.student
        student = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        for buffer in student.buffers():
            buffer.add_(1)
        update = partial(EMATeacher.update, student=student, momentum=0.3)
    for state in (first, second):
        torch.manual_seed(0)
        update(state)
    assert torch.equal(read(second), read(first))
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in second.state_dict().items())
