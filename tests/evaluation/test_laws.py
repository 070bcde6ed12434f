"""What holds for every row and judge: constants keep their units, and no spread is 0 by chance."""

import math

import pytest
import torch
from torch import Tensor

from ssltok.evaluation import (
    FCNJudge,
    Report,
    RidgeJudge,
    evaluate,
    evaluate_encoder,
    mean_and_scale,
    standard_measures,
)
from ssltok.evaluation._sets import share_error
from ssltok.metrics import RocketEncoder
from tests.evaluation.evaluated import LABELS, waves

LEVELS = [0.1, 0.0, -1e5 / 3]


def with_constant(level: float, noise: float) -> list[Tensor]:
    """Three sets of three channels; the second is constant in training, and nearly so elsewhere."""
    sets = []
    for seed in range(3):
        moving = torch.stack([waves(seed, 32)[0][:, 0], waves(seed + 7, 32)[0][:, 0]], dim=1)
        flat = torch.full((32, 1, 24), level)
        if seed:
            draw = torch.randn(flat.shape, generator=torch.Generator().manual_seed(seed))
            flat = flat + noise * draw
        sets.append(torch.cat([moving[:, :1], flat, moving[:, 1:]], dim=1))
    return sets


def report(sets: list[Tensor], steps: int) -> Report:
    labels = LABELS[:32]
    return evaluate(
        *sets, train_labels=labels, test_labels=labels, generated_labels=labels, steps=steps,
        measures=(*standard_measures, RidgeJudge(), FCNJudge(steps=4, width=8)),
        encoder=RocketEncoder(3, 24, kernels=30),
    )  # fmt: skip


@pytest.mark.parametrize(("level", "steps"), [(0.1, 2), (0.0, 0), (-1e5 / 3, 0)])
def test_noise_on_a_constant_channel_moves_no_row_by_orders_of_magnitude(
    level: float, steps: int
) -> None:
    calm, noisy = (report(with_constant(level, noise), steps) for noise in (0.0, 1e-3))
    for row in noisy.rows:
        if "steps=0" in row.skipped:
            continue
        assert not row.skipped, row
        assert math.isfinite(row.value)
        if row.name != "kurtosis distance":
            assert abs(row.value) < 30 * (1 + abs(calm[row.name].value)), row


@pytest.mark.parametrize("level", LEVELS)
def test_nor_does_it_move_what_an_encoder_is_judged_by(level: float) -> None:
    labels = LABELS[:32]
    noisy, calm = (
        evaluate_encoder(lambda x: x.diff(dim=2)[:, :, ::6], sets[0], labels, sets[1], labels)
        for sets in (with_constant(level, 1e-3), with_constant(level, 0.0))
    )
    for row in noisy.rows:
        if row.name != "fine-tuning":
            assert row.value == pytest.approx(calm[row.name].value, rel=0.1, abs=0.1)
            assert row.reference == pytest.approx(calm[row.name].reference, rel=0.1, abs=0.1)


def test_a_share_of_none_or_all_has_a_spread() -> None:
    """All halves of none are none: the spread is that of a share of so many cases."""
    assert share_error(torch.tensor(0.0), 300).item() == pytest.approx(
        (2 / 304 * 302 / 304 / 304) ** 0.5
    )
    large = share_error(torch.tensor(0.3, dtype=torch.float64), 10**6).item()
    assert large == pytest.approx((0.3 * 0.7 / 10**6) ** 0.5, rel=1e-4)
    train, test, _ = (waves(k)[0] for k in range(3))
    far = evaluate(train, test, train + 50)
    for name in ("precision (ROCKET)", "recall (ROCKET)", "coverage (ROCKET)", "exact repeats"):
        assert far[name].value == 0
        assert far[name].spread == pytest.approx(share_error(torch.tensor(0.0), 48).item())
        assert far[name].reference_spread > 0
    copies = evaluate(train, test, train)
    assert copies["exact repeats"].value == 1
    assert copies["exact repeats"].spread > 0.02
    labels = LABELS
    easy = evaluate_encoder(
        lambda x: x.mean(2), train + 50 * labels[:, None, None], labels,
        test + 50 * labels[:, None, None], labels,
    )  # fmt: skip
    assert easy["linear probe"].value == 1
    assert easy["linear probe"].spread == pytest.approx(share_error(torch.tensor(1.0), 48).item())


def test_what_is_constant_to_rounding_has_scale_one() -> None:
    """0.1 has another mean in the last bit; features of a network round as float32 does."""
    tenth = torch.full((7, 11), 0.1, dtype=torch.float64)
    mean, scale = mean_and_scale(tenth / 3, (0, 1))
    assert scale.item() == 1
    assert mean.item() == pytest.approx(0.1 / 3)
    wobbling = 5 + 1e-7 * torch.arange(6, dtype=torch.float64)[:, None]
    assert mean_and_scale(wobbling, (0,), computed_in=torch.float32)[1].item() == 1
    assert mean_and_scale(wobbling, (0,))[1].item() == pytest.approx(1.7078e-7, rel=1e-3)
    assert mean_and_scale(wobbling.float(), (0,))[1].item() == 1
    far = 1e8 + torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    assert mean_and_scale(far, (0,))[1].item() == 1
    assert mean_and_scale(far * 0.5, (0,), correction=1)[1].item() == pytest.approx(0.5**0.5)
