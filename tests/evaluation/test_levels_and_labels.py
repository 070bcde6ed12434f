"""Evaluation far from 0, and of series of which only some have a label."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ssltok.evaluation import (
    FCNJudge,
    Measure,
    RidgeJudge,
    Sets,
    Tokens,
    evaluate,
    evaluate_encoder,
    standard_measures,
)
from ssltok.evaluation._report_figures import _overlay
from ssltok.evaluation._sets import encode_as_they_are


def waves(cases: int, seed: int, pitch: float = 1.0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    y = np.arange(cases) % 2
    phase = random.uniform(0, 1, (cases, 2, 1))
    x = np.sin(np.linspace(0, 6, 24) * (1 + y[:, None, None]) * pitch + phase)
    return x + 0.1 * random.normal(size=x.shape), y


TRAIN, TEST, GENERATED = waves(20, 1), waves(18, 2), waves(20, 3, 1.4)


def report(level: Any, **options: Any) -> Any:
    level = np.array(level)[:, None]
    return evaluate(
        TRAIN[0] + level, TEST[0] + level, GENERATED[0] + level, train_labels=TRAIN[1],
        test_labels=TEST[1], generated_labels=GENERATED[1],
        measures=(*standard_measures, RidgeJudge()), **options,
    )  # fmt: skip


@pytest.mark.parametrize("level", [[1e5, -3e4], [1e8, -3e6]])
def test_a_level_that_all_sets_share_changes_no_row(level: Any) -> None:
    near, moved = report([0.0, 0.0]), report(level)
    assert [row.name for row in near.rows] == [row.name for row in moved.rows]
    for row, other in zip(near.rows, moved.rows, strict=True):
        assert row.skipped == other.skipped
        for a, b in ((row.value, other.value), (row.reference, other.reference)):
            assert a == pytest.approx(b, rel=1e-3, abs=1e-4, nan_ok=True), row.name


def test_two_sets_far_away_are_told_apart() -> None:
    x, y = TRAIN[0] + 1e8, 3 * TEST[0] + 1e8
    rows = evaluate(x, x, y, measures=standard_measures)
    assert rows["precision (ROCKET)"].value < 0.6
    assert rows["marginal distance"].value > 10 * rows["marginal distance"].reference


class Plain(nn.Module):
    """An encoder of float32 weights, as most are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(2, 3, 5)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer(series).mean(2)
        return features


def test_an_encoder_gets_float32_until_that_loses_digits() -> None:
    x = torch.from_numpy(TRAIN[0])
    assert encode_as_they_are(Plain(), x + 100).dtype == torch.float64
    assert encode_as_they_are(Plain(), 0 * x + 1e8).isfinite().all()  # constant
    with pytest.raises(ValueError, match=r"must take float64 series where they lie so far from 0"):
        encode_as_they_are(Plain(), x + 1e8)
    rows = report([1e8, 0.0], encoder=Plain())
    assert "must take float64" in rows["Frechet distance (Plain)"].skipped
    seen = []
    encode_as_they_are(lambda s: seen.append(s.dtype) or s.flatten(1), x + 1e8)  # type: ignore[func-returns-value]
    assert seen == [torch.float64]


NOTHING = [None, float("nan")]


def hidden(labels: Any, every: int) -> list[Any]:
    return [NOTHING[k % 2] if k % every == 0 else int(y) for k, y in enumerate(labels)]


def test_series_without_a_label_are_left_out_where_labels_are_asked() -> None:
    known = [[k for k in range(len(y)) if k % 5] for _, y in (TRAIN, TEST, GENERATED)]
    judge = (RidgeJudge(),)
    partly = evaluate(
        TRAIN[0], TEST[0], GENERATED[0], train_labels=hidden(TRAIN[1], 5),
        test_labels=hidden(TEST[1], 5), generated_labels=hidden(GENERATED[1], 5), measures=judge,
    )  # fmt: skip
    (a, b, c), (x, y, z) = known, (TRAIN, TEST, GENERATED)
    only = evaluate(
        x[0][a], y[0][b], z[0][c], train_labels=x[1][a], test_labels=y[1][b],
        generated_labels=z[1][c], measures=judge,
    )  # fmt: skip
    row, expected = (r["CAS of all generated, ridge (ROCKET)"] for r in (partly, only))
    assert row.value == pytest.approx(expected.value)
    assert row.reference == pytest.approx(expected.reference)
    assert row.cases == expected.cases == len(c)
    assert "without a label left out" in row.note


def test_all_rows_of_partly_labelled_sets() -> None:
    seen: list[Sets] = []

    def look(sets: Sets) -> list[Measure]:
        seen.append(sets)
        return []

    codes = [torch.randint(4, (len(x), 6)) for x, _ in (TRAIN, TEST, GENERATED)]
    rows = evaluate(
        TRAIN[0], TEST[0], GENERATED[0], train_labels=hidden(TRAIN[1], 3),
        test_labels=hidden(TEST[1], 4), generated_labels=hidden(GENERATED[1], 5),
        tokens=Tokens(codes[0], codes[1], codes[2], 4), steps=1,
        measures=(*standard_measures, FCNJudge(steps=2, width=4), look),
    )  # fmt: skip
    for row in rows.rows:
        if "no codebook" not in row.skipped:
            assert not row.skipped, (row.name, row.skipped)
    assert rows["train on real, test on synthetic"].cases == 16
    assert "20 generated" not in _overlay(seen[0])[0], "series without a class are not drawn"


def test_sets_whose_labels_are_all_missing_have_none() -> None:
    rows = evaluate(
        TRAIN[0], TEST[0], GENERATED[0], train_labels=TRAIN[1], test_labels=[None] * 18,
        generated_labels=GENERATED[1], measures=(RidgeJudge(),),
    )  # fmt: skip
    assert rows["CAS, ridge (ROCKET)"].skipped == "no labels of the test series"
    few = evaluate(
        TRAIN[0], TEST[0], GENERATED[0], train_labels=TRAIN[1], test_labels=[1] + [None] * 17,
        generated_labels=GENERATED[1], measures=(RidgeJudge(),),
    )  # fmt: skip
    assert few["CAS, ridge (ROCKET)"].skipped == "fewer than 4 of the test series have a label"


def test_an_encoder_is_evaluated_on_the_labelled_series() -> None:
    def encoder(x: torch.Tensor) -> torch.Tensor:
        return x.mean(2)

    partly = evaluate_encoder(
        encoder, TRAIN[0] + 1e5, hidden(TRAIN[1], 4), TEST[0] + 1e5, hidden(TEST[1], 4)
    )
    a, b = ([k for k in range(len(y)) if k % 4] for _, y in (TRAIN, TEST))
    only = evaluate_encoder(encoder, TRAIN[0][a] + 1e5, TRAIN[1][a], TEST[0][b] + 1e5, TEST[1][b])
    assert partly.about["training series"] == len(a)
    for row, other in zip(partly.rows, only.rows, strict=True):
        same = row.value == pytest.approx(other.value, rel=1e-3, abs=1e-6)
        assert same or (math.isnan(row.value) and math.isnan(other.value)), row.name
    with pytest.raises(ValueError, match=r"train_labels must label some series; got none"):
        evaluate_encoder(encoder, TRAIN[0], [None] * 20, TEST[0], TEST[1])
