"""Anomaly metrics: the archive's rule, and precision and recall of points and of stretches."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.metrics import archive_accuracy, point_precision_recall, range_precision_recall


def marks(text: str) -> Tensor:
    return torch.tensor([[letter == "x" for letter in text]])


# oracle: the equations of Tatbul et al., by sets of places


def stretches(row: list[bool]) -> list[set[int]]:
    groups = itertools.groupby(enumerate(row), key=lambda pair: pair[1])
    return [{place for place, _ in members} for inside, members in groups if inside]


def reward(
    one: set[int], others: list[set[int]], alpha: float, gamma: Callable[[int], float],
    delta: Callable[[int, int], float],
) -> float:  # fmt: skip
    """Equations 4 to 7; `delta(i, n)` is the weight of the i-th of n places, from 1."""
    order = sorted(one)
    touching = [other for other in others if one & other]
    existence = 1.0 if touching else 0.0
    factor = 1.0 if len(touching) <= 1 else gamma(len(touching))
    omega = 0.0
    for other in touching:
        mine = sum(delta(i, len(one)) for i, place in enumerate(order, 1) if place in other)
        omega += mine / sum(delta(i, len(one)) for i in range(1, len(one) + 1))
    return alpha * existence + (1 - alpha) * factor * omega


def front(i: int, n: int) -> float:
    return n - i + 1


def middle(i: int, n: int) -> float:
    return i if i <= n / 2 else n - i + 1


@given(
    st.integers(1, 3), st.integers(1, 14), st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 1.0])
)
def test_stretches_as_in_the_paper(cases: int, length: int, seed: int, alpha: float) -> None:
    random = np.random.default_rng(seed)
    pred, target = random.random((2, cases, length)) < random.uniform(0.2, 0.8)
    result = range_precision_recall(
        torch.from_numpy(pred),
        torch.from_numpy(target),
        existence_weight=alpha,
        cardinality=lambda n: n**-0.5,
        precision_bias=lambda n: torch.tensor([middle(i, n) for i in range(1, n + 1)]),
        recall_bias=lambda n: torch.arange(n, 0, -1),
    )
    sides = []
    for one, other, weight, delta in ((pred, target, 0.0, middle), (target, pred, alpha, front)):
        rewards = [
            reward(part, stretches(b.tolist()), weight, lambda n: n**-0.5, delta)
            for a, b in zip(one, other, strict=True)
            for part in stretches(a.tolist())
        ]
        sides.append(sum(rewards) / len(rewards) if rewards else math.nan)
    np.testing.assert_allclose([part.item() for part in result], sides, rtol=1e-12)


@given(st.integers(1, 3), st.integers(1, 14), st.integers(0, 2**31))
def test_points_are_counted(cases: int, length: int, seed: int) -> None:
    pred, target = np.random.default_rng(seed).random((2, cases, length)) < 0.4
    result = point_precision_recall(torch.from_numpy(pred), torch.from_numpy(target))
    hits = sum(a and b for a, b in zip(pred.flat, target.flat, strict=True))
    expected = [hits / n.sum() if n.sum() else math.nan for n in (pred, target)]
    np.testing.assert_allclose([part.item() for part in result], expected)


# known values


def test_the_last_and_the_first_right_place() -> None:
    """The anomaly is samples 300 to 349: 50 long, so 100 on either side are right."""
    target = torch.tensor([[300, 350]])
    for place, right in ((199, 0), (200, 1), (320, 1), (449, 1), (450, 0)):
        score = torch.zeros(900)
        score[place] = 1
        assert archive_accuracy([score], target).item() == right
    for place, right in ((99, 0), (100, 1), (699, 1), (700, 0)):  # 200 long: as many on either side
        score = torch.zeros(900)
        score[place] = 1
        assert archive_accuracy([score], torch.tensor([[300, 500]])).item() == right


def test_a_constant_score_is_a_guess() -> None:
    target = torch.tensor([[40, 50]])
    assert archive_accuracy([torch.ones(100)], target, margin=0).item() == pytest.approx(0.3)


def test_series_of_unequal_lengths() -> None:
    scores = [torch.arange(9.0), torch.arange(5.0).flip(0), torch.arange(7.0)]
    target = torch.tensor([[7, 8], [0, 1], [0, 1]])
    assert archive_accuracy(scores, target, margin=1).item() == pytest.approx(2 / 3)


def test_single_samples_are_points() -> None:
    pred, target = marks("x..x.x...x"), marks("x....x.x..")
    points = point_precision_recall(pred, target)
    assert range_precision_recall(pred, target) == points


def test_nothing_marked_and_nothing_to_find() -> None:
    for metric in (point_precision_recall, range_precision_recall):
        precision, recall = metric(marks("...."), marks(".xx."))
        assert math.isnan(precision)
        assert recall.item() == 0
        precision, recall = metric(marks(".xx."), marks("...."))
        assert precision.item() == 0
        assert math.isnan(recall)


def test_touching_counts_as_much_as_its_weight() -> None:
    """Of four anomalous samples one is marked: 1/4, or 1 where touching is all."""
    pred, target = marks(".x........"), marks(".xxxx.....")
    for weight, expected in ((0.0, 0.25), (1.0, 1.0), (0.2, 0.2 + 0.8 * 0.25)):
        result = range_precision_recall(pred, target, existence_weight=weight)
        assert result.recall.item() == pytest.approx(expected)
        assert result.precision.item() == 1


# complaints


@pytest.mark.parametrize(
    ("scores", "target", "message"),
    [
        ([], torch.zeros(0, 2, dtype=torch.int64), "series must be >= 1; got 0"),
        ([torch.zeros(9)], torch.zeros(1, 2), "target must be int64"),
        ([torch.zeros(9)], torch.tensor([[1, 2], [1, 2]]), r"target must be \(cases, 2\)"),
        ([torch.zeros(9)], torch.tensor([[1, 2, 3]]), r"target must be \(cases, 2\)"),
        ([torch.zeros(9)], torch.tensor([[3, 3]]), "at least one sample .* got 3 to 3"),
        ([torch.zeros(9)], torch.tensor([[8, 10]]), "lie within .* got 8 to 10"),
        ([torch.zeros(9)], torch.tensor([[-1, 3]]), "lie within .* got -1 to 3"),
        ([torch.tensor([0.0, torch.nan])], torch.tensor([[0, 1]]), "scores must be finite"),
        ([torch.zeros(9, dtype=torch.int64)], torch.tensor([[0, 1]]), "scores must be floating"),
        ([torch.zeros(1, 9)], torch.tensor([[0, 1]]), r"scores must be \(length,\)"),
    ],
)
def test_the_archive_complains(scores: list[Tensor], target: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=f"archive_accuracy: .*{message}"):
        archive_accuracy(scores, target)


@pytest.mark.parametrize("metric", [point_precision_recall, range_precision_recall])
def test_marks_complain(metric: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="pred must be boolean"):
        metric(torch.zeros(1, 4), marks("...."))
    with pytest.raises(ValueError, match=r"target must have shape \(1, 4\); got \(1, 5\)"):
        metric(marks("...."), marks("....."))
    with pytest.raises(ValueError, match=r"pred must be \(cases, length\)"):
        metric(marks("....")[0], marks("....")[0])


def test_functions_that_give_nonsense_are_refused() -> None:
    pred, target = marks("x.x."), marks("xxx.")
    with pytest.raises(ValueError, match=r"existence_weight must lie in \[0, 1\]; got 1.5"):
        range_precision_recall(pred, target, existence_weight=1.5)
    with pytest.raises(ValueError, match=r"a factor of cardinality must lie in \[0, 1\]; got 2"):
        range_precision_recall(pred, target, cardinality=lambda n: n)
    for bias in (lambda n: -torch.ones(n), lambda n: torch.ones(n + 1), torch.zeros):
        with pytest.raises(ValueError, match="a bias must give 3 weights >= 0, not all 0"):
            range_precision_recall(pred, target, recall_bias=bias)
