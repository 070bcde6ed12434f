"""The study of objectives at equal time: its differences, its steps and weights, its rows."""

import csv
import math
import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.studies import objectives, objectives_tables
from benchmarks.studies.objectives_tables import Row, differences, tables, whole_seeds
from benchmarks.studies.ssl_tokens.data import find_datasets, make_split

from ssltok.signal import ChannelScaler


def row(name: str, arm: str, seed: int, probe: float, fid: float) -> Row:
    values = dict.fromkeys(objectives.FIELDS, "0.5")
    return values | {
        "set": name, "arm": arm, "seed": str(seed), "probe": str(probe), "frechet": str(fid),
        "frechet_real": "2.0",
    }  # fmt: skip


ROWS = [
    row("A", "none", 0, 0.50, 100.0), row("A", "none", 1, 0.52, 120.0),
    row("B", "none", 0, 0.80, 10.0), row("B", "none", 1, 0.80, 11.0),
    row("A", "barlow_twins", 0, 0.70, 100.0), row("A", "barlow_twins", 1, 0.73, 240.0),
    row("B", "barlow_twins", 0, 0.99, 20.0), row("B", "barlow_twins", 1, 0.98, 11.0),
]  # fmt: skip


def test_differences_are_paired_and_those_of_fid_are_ratios() -> None:
    probe = differences(ROWS, "barlow_twins", "none", "probe")
    assert probe.mean == pytest.approx((20 + 21 + 19 + 18) / 4)
    assert probe.n == 4
    half = 3.182446 * np.std([20, 21, 19, 18], ddof=1) / 2
    assert probe.high - probe.mean == pytest.approx(half, rel=1e-5)
    fid = differences(ROWS, "barlow_twins", "none", "frechet")
    assert math.exp(fid.mean) == pytest.approx(2**0.5)  # ratios 1, 2, 2, 1


def test_a_seed_without_every_cell_is_left_out() -> None:
    assert whole_seeds(ROWS) == ROWS
    assert {one["seed"] for one in whole_seeds(ROWS[:-1])} == {"0"}
    assert list(tables(ROWS[:1] + ROWS[3:4])) == ["No seed has every set and arm yet."]


def test_the_tables_say_what_is_clear() -> None:
    text = "\n".join(tables(ROWS))
    assert "| barlow_twins | **+19.5** (+17.4 to +21.6) |" in text
    assert "2 sets; seeds: 0, 1;" in text
    assert "- Probe on tokens clearly above `none`'s: `barlow_twins`; below: none." in text
    assert "- FID clearly lower than `none`'s: none; higher: none." in text
    assert "- Probe on tokens clearly above `barlow_twins`'s: none; below: `none`." in text
    assert "| none | 51.0 %; 110 | 80.0 %; 10.5 |" in text


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    generator = np.random.default_rng(0)
    labels = np.arange(24) % 2
    time = np.linspace(0, 6, 32) * (1 + labels[:, None])
    series = np.sin(time + generator.uniform(0, 6, (24, 1))).astype(np.float32)[:, None]
    np.savez(
        tmp_path / "toy.npz", X_train=series, y_train=labels, X_test=series[::-1] + 0.1,
        y_test=labels[::-1],
    )  # fmt: skip
    return tmp_path


def test_a_run_gives_equal_time_and_is_resumed(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "STEPS_ONE", 6)
    monkeypatch.setattr(objectives, "STEPS_TWO", 2)
    monkeypatch.setattr(objectives, "ROUNDS", 4)
    monkeypatch.setattr(objectives, "GENERATED", 12)

    def main(*words: str) -> None:
        common = ["--data", str(folder), "--results", str(folder), "--sets", "toy", "--seeds", "0"]
        objectives.main([*common, "--arms", "none", *words])

    def read(name: str) -> list[Row]:
        with (folder / name).open(newline="") as stream:
            return list(csv.DictReader(stream))

    main("barlow_twins", "frossl", "--calibrate")
    steps = {one["arm"]: one for one in read("objectives_steps.csv")}
    assert steps["none"]["steps_one"] == "6"
    for one in steps.values():
        assert int(one["steps_one"]) == max(1, round(6 / float(one["time_ratio"])))
    norms = [float(steps[arm]["gradient"]) for arm in ("barlow_twins", "frossl")]
    assert steps["barlow_twins"]["weight"] == "1"
    assert float(steps["frossl"]["weight"]) == pytest.approx(norms[0] / norms[1], rel=0.06)
    main("frossl")
    rows = read(objectives.ROWS_FILE)
    assert [one["arm"] for one in rows] == ["none", "frossl"]
    assert rows[1]["weight"] == str(float(steps["frossl"]["weight"]))
    main("frossl")
    assert read(objectives.ROWS_FILE) == rows


def test_the_teacher_finds_the_series_it_is_asked_for(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = find_datasets(["toy"], folder=folder)["toy"]
    split = make_split("toy", data, kind="test", seed=0, most_test=100)
    rows = torch.arange(24.0)[:, None]
    monkeypatch.setattr(objectives, "multirocket_rows", lambda *key: rows)
    teacher: Any = objectives.teacher_of(split)
    scaled = ChannelScaler().fit(split.train.values)(split.train.values)
    assert teacher(scaled[[7, 3, 20]]).flatten().tolist() == [7, 3, 20]


def test_the_arms_are_words_of_the_config_but_one() -> None:
    words = {arm for arm in objectives_tables.ARMS if arm != objectives_tables.ALIGNED}
    assert {"none", "barlow_twins", "lenepa", "simdino", "frossl", "visreg", "lejepa"} <= words
