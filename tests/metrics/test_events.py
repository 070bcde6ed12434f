"""Events against the plain sweep, and by reasoning; a probe that finds them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ssltok.metrics import event_average_precision, event_probe_precision


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


def blips(seed: int) -> tuple[Tensor, Tensor]:
    """Tokens of two kinds of events on a background, told from noisy features."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.zeros(12, 20, dtype=torch.int64)
    for row in y:
        for kind in (1, 2):
            start = int(torch.randint(18, (), generator=generator))
            row[start : start + 3] = kind
    x = torch.randn(12, 20, 3, generator=generator, dtype=torch.float64)
    x[..., 0] += 2 * (y == 1)
    x[..., 1] += 2 * (y == 2)
    x[..., 2] *= 50
    return x, y


def plain_runs(row: list[int], kind: int) -> list[tuple[int, int]]:
    """Every run of one kind, by walking along."""
    runs, start = [], None
    for place, value in enumerate([*row, -9]):
        if value == kind and start is None:
            start = place
        elif value != kind and start is not None:
            runs.append((start, place))
            start = None
    return runs


@pytest.mark.parametrize(("background", "least"), [(0, 0.5), (2, 0.3)])
def test_the_probe_is_its_pieces(background: int, least: float) -> None:
    (x, y), (u, v) = blips(0), blips(1)
    y[0, :4] = -1
    v[1, 5:9] = -1
    known = y >= 0
    mean, std = x[known].mean(0), x[known].std(0, correction=0)
    model = LogisticRegression(C=0.3).fit(((x[known] - mean) / std).numpy(), y[known].numpy())
    likely = model.predict_proba(((u - mean) / std).flatten(0, 1).numpy()).reshape(12, 20, 3)
    scores = []
    for kind in {0, 1, 2} - {background}:
        pred, target = [], []
        for row, truth in zip(likely, v.tolist(), strict=True):
            best = [p.argmax() if k >= 0 else -1 for p, k in zip(row, truth, strict=True)]
            pred.append([[a, b, sum(row[a:b, kind]) / (b - a)] for a, b in plain_runs(best, kind)])
            target.append([[float(a), float(b)] for a, b in plain_runs(truth, kind)])
        scores.append(naive_precision(pred, target, least))
    result = event_probe_precision(
        x, y, u, v, background=background, least_iou=least, inverse_regularization=0.3
    )
    assert result.item() == pytest.approx(sum(scores) / 2)
    assert 0.1 < result < 0.95


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


def test_a_probe_of_perfect_features_finds_every_event_and_of_constant_ones_none() -> None:
    y = torch.tensor([[0, 0, 1, 1, 0, 2, 2, 2], [1, 0, 0, 0, 2, 2, 0, 1]])
    x = 40 * torch.nn.functional.one_hot(y).double()
    assert event_probe_precision(x, y, x, y).item() == 1
    blank = torch.zeros_like(x)
    assert event_probe_precision(blank, y, blank, y).item() == 0


def test_without_an_event_there_is_no_precision() -> None:
    x, y = blips(2)
    assert math.isnan(event_probe_precision(x, y, x, torch.zeros_like(y)).item())


def test_a_class_that_was_never_seen_in_training_is_missed() -> None:
    y = torch.tensor([[0, 0, 1, 1, 0, 0]])
    x = 40 * torch.nn.functional.one_hot(y).double()
    truth = torch.tensor([[3, 0, 1, 1, 0, 0]])
    assert event_probe_precision(x, y, x, truth).item() == 0.5


# Laws.


def test_series_may_come_in_any_order() -> None:
    pred = [torch.tensor([[0.0, 4.0, 0.3]]), torch.tensor([[1.0, 9.0, 0.7], [0.0, 2.0, 0.5]])]
    target = [torch.tensor([[0.0, 5.0]]), torch.tensor([[0.0, 2.0], [30.0, 40.0]])]
    once = event_average_precision(pred, target)
    assert event_average_precision(pred[::-1], target[::-1]) == once
    assert 0 < once < 1


@given(st.integers(0, 10_000))
def test_predictions_of_one_score_may_come_in_any_order(seed: int) -> None:
    """Two scores for eleven events on a coarse grid: overlaps tie as well."""
    generator = torch.Generator().manual_seed(seed)

    def events(count: int, columns: int) -> Tensor:
        rows = torch.randint(6, (count, columns), generator=generator).double()
        rows[:, 1] = rows[:, 0] + 1 + rows[:, 1] % 3
        if columns == 3:
            rows[:, 2] %= 2
        return rows

    pred, target = [events(7, 3), events(4, 3)], [events(4, 2), events(3, 2)]
    once = event_average_precision(pred, target, least_iou=0.3)
    for _ in range(3):
        orders = [torch.randperm(len(p), generator=generator) for p in (*pred, *target)]
        other = event_average_precision(
            [p[order] for p, order in zip(pred, orders[:2], strict=True)][::-1],
            [t[order] for t, order in zip(target, orders[2:], strict=True)][::-1],
            least_iou=0.3,
        )
        assert other == once


def test_one_threshold_has_one_precision() -> None:
    """A right and a wrong one of the same score: 1 of 2, whichever comes first."""
    target = [torch.tensor([[0.0, 10.0]])]
    pred = torch.tensor([[0.0, 10.0, 0.5], [50.0, 60.0, 0.5]])
    for order in ([0, 1], [1, 0]):
        assert event_average_precision([pred[order]], target).item() == 0.5
    # Of two that find one event, the better overlap takes it and leaves the other its own.
    target = [torch.tensor([[0.0, 10.0], [8.0, 16.0]])]
    pred = torch.tensor([[4.0, 14.0, 0.5], [0.0, 10.0, 0.5]])  # 6/14 and 6/12; 1 and 2/16
    for order in ([0, 1], [1, 0]):
        score = event_average_precision([pred[order]], target, least_iou=0.4)
        assert score.item() == 1


# Complaints.


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_refuses_what_is_not_finite(value: float) -> None:
    good = torch.tensor([[0.0, 2.0, 0.5], [3.0, 4.0, 0.5]])
    for column in range(3):
        bad = good.clone()
        bad[1, column] = value
        with pytest.raises(ValueError, match=r"events of pred must be finite; got 1 of 2 rows wi"):
            event_average_precision([bad], [good[:, :2]])
    with pytest.raises(ValueError, match=r"events of target must be finite; got 1 of 2 rows wit"):
        event_average_precision([good], [bad[:, 1:]])
    with pytest.raises(ValueError, match=r"events of target must end after they start; got 1 of 2"):
        event_average_precision([good], [torch.tensor([[0.0, 2.0], [5.0, 4.0]])])


def test_refuses() -> None:
    events, x, codes = torch.zeros(1, 2), torch.zeros(2, 3, 1), torch.zeros(2, 3).long()
    with pytest.raises(ValueError, match=r"must have the same number of series; got 1 and 2$"):
        event_average_precision([torch.zeros(1, 3)], [events, events])
    said = r"^event_average_precision: pred must have 3 columns; got"
    with pytest.raises(ValueError, match=said):
        event_average_precision([events], [events])
    with pytest.raises(ValueError, match=r"least_iou must lie in \[0, 1\]; got 2$"):
        event_average_precision([], [], least_iou=2)
    with pytest.raises(ValueError, match=r"^event_average_precision: least_iou must be > 0; got 0"):
        event_average_precision([], [], least_iou=0)
    with pytest.raises(ValueError, match=r"^event_probe_precision: least_iou must be > 0; got 0$"):
        event_probe_precision(x, codes, x, codes, least_iou=0)
    said = r"^event_probe_precision: test_labels must have shape \(2, 3\)"
    with pytest.raises(ValueError, match=said):
        event_probe_precision(x, codes, x, codes[:1])
    with pytest.raises(ValueError, match=r"classes of train_labels must be >= 2; got 1$"):
        event_probe_precision(x, codes, x, codes)
    said = r"^event_probe_precision: least_iou must lie in \[0, 1\]; got -1$"
    with pytest.raises(ValueError, match=said):
        event_probe_precision(x, codes, x, codes, least_iou=-1)
    said = r"^event_probe_precision: inverse_regularization must be > 0; got 0$"
    with pytest.raises(ValueError, match=said):
        event_probe_precision(x, codes, x, codes, inverse_regularization=0)
