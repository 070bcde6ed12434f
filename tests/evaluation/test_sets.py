"""What an evaluation measures on: whole sets, any order, gaps, units, codes as they come."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssltok._shared.warping import warped_cases, warped_cells
from ssltok.evaluation import Measure, Report, Sets, Tokens, evaluate
from ssltok.metrics import (
    dtw_distance,
    euclidean_distance,
    memorization_ratio,
    nearest_neighbor_distance,
    precision_recall,
)
from tests.evaluation.evaluated import FAIR, LABELS, TEST, TRAIN, order_of, waves


def flat(x: Tensor) -> Tensor:
    return x.flatten(1)


def two_channels(seed: int, small: float) -> Tensor:
    """A channel of noise in large units, and one of the waves in small ones."""
    generator = torch.Generator().manual_seed(100 + seed)
    noise = 1000 * torch.randn(48, 1, 24, generator=generator)
    return torch.cat([noise, small * waves(seed)[0]], dim=1)


# Memory: every training series is compared, whatever the size of the test set.


def test_copies_are_found_in_a_training_set_that_is_larger_than_the_test_set() -> None:
    generator = torch.Generator().manual_seed(5)
    train = torch.randn(1000, 1, 8, generator=generator)
    test = torch.randn(50, 1, 8, generator=generator)
    row = evaluate(train, test, train[:200], encoder=flat)["memorization ratio"]
    assert row.value < 1e-6
    near, far, apart = (
        euclidean_distance(train, test).amin(0).sum(),
        euclidean_distance(test, test).fill_diagonal_(math.inf).amin(0).sum(),
        evaluate(train, test, test.roll(1, 2)[:40], encoder=flat)["memorization ratio"].reference,
    )
    assert row.reference == pytest.approx((near / far).item(), rel=1e-5)
    assert apart == row.reference  # it does not depend on what was generated
    assert row.reference < 0.8  # far from 1: there are more training than test series


# Units: no channel is measured by the size of its units.


def test_distances_do_not_depend_on_the_units_of_a_channel() -> None:
    reports = [
        evaluate(*(two_channels(seed, small) for seed in range(3)), encoder=flat)
        for small in (1.0, 1000.0)
    ]
    for name in (
        "nearest neighbour, Euclidean", "nearest neighbour, DTW", "memorization ratio",
    ):  # fmt: skip
        rows = [report[name] for report in reports]
        assert rows[0].value == pytest.approx(rows[1].value, rel=1e-5)
        assert rows[0].reference == pytest.approx(rows[1].reference, rel=1e-5)
        assert "training standard deviation" in rows[0].meaning or "The same" in rows[0].meaning


def test_distances_are_those_of_scaled_series() -> None:
    sets = [two_channels(seed, 3.0) for seed in range(3)]
    report = evaluate(*sets, encoder=flat)
    std = sets[0].double().std((0, 2), correction=0)[:, None]
    train, test, made = (x / std for x in sets)
    ratio, reference = memorization_ratio(train, test, made)
    row = report["memorization ratio"]
    assert (row.value, row.reference) == pytest.approx((ratio.item(), reference.item()))
    row = report["nearest neighbour, DTW"]
    assert row.value == pytest.approx(
        nearest_neighbor_distance(
            test, made, distance=lambda a, b: dtw_distance(a, b, band=2)
        ).distance.mean().item()
    )  # fmt: skip


@pytest.mark.parametrize(
    ("channels", "length", "cases"),
    [(1, 150, (64, 256)), (1, 2000, (18, 73)), (3, 1000, (21, 84)), (1, 10**6, (1, 1))],
)
def test_fewer_series_are_warped_where_a_pair_is_much_work(
    channels: int, length: int, cases: tuple[int, int]
) -> None:
    """64 x 256 pairs at 500 samples of a channel, and never more cells than these."""
    band = length // 10
    assert warped_cases(channels, length) == (band, cases)
    cells = cases[0] * cases[1] * channels * length * (2 * band + 1)
    assert cells <= 2**30 or cases == (1, 1)
    assert warped_cells(channels, length, test=9**9, generated=9**9) == cells
    few = warped_cells(channels, length, test=1, generated=1)
    assert few == channels * length * (2 * band + 1)


def test_a_constant_training_channel_keeps_its_units() -> None:
    train, test, made = (torch.cat([x, torch.full_like(x, 0.1)], 1) for x in (TRAIN, TEST, FAIR))
    made[:, 1] += 0.5
    row = evaluate(train, test, made, encoder=flat)["nearest neighbour, Euclidean"]
    assert row.value < 10 * row.reference


# Order: sets are sets.


def test_a_feature_that_training_series_have_alike_keeps_its_unit() -> None:
    def encoder(x: Tensor) -> Tensor:
        large = x.amax((1, 2)) > 2
        return torch.stack([x.std((1, 2)), 1 + 0.5 * large], dim=1)

    test = TEST.clone()
    test[0, 0, 0] = 3.0
    assert encoder(TRAIN)[:, 1].std() == 0 < encoder(test)[:, 1].std()
    row = evaluate(TRAIN, test, FAIR, encoder=encoder)["Frechet distance (function)"]
    assert row.value < 5


def test_the_order_of_the_generated_series_does_not_choose_among_them() -> None:
    wild = FAIR * torch.linspace(0.1, 3, 48)[:, None, None]
    codes = [torch.arange(n)[:, None] % 7 + torch.zeros(1, 3).long() for n in (20, 48, 48)]

    def report(made: Tensor, generated: Tensor) -> Report:
        tokens = Tokens(codes[0], codes[1], generated, codebook_size=7)
        return evaluate(TRAIN[:20], TEST, made, tokens=tokens, encoder=flat)

    one, other = report(wild, codes[2]), report(wild.flip(0), codes[2].flip(0))
    for row in one.rows:
        again = other[row.name]
        assert again.skipped == row.skipped
        if not row.skipped:
            assert again.cases == row.cases
            assert again.value == pytest.approx(row.value, rel=1e-5, abs=1e-7)
            assert again.spread == pytest.approx(row.spread, rel=1e-4, abs=1e-7, nan_ok=True)


def test_trained_scores_do_not_depend_on_the_order_either() -> None:
    reports = [
        evaluate(
            *(x[order] for x in (TRAIN, TEST, FAIR)), encoder=flat, steps=2,
            train_labels=LABELS[order], test_labels=LABELS[order], generated_labels=LABELS[order],
        )
        for order in (torch.arange(48), torch.arange(48).flip(0))
    ]  # fmt: skip
    for name in ("predictive score", "train on synthetic, test on real (CAS)"):
        assert reports[0][name].value == reports[1][name].value


# Gaps: what needs whole series is measured on those that are.


def test_a_gap_costs_its_series_and_no_row() -> None:
    holes = FAIR.clone()
    holes[[3, 9], 0, 5] = math.nan
    report = evaluate(TRAIN, TEST, holes, encoder=flat)
    full = evaluate(TRAIN, TEST, FAIR, encoder=flat)
    assert [r.name for r in report.rows if r.skipped] == [r.name for r in full.rows if r.skipped]
    row = report["nearest neighbour, Euclidean"]
    kept = torch.tensor([k for k in range(48) if k not in (3, 9)])
    std = TRAIN.double().std(correction=0)
    expected = nearest_neighbor_distance(TEST / std, FAIR[kept] / std).distance.mean().item()
    assert row.value == pytest.approx(expected)
    assert (row.cases, row.note) == (46, "2 with gaps left out")
    values = report["marginal distance"]
    assert (values.cases, values.note) == (48, "")
    assert "2 with gaps left out" in report.to_text()
    assert "2 with gaps left out" in report.to_html()


def test_labels_follow_the_series_that_are_left() -> None:
    holes = FAIR.clone()
    holes[::3, 0, 5] = math.nan  # labels alternate: without their series they would be chance
    report = evaluate(
        TRAIN, TEST, holes, encoder=flat, steps=30,
        train_labels=LABELS, test_labels=LABELS, generated_labels=LABELS,
    )  # fmt: skip
    row = report["train on synthetic, test on real (CAS)"]
    assert row.cases == 32
    assert row.value > 0.8
    assert report["train on real, test on synthetic"].value > 0.8


def test_where_most_have_gaps_lines_are_led_over_them_in_all_sets() -> None:
    """A naive fill of every set, in which generated series have as many holes as training's."""
    train, test, made = (
        torch.cat([x, 3 * x.flip(2) + 50], dim=1).clone() for x in (TRAIN, TEST, FAIR)
    )
    train[:40, 0, 4:7] = math.nan
    train[:30, :, 20:] = math.nan  # these end early, which is no gap
    test[:30, 1, 9] = math.nan
    made[:10, :, 22:] = math.nan
    levels: list[Tensor] = []

    def look(sets: Sets) -> list[Measure]:
        levels.extend([sets.whole.train, sets.whole.test, sets.whole.fake])
        return []

    evaluate(train, test, made, encoder=flat, measures=(look,))
    centre = train.double().nanmean((0, 2))

    def filled(row: Tensor, gone: Tensor) -> Tensor:
        out = row.clone()
        for channel in range(2):
            places = [k for k in range(24) if not (row[channel, k].isnan() or gone[channel, k])]
            known = [float(row[channel, k]) for k in places]
            line = np.interp(range(24), places, known) if places else float(centre[channel])
            out[channel] = torch.tensor(line)
        return out

    nothing = torch.zeros(2, 24, dtype=torch.bool)
    hole = nothing.clone()
    hole[0, 4:7] = True
    for real, seen in ((train, levels[0]), (test, levels[1])):
        expected = torch.stack([filled(row, nothing) for row in real])
        torch.testing.assert_close(_sorted(seen).double(), _sorted(expected).double())
    either = [torch.stack([filled(row, gone) for row in made]) for gone in (nothing, hole)]
    holed = 0
    for row in levels[2]:
        plain, lined = (bool((row - e).abs().amax((1, 2)).min() < 1e-4) for e in either)
        assert plain or lined
        holed += lined and not plain
    assert holed == 40


def _sorted(x: Tensor) -> Tensor:
    return x[x.flatten(1).sum(1).argsort()]


# Codes as they come.


@pytest.mark.parametrize("kind", ["numpy", "list", "int32"])
def test_codes_may_be_arrays_or_lists(kind: str) -> None:
    codes = torch.arange(48)[:, None].expand(-1, 4) % 5
    forms: dict[str, Any] = {
        "numpy": codes.numpy(), "list": codes.tolist(), "int32": codes.numpy().astype(np.int32)
    }  # fmt: skip
    given = forms[kind]
    book = np.eye(8)
    tokens = Tokens(given, given, given, codebook_size=8, codebook=book)
    report = evaluate(TRAIN, TEST, FAIR, encoder=flat, tokens=tokens)
    assert report["codebook usage"].value == 5 / 8
    assert report["codebook correlation"].value == pytest.approx(1 / 7)
    assert "<h2>Tokens</h2>" in report.to_html()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test": torch.full((48, 3), 8)}, r"tokens.test must be -1 \(padding\) or from 0 to 7"),
        ({"test": torch.full((48, 3), -2)}, r"below codebook_size; got -2 to -2$"),
        ({"test": torch.zeros(48, 3)}, r"tokens.test must be integers of shape \(48, tokens\)"),
        ({"test": torch.zeros(48, 2).long()}, r"must be equally many; got \[3, 2, 3\]$"),
        ({"train": [[0, 1], [0]]}, r"tokens.train must be an array of one shape; got "),
        ({"generated": torch.zeros(48, 0).long()}, r"tokens.generated must be integers of shape"),
        ({"codebook": torch.eye(7)}, r"tokens.codebook must have shape \(8, dim\); got \(7, 7\)$"),
        ({"codebook_size": 0}, r"tokens.codebook_size must be >= 1; got 0$"),
    ],
)
def test_codes_that_cannot_be_are_said(change: dict[str, Any], said: str) -> None:
    codes = torch.zeros(48, 3, dtype=torch.int64)
    tokens = Tokens(codes, codes, codes, codebook_size=8)._replace(**change)
    with pytest.raises(ValueError, match=f"^evaluate: .*{said}"):
        evaluate(TRAIN, TEST, FAIR, encoder=flat, tokens=tokens)


def test_independent_tokens_share_nothing_and_few_of_them_say_nothing() -> None:
    generator = torch.Generator().manual_seed(7)

    def report(codebook_size: int) -> Report:
        codes = [torch.randint(codebook_size, (48, 20), generator=generator) for _ in range(3)]
        tokens = Tokens(codes[0], codes[1], codes[2], codebook_size=codebook_size)
        return evaluate(TRAIN, TEST, FAIR, tokens=tokens, encoder=flat)

    row = report(24)["token information, next token"]  # 912 pairs, 576 cells
    assert abs(row.value) < 0.1
    assert abs(row.reference) < 0.1
    skipped = report(256)["token information, next token"].skipped
    assert skipped.startswith("too few tokens: 912 pairs for ")


# What is undefined, and what only lacks a spread.


def test_a_set_too_small_to_be_halved_has_a_value_without_a_spread() -> None:
    report = evaluate(TRAIN[:10], TEST[:10], FAIR[:10], encoder=flat)
    row = report["precision (function)"]
    mean, std = TRAIN[:10].flatten(1).double().mean(0), TRAIN[:10].flatten(1).double().std(0)
    test, made = ((x[:10].flatten(1).double() - mean) / std for x in (TEST, FAIR))
    assert row.value == pytest.approx(precision_recall(test, made).precision.item())
    assert math.isnan(row.spread)
    small = evaluate(TRAIN[:5], TEST[:5], FAIR[:5], encoder=flat)["precision (function)"]
    assert small.skipped == "precision_recall: cases of real must be >= 6; got 5"


def test_few_cases_for_many_features_are_said() -> None:
    name = "Frechet distance (function)"
    assert evaluate(TRAIN, TEST, FAIR, encoder=flat)[name].note == ""
    wide = evaluate(TRAIN, TEST, FAIR, encoder=lambda x: x.flatten(1).repeat(1, 5))
    assert wide[name].note == "48 cases for 120 features: read the kernel distance"


def test_one_series_that_explodes_is_no_good_kernel_distance() -> None:
    wild = FAIR.clone()
    wild[0, 0, 3] = 1000.0
    row = evaluate(TRAIN, TEST, wild, encoder=flat)["kernel distance (function)"]
    assert row.better == "as real"
    assert abs(row.value) > 100 * abs(row.reference)


def test_labels_of_the_test_set_are_not_asked_for_where_nobody_needs_them() -> None:
    report = evaluate(TRAIN, TEST, FAIR, encoder=flat, steps=2, train_labels=LABELS)
    for name in ("inception score (FCN)", "Frechet distance (FCN)"):
        assert not report[name].skipped
        assert report[name].note.startswith("one network; the spread is over halves")
    name = "train on synthetic, test on real (CAS)"
    assert report[name].skipped == "no labels of the test series"


# A report can be kept.


class Flat:
    """An encoder that can be pickled, and counts."""

    calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        Flat.calls += 1
        return x.flatten(1)


def test_a_report_is_pickled_and_copied_with_its_figures() -> None:
    report = evaluate(TRAIN, TEST, FAIR, encoder=lambda x: Flat()(x))
    calls = Flat.calls
    for kept in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report)):
        assert kept.rows == report.rows or kept.to_json() == report.to_json()
        assert re_headings(kept) == re_headings(report)
    assert "Features" in re_headings(report)
    assert Flat.calls == calls  # nothing is encoded twice


def re_headings(report: Report) -> list[str]:
    return list(report.draw())


def test_order_of_is_what_the_report_uses() -> None:
    seen: list[Tensor] = []

    def look(x: Tensor) -> Tensor:
        seen.append(x)
        return x.flatten(1)

    evaluate(TRAIN, TEST, FAIR, encoder=look)
    assert torch.equal(seen[1], FAIR[order_of("generated", FAIR)])
