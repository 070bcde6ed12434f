"""Schedules: the share masked, from exactly 1 to exactly 0, and back by the inverse."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok import masking

N = 37
ORACLE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[float], float], float]] = {
    "cosine": (masking.cosine_schedule, lambda r: math.cos(math.pi * r / 2), 2 / math.pi),
    "arccos": (masking.arccos_schedule, lambda r: math.acos(r) * 2 / math.pi, 2 / math.pi),
    "linear": (masking.linear_schedule, lambda r: 1 - r, 1 / 2),
    "square": (masking.square_schedule, lambda r: 1 - r**2, 2 / 3),
    "cubic": (masking.cubic_schedule, lambda r: 1 - r**3, 3 / 4),
    "square_root": (masking.square_root_schedule, lambda r: 1 - r**0.5, 1 / 3),
    "exponential": (
        partial(masking.exponential_schedule, tokens=N),
        lambda r: (1 - 2 ** (-math.log2(N) * (1 - r))) / (1 - 1 / N),
        (1 - (1 - 1 / N) / math.log(N)) / (1 - 1 / N),
    ),
    "logarithmic": (
        partial(masking.logarithmic_schedule, tokens=N),
        lambda r: min(1.0, -math.log2(max(r, 1e-9)) / math.log2(N)),
        (1 - 1 / N) / math.log(N),
    ),
}
NAMES = list(ORACLE)


# oracle


@pytest.mark.parametrize("name", NAMES)
def test_share_is_the_formula(name: str) -> None:
    schedule, formula, _ = ORACLE[name]
    progress = torch.tensor([0.0, 0.013, 0.2, 0.55, 0.81, 0.999], dtype=torch.float64)
    expected = torch.tensor([formula(float(r)) for r in progress], dtype=torch.float64)
    torch.testing.assert_close(schedule(progress), expected)


# known values


@pytest.mark.parametrize("name", NAMES)
def test_mean_share_is_the_integral(name: str) -> None:
    schedule, _, mean = ORACLE[name]
    middles = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    assert float(schedule(middles).mean()) == pytest.approx(mean, abs=1e-5)


# laws


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_it_falls_from_exactly_one_to_exactly_zero(name: str, dtype: torch.dtype) -> None:
    share = ORACLE[name][0](torch.linspace(0, 1, 65, dtype=torch.float64).to(dtype))
    assert share.dtype == dtype
    assert share[0] == 1
    assert share[-1] == 0
    assert not share[-1].signbit()
    assert (share.diff() <= 0).all()
    assert share.min() >= 0
    assert share.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_number_is_a_float64_scalar(name: str) -> None:
    schedule, formula, _ = ORACLE[name]
    share = schedule(0.3)  # type: ignore[arg-type]
    assert share.dtype == torch.float64
    assert share.shape == ()
    assert float(share) == pytest.approx(formula(0.3))
    assert float(schedule(1)) == 0  # type: ignore[arg-type]


# complaints


@pytest.mark.parametrize("name", NAMES)
def test_integers_in_a_tensor_are_refused(name: str) -> None:
    said = f"^{name}_schedule: progress must be floating point; got torch.int64$"
    with pytest.raises(ValueError, match=said):
        ORACLE[name][0](torch.tensor([0, 1]))


@pytest.mark.parametrize("name", ["exponential", "logarithmic"])
def test_one_token_has_no_logarithm(name: str) -> None:
    said = f"^{name}_schedule: tokens must be >= 2; got 1$"
    with pytest.raises(ValueError, match=said):
        getattr(masking, f"{name}_schedule")(0.5, tokens=1)
