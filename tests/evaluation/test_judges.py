"""Judges that are passed: their rows against scikit-learn and the metrics, and what they refuse."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ssltok.evaluation import (
    FCNJudge,
    Measure,
    Outcome,
    Report,
    RidgeJudge,
    Sets,
    evaluate,
    standard_measures,
)
from ssltok.evaluation._sets import spread_classes
from ssltok.metrics import FCNEncoder, encode, frechet_distance, inception_score
from tests.evaluation.evaluated import order_of, spread, waves

SETS = {"train": waves(0, 30), "test": waves(1, 42), "generated": waves(2, 70)}
MADE, MADE_Y = SETS["generated"]
MADE_Y = torch.where(torch.arange(70) % 5 == 0, 1 - MADE_Y, MADE_Y)  # a fifth has the wrong label
ORDER = {
    name: spread(order_of(name, x, y), y)
    for name, x, y in (
        ("train", *SETS["train"]), ("test", *SETS["test"]), ("generated", MADE, MADE_Y),
    )
}  # fmt: skip


def judged(*measures: Any, labels: bool = True, **options: Any) -> Report:
    named: dict[str, Any] = {
        "train_labels": SETS["train"][1], "test_labels": SETS["test"][1],
        "generated_labels": MADE_Y,
    }  # fmt: skip
    if labels:
        options |= named
    return evaluate(SETS["train"][0], SETS["test"][0], MADE, measures=measures, **options)


def flat(x: Tensor) -> Tensor:
    return torch.cat([x.flatten(1), torch.full((len(x), 1), 0.1)], dim=1)  # one is constant


def ridge(x: Tensor, y: Tensor) -> float:
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(-3, 3, 7)))
    model.fit(flat(x)[:, :-1].double().numpy(), y.numpy())
    test, truth = SETS["test"]
    answers = model.predict(flat(test)[:, :-1].double().numpy())
    return float((answers == truth.numpy()).mean())


# Oracle.


def test_ridge_is_that_of_scikit_learn() -> None:
    report = judged(RidgeJudge(), encoder=flat)
    x, y = (v[ORDER["generated"]] for v in (MADE, MADE_Y))
    train, labels = SETS["train"]
    parts = [ridge(x[k : k + 30], y[k : k + 30]) for k in (0, 30)]
    row = report["CAS, ridge (function)"]
    assert row.value == pytest.approx(np.mean(parts))
    assert row.spread == pytest.approx(np.std(parts, ddof=1))
    assert row.reference == pytest.approx(ridge(train, labels))
    assert row.cases == 30
    row = report["CAS of all generated, ridge (function)"]
    assert row.value == pytest.approx(ridge(x, y))
    assert row.cases == 70
    assert row.reference == pytest.approx(ridge(train, labels))


def test_a_fitted_classifier_judges() -> None:
    generator = torch.Generator().manual_seed(3)
    fcn = FCNEncoder.fit(*SETS["train"], steps=30, width=6, generator=generator)
    report = judged(FCNJudge(classifier=fcn), encoder=flat)
    test, made = SETS["test"][0][ORDER["test"]], MADE[ORDER["generated"]]
    row = report["Frechet distance (FCN)"]
    expected = frechet_distance(encode(fcn, test[:21]), encode(fcn, made[:21]))
    assert row.value == pytest.approx(expected.item(), rel=1e-5)
    row = report["inception score (FCN)"]  # as many of both: the lesser number
    assert row.value == pytest.approx(inception_score(fcn.logits(made[:30])).item(), rel=1e-5)
    assert row.reference == pytest.approx(inception_score(fcn.logits(test[:30])).item(), rel=1e-5)
    row = report["train on real, test on synthetic"]
    right = (fcn.logits(MADE).argmax(1) == MADE_Y).double().mean().item()
    assert row.value == pytest.approx(right)
    assert (row.cases, len(report.rows)) == (70, 3)


def test_few_generated_series_stand_beside_as_few_real_ones() -> None:
    """References too are of equal number: 12 generated series, 12 test or training series."""
    generator = torch.Generator().manual_seed(3)
    fcn = FCNEncoder.fit(*SETS["train"], steps=30, width=6, generator=generator)
    (train, labels), (test, truth) = SETS["train"], SETS["test"]
    report = evaluate(
        train, test, MADE[:12], train_labels=labels, test_labels=truth,
        generated_labels=MADE_Y[:12], encoder=flat,
        measures=(FCNJudge(classifier=fcn), RidgeJudge()),
    )  # fmt: skip
    test = test[ORDER["test"]]
    row = report["Frechet distance (FCN)"]
    expected = frechet_distance(encode(fcn, test[:21]), encode(fcn, test[21:33]))
    assert row.reference == pytest.approx(expected.item(), rel=1e-5)
    assert row.cases == 12
    first = ORDER["train"][:12]
    row = report["CAS, ridge (function)"]
    assert row.reference == pytest.approx(ridge(train[first], labels[first]))
    assert row.reference != pytest.approx(ridge(train, labels))
    assert row.cases == 12


def test_a_generator_of_one_class_has_its_accuracy() -> None:
    """What learned from one class alone answers nothing else: right for that class's share."""
    (train, labels), (test, truth) = SETS["train"], SETS["test"]
    report = evaluate(
        train, test, MADE, train_labels=labels, test_labels=truth * (torch.arange(42) % 3 > 0),
        generated_labels=torch.ones_like(MADE_Y), encoder=flat, measures=(RidgeJudge(),),
    )  # fmt: skip
    share = (truth * (torch.arange(42) % 3 > 0)).double().mean().item()
    assert 0 < share < 0.5
    for row in report.rows:
        assert row.value == pytest.approx(share)


# Laws.


def test_any_first_part_has_the_classes_in_proportion() -> None:
    labels = torch.tensor([0] * 20 + [2] * 10 + [1] * 5)
    order = spread_classes(labels)
    for count in range(7, 36, 7):
        found = torch.bincount(labels[order[:count]], minlength=3).tolist()
        assert found == [4 * count // 7, count // 7, 2 * count // 7]
    assert order[labels[order] == 2].tolist() == list(range(20, 30))
    assert torch.equal(spread_classes(labels[torch.arange(5)]), torch.arange(5))


def test_a_later_judge_takes_the_place_of_an_earlier_one() -> None:
    report = judged(*standard_measures, FCNJudge(steps=2, width=3), encoder=flat)
    names = [row.name for row in report.rows]
    assert len(set(names)) == len(names)
    plain = [row.name for row in judged(*standard_measures, encoder=flat).rows]
    first = names.index("inception score (FCN)")
    assert names[first - 1] == "Frechet distance (FCN)"  # rows stand in the order of the measures
    assert names[:6] == plain[:6]
    assert sorted(names) == sorted(plain)
    assert not report["train on real, test on synthetic"].skipped
    assert report["discriminative score"].skipped == "trained scores are left out (steps=0)"


def test_judges_of_the_standard_rows_are_these_judges() -> None:
    standard = judged(*standard_measures, encoder=flat, steps=3)
    alone = judged(FCNJudge(steps=3), encoder=flat)
    for row in alone.rows:
        assert row == standard[row.name]


def test_a_constant_channel_with_a_little_noise_stays_moderate() -> None:
    """Also in features: 1e-3 of noise beside a constant is not 1e-3 over a rounding error."""
    generator = torch.Generator().manual_seed(0)
    x = [torch.cat([part, torch.full_like(part, 0.1)], 1) for part, _ in SETS.values()]
    for part in x[1:]:
        part[:, 1] += 1e-3 * torch.randn(part[:, 1].shape, generator=generator)
    plain = evaluate(*(part[:, :1] for part in x), encoder=lambda s: s.flatten(1))
    for encoder, name in ((lambda s: s.flatten(1), "function"), (None, "ROCKET")):
        row = evaluate(*x, encoder=encoder)[f"Frechet distance ({name})"]
        assert row.value < 20 * plain["Frechet distance (function)"].value + 200


def test_what_is_missing_is_said() -> None:
    report = judged(FCNJudge(steps=2), RidgeJudge(), labels=False, encoder=flat)
    assert {row.skipped for row in report.rows} == {"no labels of the training series"}


# Complaints.


def test_refuses() -> None:
    def half(sets: Sets) -> list[Measure]:
        rows = (("CAS, ridge (function)", "higher", "."), ("another", "higher", "."))
        return [
            Measure(
                group="x",
                rows=rows,
                obstacle="none",
                compute=lambda: Outcome(MADE, MADE, MADE, MADE, 1),
            )
        ]

    with pytest.raises(ValueError, match=r"^evaluate: a measure must take the place of another as"):
        judged(half, RidgeJudge(), encoder=flat)
    with pytest.raises(ValueError, match=r"^FCNJudge: steps must be >= 1; got 0$"):
        FCNJudge(steps=0)
    with pytest.raises(ValueError, match=r"^FCNJudge: width must be >= 1; got 0$"):
        FCNJudge(width=0)
    with pytest.raises(ValueError, match=r"^RidgeJudge: alphas must be one or more positive"):
        RidgeJudge(alphas=())
