"""Segments and events against loops and scikit-learn, and by reasoning."""

import math
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score
from torch import Tensor

from ssltok.metrics import dense_probe_iou, event_average_precision, mean_iou


def naive_precision(
    pred: list[list[list[float]]], target: list[list[list[float]]], least: float
) -> float:
    """Average precision by sweeping a threshold over the scores, all scores different."""
    events = sorted(
        ((e[2], i, e[0], e[1]) for i, series in enumerate(pred) for e in series), reverse=True
    )
    total, hits, points = sum(map(len, target)), 0, []
    used: set[tuple[int, int]] = set()
    for rank, (_, i, start, end) in enumerate(events, 1):
        best, which = 0.0, -1
        for j, (a, b) in enumerate(target[i]):
            shared = max(0.0, min(end, b) - max(start, a))
            iou = shared / (end - start + b - a - shared)
            if (i, j) not in used and iou > best:
                best, which = iou, j
        if best >= least:
            used.add((i, which))
            hits += 1
        points.append((hits / total, hits / rank))
    area, last = 0.0, 0.0
    for k, (recall, _) in enumerate(points):
        area += (recall - last) * max(p for _, p in points[k:])
        last = recall
    return area


# Oracle.


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_mean_iou_is_scikit_learns_jaccard(seed: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pred = torch.randint(classes, (3, 8), generator=generator)
    target = torch.randint(-1, classes, (3, 8), generator=generator)
    known = target >= 0
    if known.any():
        expected = jaccard_score(target[known].numpy(), pred[known].numpy(), average="macro")
        assert mean_iou(pred, target, classes=classes + 2).item() == pytest.approx(expected)


@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.5]))
def test_average_precision_is_the_sweep(seed: int, least: float) -> None:
    generator = torch.Generator().manual_seed(seed)

    def events(count: int, columns: int) -> Tensor:
        rows = torch.rand(count, columns, generator=generator, dtype=torch.float64)
        rows[:, 0] *= 6
        rows[:, 1] = rows[:, 0] + 1 + 2 * rows[:, 1]
        return rows

    pred, target = [events(4, 3), events(0, 3), events(3, 3)], [events(2, 2) for _ in range(3)]
    expected = naive_precision([p.tolist() for p in pred], [t.tolist() for t in target], least)
    result = event_average_precision(pred, target, least_iou=least)
    assert result.item() == pytest.approx(expected)


def test_dense_probe_is_logistic_regression_on_all_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (20, 6), generator=generator)
    x = torch.randn(20, 6, 4, generator=generator, dtype=torch.float64)
    x[..., 0] += y
    x[..., 1] *= 100
    y[0, :3] = -1
    a, b = x[:12], x[12:]
    known = y[:12] >= 0
    mean, std = a[known].mean(0), a[known].std(0, correction=0)
    model = LogisticRegression(C=0.1).fit(((a[known] - mean) / std).numpy(), y[:12][known].numpy())
    pred = torch.from_numpy(model.predict(((b - mean) / std).flatten(0, 1).numpy())).view(8, 6)
    expected = mean_iou(pred, y[12:], classes=3)
    result = dense_probe_iou(a, y[:12], b, y[12:], inverse_regularization=0.1)
    assert result == expected
    assert 0.2 < result < 0.9


# Known values.


def test_events_found_missed_doubled_and_invented() -> None:
    target = [torch.tensor([[0.0, 10.0]]), torch.tensor([[0.0, 10.0]])]
    exact, twice = [0.0, 10.0, 0.9], [0.0, 10.0, 0.8]
    empty = torch.zeros(0, 3)
    found = [torch.tensor([exact]), torch.tensor([twice])]
    assert event_average_precision(found, target).item() == 1
    missed = [torch.tensor([exact]), empty]
    assert event_average_precision(missed, target).item() == 0.5
    doubled = [torch.tensor([exact, twice]), torch.tensor([[0.0, 10.0, 0.7]])]
    assert event_average_precision(doubled, target).item() == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert event_average_precision([empty, empty], target).item() == 0
    assert math.isnan(event_average_precision(missed, [empty[:, :2]] * 2).item())


def test_the_bar_of_overlap_counts_as_found() -> None:
    pred, target = [torch.tensor([[0.0, 5.0, 1.0]])], [torch.tensor([[0.0, 10.0]])]
    assert event_average_precision(pred, target, least_iou=0.5).item() == 1
    assert event_average_precision(pred, target, least_iou=0.51).item() == 0


def test_nothing_known_is_undefined() -> None:
    nothing = torch.full((3,), -1)
    assert math.isnan(mean_iou(torch.zeros(3).long(), nothing, classes=2).item())


# Laws.


def test_series_may_come_in_any_order() -> None:
    pred = [torch.tensor([[0.0, 4.0, 0.3]]), torch.tensor([[1.0, 9.0, 0.7], [0.0, 2.0, 0.5]])]
    target = [torch.tensor([[0.0, 5.0]]), torch.tensor([[0.0, 2.0], [30.0, 40.0]])]
    once = event_average_precision(pred, target)
    assert event_average_precision(pred[::-1], target[::-1]) == once
    assert 0 < once < 1


# Complaints.


def test_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, events = torch.zeros(2, 3).long(), torch.zeros(1, 2)
    with pytest.raises(ValueError, match=r"^mean_iou: pred and target must share one shape; got"):
        mean_iou(codes, codes[:1], classes=2)
    with pytest.raises(ValueError, match=r"must have the same number of series; got 1 and 2$"):
        event_average_precision([torch.zeros(1, 3)], [events, events])
    with pytest.raises(
        ValueError, match=r"^event_average_precision: pred must have 3 columns; got"
    ):
        event_average_precision([events], [events])
    with pytest.raises(ValueError, match=r"least_iou must lie in \[0, 1\]; got 2$"):
        event_average_precision([], [], least_iou=2)
    x = torch.zeros(2, 3, 1)
    with pytest.raises(
        ValueError, match=r"^dense_probe_iou: train_labels must have shape \(2, 3\)"
    ):
        dense_probe_iou(x, codes[:1], x, codes)
    with pytest.raises(ValueError, match=r"classes of train_labels must be >= 2; got 1$"):
        dense_probe_iou(x, codes, x, codes)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    labels = torch.tensor([[0, 1, 0], [1, 0, 1]])
    with pytest.raises(ImportError, match=r"scikit-learn is needed; .*ssltok\[pipelines\]"):
        dense_probe_iou(x, labels, x, labels)
