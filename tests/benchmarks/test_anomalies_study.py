"""The study of anomalies: how its series are made, and that it goes on where it stopped."""

import pathlib

import numpy as np
import pytest
from benchmarks.studies import anomalies

from ssltok.data import Dataset
from tests.pipelines.small import small


def waves(cases: int = 70, foreign: int = 5, length: int = 30) -> Dataset:
    """Sines of their own phases and heights, and a few straight lines."""
    random = np.random.default_rng(0)
    phase, height = random.uniform(0, 1, (2, cases, 1))
    usual = 3 + (1 + height) * np.sin(np.arange(length) / 3 + phase)
    lines = 50 + np.arange(length) * random.uniform(1, 2, (foreign, 1))
    series = np.concatenate([usual, lines])[:, None].astype(np.float32)
    labels = ["wave"] * cases + ["line"] * foreign
    return Dataset("waves", series[::2], labels[::2], series[1::2], labels[1::2])


def test_one_cycle_is_foreign_and_nothing_but_its_shape_tells() -> None:
    data = waves()
    for seed in range(5):
        task = anomalies.make_task(data, seed)
        assert len(task.train) == len(task.test) == 30 * task.cycle
        assert 60 <= task.start < 30 * 30 - 60
        rows = task.test.reshape(30, -1)
        bent = [abs(np.diff(row[3:], 2)).max() for row in rows]  # a line does not bend
        assert int(np.argmin(bent)) == task.start // task.cycle
        assert min(bent) < 1e-4 < sorted(bent)[1]
        np.testing.assert_allclose(rows[:, 3:].std(1), rows[:, 3:].std(1).mean(), rtol=0.2)
        jumps = abs(np.diff(task.test))[29::30]
        assert jumps.max() < 1e-9
        again = anomalies.make_task(data, seed)
        np.testing.assert_array_equal(again.test, task.test)
    assert anomalies.make_task(data, 1).start != anomalies.make_task(data, 2).start


def test_no_case_stands_twice() -> None:
    task = anomalies.make_task(waves(), 3)
    rows = np.concatenate([task.train, task.test]).reshape(60, -1)[:, 3:]
    assert len(np.unique(rows.round(9), axis=0)) == 60


def test_a_guess_is_the_share_of_right_places() -> None:
    task = anomalies.make_task(waves(), 0)
    right = min(900, task.start + 30 + 100) - max(0, task.start - 100)
    assert anomalies.guess(task) == pytest.approx(right / 900)


def test_a_set_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="one channel and 60 cases of a class; got 1 and 59"):
        anomalies.make_task(waves(59), 0)


def test_rows_are_not_made_again(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = waves()
    np.savez(
        tmp_path / "waves.npz", X_train=data.train, X_test=data.test,
        y_train=np.array(data.train_labels), y_test=np.array(data.test_labels),
    )  # fmt: skip
    monkeypatch.setattr(anomalies, "of_tokens", lambda task, config, seed: task.test)
    monkeypatch.setattr(anomalies, "_stump", lambda: naive_stump)
    out = tmp_path / "rows.csv"
    words = ["--data", str(tmp_path), "--sets", "waves", "--out", str(out), "--steps", "2"]
    anomalies.main([*words, "--seeds", "1"])
    first = out.read_text()
    anomalies.main([*words, "--seeds", "2"])
    assert out.read_text().startswith(first)
    rows = anomalies._read(out)
    keys = [(row["seed"], row["arm"]) for row in rows]
    assert len(set(keys)) == len(keys)
    arms = {
        "guess", "tokens", "matrix profile", "matrix profile, alone", "matrix profile, equal time"
    }  # fmt: skip
    assert set(keys) == {(seed, arm) for seed in "01" for arm in arms}
    assert {row["right"] for row in rows if row["arm"] == "matrix profile"} == {"1.0000"}
    printed = capsys.readouterr().out
    assert "| guess | " in printed
    line = next(x for x in reversed(printed.splitlines()) if x.startswith("| waves"))
    assert [line.split(" | ")[k] for k in (1, 4)] == ["2", "2.0"]  # of two series; the profile's


def naive_stump(
    series: anomalies.Array,
    size: int,
    T_B: anomalies.Array | None = None,  # noqa: N803  (stumpy's name)
    *,
    ignore_trivial: bool = True,
) -> anomalies.Array:
    """Distance of each standardised stretch to the nearest other one: stumpy takes long to load."""

    def stretches(x: anomalies.Array) -> anomalies.Array:
        rows = np.lib.stride_tricks.sliding_window_view(x, size)
        standard: anomalies.Array = (rows - rows.mean(1, keepdims=True)) / rows.std(
            1, keepdims=True
        )
        return standard

    one, two = stretches(series), stretches(series if T_B is None else T_B)
    squares = 2 * size - 2 * one @ two.T
    if ignore_trivial:
        apart = abs(np.arange(len(one))[:, None] - np.arange(len(two)))
        squares[apart <= np.ceil(size / 4)] = np.inf
    nearest: anomalies.Array = np.sqrt(squares.min(1).clip(0))[:, None]
    return nearest


def test_a_tokenizer_gives_a_score_for_each_sample() -> None:
    task = anomalies.make_task(waves(), 0)
    scores = anomalies.of_tokens(task, small(1), 0)
    assert scores.shape == task.test.shape
    assert np.isfinite(scores).all()


def test_a_matrix_profile_of_many_lengths_ends_with_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = anomalies.make_task(waves(), 0)
    sizes = anomalies.lengths(task.cycle)
    assert sizes[:6] == [30, 8, 40, 24, 56, 16]
    assert sorted(sizes) == list(range(8, 61))

    def profile(task: anomalies.Task, *, size: int) -> anomalies.Array:
        scores: anomalies.Array = np.arange(len(task.test)) * float(size) ** 1.5
        return scores

    monkeypatch.setattr(anomalies, "of_profile", profile)
    now = iter([0.0, 0.6, 1.2, 1.8])
    monkeypatch.setattr("time.process_time", lambda: next(now))
    scores, number = anomalies.of_profiles(task, 1.0)
    assert number == 2
    np.testing.assert_allclose(scores, np.arange(900.0) * 19)


def test_the_sets_are_fixed() -> None:
    assert len(anomalies.SETS) * anomalies.SEEDS >= 100


def test_the_table_says_shares_and_paired_differences(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        f"waves,{seed},{arm},30,400,410,{right},{seconds},1"
        for arm, all_right, seconds in (
            ("tokens", (1, 1, 0, 1), 8.0),
            ("profile", (1, 0, 0, 0), 0.5),
        )
        for seed, right in enumerate(all_right)
    ]  # fmt: skip
    (tmp_path / "rows.csv").write_text("\n".join([",".join(anomalies.COLUMNS), *rows]))
    anomalies.main(["--out", str(tmp_path / "rows.csv"), "--table"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| tokens | 75.0% of 4 | 30.1% to 95.4% | 8.0 |  |"
    margin = 1.96 * np.std([0, 1, 0, 1], ddof=1) / 2 * 100
    assert lines[3] == (
        f"| profile | 25.0% of 4 | 4.6% to 69.9% | 0.5 | -50.0 ({-50 - margin:+.1f} to "
        f"{margin - 50:+.1f}) |"
    )
    assert lines[-1] == "| waves | 4 | 3.0 | 1.0 |"
