"""The study of frozen features: what they are, how they are scored, and its table."""

import pathlib

import numpy as np
import pytest
import torch
from benchmarks.studies import frozen as study
from benchmarks.studies.anybody_table import read_rows
from benchmarks.studies.frozen import FIELDS, features_of, main, scores, table

from tests.benchmarks.small import saved, toy


def test_features_of_a_set(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "peers", lambda *_: study.whole)  # aeon is no part of the project
    saved(tmp_path, toy(24, 16))
    out = tmp_path / "rows.csv"
    words = ["--data", str(tmp_path), "--out", str(out), "--seconds", "0.01"]
    main(words)
    rows = read_rows(out)
    assert [row["features"] for row in rows] == [
        "embedding", "tokens", "embedding, no objective", "tokens, no objective",
        "embedding, start", "tokens, start", "raw", "catch22", "MiniRocket",
    ]  # fmt: skip
    assert rows[6]["columns"] == "33"
    main(words)
    assert read_rows(out) == rows


def test_channels_stay_apart_where_all_series_end_early() -> None:
    """Ends are held in each channel; the last column of all is missing."""
    series = np.arange(36.0).reshape(2, 2, 9)
    wanted = series.copy()
    wanted[:, :, 8] = series[:, :, 7]
    series[:, :, 8] = np.nan
    assert np.array_equal(study.whole(series), wanted)


def test_one_step_is_the_start_and_no_objective_another_fit() -> None:
    series = toy(24, 16).train
    found = [
        features_of(kind, series, seconds=0.01, length=33)[f"tokens{behind}"](series)
        for kind, behind in (("", ""), ("no objective", ", no objective"), ("start", ", start"))
    ]
    assert found[0].shape == found[1].shape == found[2].shape
    assert not np.allclose(found[0], found[1])
    assert not np.allclose(found[1], found[2])


def test_scores_are_of_standardised_columns_and_rockets_have_ridge() -> None:
    """The second column says it all, in small units; the constant one says nothing."""
    random = np.random.default_rng(0)
    y = torch.arange(40) % 2
    x = np.stack([1e6 * random.standard_normal(40), 1e-3 * y.numpy(), np.full(40, 7.0)], axis=1)
    for name in ("embedding", "MiniRocket"):
        assert scores(name, x[:20], y[:20], x[20:], y[20:])[0] == 1.0
    assert scores("raw", x[:20], y[:20], x[20:], y[20:])[1] >= 0.9


def test_the_table_pairs_over_sets_that_all_have() -> None:
    base = dict.fromkeys(FIELDS, "0")
    rows = [
        base | {"set": name, "features": features, "linear": linear, "neighbours": "0.5"}
        for name, features, linear in (
            ("a", "embedding", "0.8"), ("a", "raw", "0.6"), ("b", "embedding", "0.9"),
            ("b", "raw", "0.9"), ("c", "embedding", "0.1"), ("a", "MultiRocket", "0.7"),
            ("a", "tokens", "0.5"), ("b", "tokens", "0.5"), ("a", "MiniRocket", "0.4"),
            ("b", "MiniRocket", "0.4"),
        )
    ]  # fmt: skip
    lines = list(table(rows))
    assert lines[0] == (
        "| features, means of 2 sets | linear | embedding less it | ahead, behind | 5 neighbours |"
    )
    assert lines[2] == "| embedding | 85.0 |  |  | 50.0 |"
    # differences of 20 and 0 points: mean 10, half width 12.706 * 10
    assert lines[3] == "| raw | 75.0 | +10.0 (-117.1 to +137.1) | 1, 0 | 50.0 |"
    assert lines[-1] == "| a | 80.0 | 50.0 | 40.0 | 70.0 |"
