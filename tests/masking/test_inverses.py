"""Inverses: there and back again, and a schedule resumed where it was left."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok import masking

N = 11
PAIRS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "cosine": (masking.cosine_schedule, masking.arccos_schedule),
    "arccos": (masking.arccos_schedule, masking.cosine_schedule),
    "linear": (masking.linear_schedule, masking.linear_schedule),
    "square": (masking.square_schedule, masking.inverse_square_schedule),
    "cubic": (masking.cubic_schedule, masking.inverse_cubic_schedule),
    "square_root": (masking.square_root_schedule, masking.inverse_square_root_schedule),
    "exponential": (
        partial(masking.exponential_schedule, tokens=N),
        partial(masking.inverse_exponential_schedule, tokens=N),
    ),
    "logarithmic": (
        partial(masking.logarithmic_schedule, tokens=N),
        partial(masking.inverse_logarithmic_schedule, tokens=N),
    ),
}


# oracle


@pytest.mark.parametrize("name", list(PAIRS))
def test_the_inverse_leads_back(name: str) -> None:
    schedule, inverse = PAIRS[name]
    progress = torch.linspace(0, 1, 50, dtype=torch.float64)
    if name == "logarithmic":  # flat at 1 before 1 / N
        progress = progress.clamp(min=1 / N)
    torch.testing.assert_close(inverse(schedule(progress)), progress)
    share = torch.linspace(0, 1, 50, dtype=torch.float64)
    torch.testing.assert_close(schedule(inverse(share)), share)


# known values


@pytest.mark.parametrize("name", list(PAIRS))
def test_the_ends(name: str) -> None:
    inverse = PAIRS[name][1]
    start, end = inverse(torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist()
    assert end == pytest.approx(1)
    assert start == pytest.approx(1 / N if name == "logarithmic" else 0, abs=1e-7)


# laws


@pytest.mark.parametrize("name", list(PAIRS))
def test_a_resumed_schedule_continues_the_whole(name: str) -> None:
    schedule = PAIRS[name][0]
    rest = masking.resumed_schedule(schedule, start=0.4)
    progress = torch.linspace(0, 1, 7, dtype=torch.float64)
    whole = schedule(torch.tensor(0.4, dtype=torch.float64))
    torch.testing.assert_close(rest(progress) * whole, schedule(0.4 + 0.6 * progress))
    assert rest(progress)[0] == 1
    assert abs(float(rest(progress)[-1])) < 1e-15


# complaints


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"^resumed_schedule: start must be < 1; got 1"):
        masking.resumed_schedule(masking.linear_schedule, start=1.0)
    with pytest.raises(ValueError, match=r"^resumed_schedule: start must lie in \[0, 1\]; got -1"):
        masking.resumed_schedule(masking.linear_schedule, start=-1)
    with pytest.raises(ValueError, match=r"^inverse_exponential_schedule: tokens must be >= 2"):
        masking.inverse_exponential_schedule(0.5, tokens=1)
    with pytest.raises(ValueError, match=r"^inverse_logarithmic_schedule: tokens must be >= 2"):
        masking.inverse_logarithmic_schedule(0.5, tokens=0)
    said = r"^inverse_square_schedule: progress must be floating point; got torch.int64$"
    with pytest.raises(ValueError, match=said):
        masking.inverse_square_schedule(torch.tensor([1]))


def test_a_resumed_schedule_takes_a_number_as_all_schedules_do() -> None:
    rest = masking.resumed_schedule(masking.cosine_schedule, start=0.3)
    assert float(rest(0.25)) == float(rest(torch.tensor(0.25, dtype=torch.float64)))
    assert rest(1).dtype == torch.float64
