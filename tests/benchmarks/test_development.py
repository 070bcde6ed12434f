"""The sets on which a preset is chosen: parts that do not overlap, and formulas that hold."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from benchmarks.studies.ssl_tokens.development import control_charts, motions, split


def test_a_split_keeps_every_case_once_and_the_classes_shares() -> None:
    series = np.arange(40, dtype=np.float64).reshape(40, 1, 1)
    labels = np.array([3] * 30 + [8] * 10)
    parts = split(series, labels, 12, np.random.default_rng(0))
    both = np.concatenate([parts["X_train"], parts["X_test"]]).ravel()
    assert sorted(both.tolist()) == list(range(40))
    assert np.bincount(parts["y_train"]).tolist() == [9, 3]
    assert np.bincount(parts["y_test"]).tolist() == [21, 7]
    assert bool(((parts["X_train"].ravel() >= 30) == (parts["y_train"] == 1)).all())


def test_control_charts_are_what_they_are_called() -> None:
    series, labels = control_charts(20, np.random.default_rng(0))
    assert series.shape == (120, 1, 60)
    assert np.bincount(labels).tolist() == [20] * 6
    slopes = [float(np.polyfit(np.arange(60), c[0], 1)[0]) for c in series]
    rising = [min(slopes[20 * k : 20 * k + 20]) > 0 for k in (2, 4)]
    falling = [max(slopes[20 * k : 20 * k + 20]) < 0 for k in (3, 5)]
    assert all(rising + falling)


def test_motions_dip_in_the_second_class_only() -> None:
    series, labels = motions(20, np.random.default_rng(0))
    assert series.shape == (40, 1, 120)
    level = series[:, 0, -8:].mean(axis=1)  # of the floor on which it ends
    dips = level - series[:, 0, 60:].min(axis=1)
    assert dips[labels == 1].mean() > 2 * dips[labels == 0].mean()
