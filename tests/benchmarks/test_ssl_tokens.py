"""The study's harness: small cells end to end, resumed, on splits that do not leak."""

import csv
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.studies.ssl_tokens import cell as cells
from benchmarks.studies.ssl_tokens import run as runs
from benchmarks.studies.ssl_tokens.arms import build_arm
from benchmarks.studies.ssl_tokens.calibrate import calibrate, read_calibration, steps_for
from benchmarks.studies.ssl_tokens.cell import Cell, Settings, cell_path, run_cell
from benchmarks.studies.ssl_tokens.collect import COLUMNS, collect
from benchmarks.studies.ssl_tokens.data import find_datasets, make_split
from benchmarks.studies.ssl_tokens.judge import JudgeSettings
from benchmarks.studies.ssl_tokens.run import main, run_cells
from benchmarks.studies.ssl_tokens.train import train_arm

from ssltok.data import Dataset
from ssltok.pipelines import fit
from tests.benchmarks.small import BARLOW, toy
from tests.pipelines.small import series

ROOT = pathlib.Path(__file__).parents[2]
JUDGE = JudgeSettings(fcn_steps=3, fcn_width=4, kernels=20, most_frechet=10, most_generated=24)
TINY = Settings(size="tiny", most_test=14, judge=JUDGE)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with one data set in it."""
    data = toy()
    place = tmp_path / "data"
    place.mkdir()
    np.savez(
        place / "toy.npz",
        X_train=data.train, y_train=np.array(data.train_labels),
        X_test=data.test, y_test=np.array(data.test_labels),
    )  # fmt: skip
    return place


@pytest.fixture(autouse=True)
def _no_judge_of_other_tests() -> None:
    cells.JUDGES.clear()
    cells.TRAINED.clear()


def cell_of(arm: str, data: Dataset, folder: pathlib.Path, **changes: Any) -> dict[str, Any]:
    settings = TINY._replace(**changes)
    return run_cell(Cell("toy", arm, 3), data, settings, steps=(2, 2), folder=folder)


def test_the_command_runs_a_folder_end_to_end(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    results = tmp_path / "results"
    main(
        ["--results", str(results), "--data", str(folder), "--arms", "one", "two+vibcreg+slice",
         "--seeds", "0", "5", "--steps1", "2", "--steps2", "2", "--size", "tiny", "--quiet",
         "--fcn-steps", "2", "--most-generated", "24", "--most-frechet", "10"]
    )  # fmt: skip
    assert collect([results], tmp_path / "out.csv") == 4
    with open(tmp_path / "out.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    counts = Counter((r["arm"], r["seed"]) for r in rows)
    assert counts == {
        ("one", "0"): 19, ("one", "5"): 19, ("two+vibcreg+slice", "0"): 19,
        ("two+vibcreg+slice", "5"): 19, ("real", "0"): 6, ("real", "5"): 6,
    }  # fmt: skip
    assert len({(r["dataset"], r["arm"], r["seed"], r["metric"]) for r in rows}) == len(rows)
    assert all(np.isfinite(float(r["value"])) for r in rows)
    fid = next(r for r in rows if r["arm"] == "one" and r["metric"] == "fid" and r["seed"] == "5")
    real = next(r for r in rows if r["arm"] == "real" and r["metric"] == "fid" and r["seed"] == "5")
    assert fid["floor"] == real["value"]
    assert fid["n"] == "8"  # half of the test series; the other half gives the floor
    assert fid["steps1"] == "2"
    assert len(fid["commit"]) == 40
    assert "thread" in fid["machine"]


def test_a_killed_run_goes_on_where_it_was(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [(Cell("toy", arm, 0), (2, 2)) for arm in ("one", BARLOW, "two")]
    seen: list[str] = []

    def stub(cell: Cell, *rest: Any, **options: Any) -> Any:
        if cell.arm == "two" and not seen.count("two"):
            seen.append("two")
            raise KeyboardInterrupt
        seen.append(cell.arm)
        return run_cell(cell, *rest, **options)

    monkeypatch.setattr(runs, "run_cell", stub)
    with pytest.raises(KeyboardInterrupt):
        run_cells(jobs, {"toy": toy()}, TINY, folder=tmp_path, progress=False)
    first = cell_path(tmp_path, jobs[0][0]).read_bytes()
    assert not cell_path(tmp_path, jobs[2][0]).exists()
    assert run_cells(jobs, {"toy": toy()}, TINY, folder=tmp_path, progress=False) == []
    assert seen == ["one", BARLOW, "two", "two"]
    assert cell_path(tmp_path, jobs[0][0]).read_bytes() == first
    # Another run of the same cell, elsewhere, has the same figures and the same weights.
    one = json.loads(cell_path(tmp_path, jobs[2][0]).read_text())
    other = run_cell(jobs[2][0], toy(), TINY, steps=(2, 2), folder=tmp_path / "elsewhere")
    assert other["figures"] == one["figures"]
    assert other["digests"] == one["digests"]


def test_a_cell_that_fails_does_not_end_the_run(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stub(cell: Cell, *rest: Any, **options: Any) -> Any:
        if cell.arm == "one":
            raise RuntimeError("no luck")
        return run_cell(cell, *rest, **options)

    monkeypatch.setattr(runs, "run_cell", stub)
    jobs = [(Cell("toy", arm, 0), (1, 1)) for arm in ("one", "two")]
    failed = run_cells(jobs, {"toy": toy()}, TINY, folder=tmp_path, progress=False)
    assert failed == ["toy one seed 0: RuntimeError: no luck"]
    assert cell_path(tmp_path, jobs[1][0]).is_file()
    assert "no luck" in next((tmp_path / "errors").glob("*.txt")).read_text()


def test_training_does_not_see_the_test_part(tmp_path: pathlib.Path) -> None:
    data = toy()
    other = data._replace(
        test=series(16, seed=9) * 100, test_labels=list(reversed(data.test_labels or []))
    )
    assert other.test_labels != data.test_labels
    plain, changed = (
        cell_of("two+barlow_twins+gauss", d, tmp_path / str(k)) for k, d in enumerate((data, other))
    )
    for key in ("training", "generated"):
        assert plain["digests"][key] == changed["digests"][key]
    assert plain["digests"]["data"] != changed["digests"]["data"]
    assert plain["figures"]["reconstruction"] < changed["figures"]["reconstruction"]
    judges = [sorted((tmp_path / str(k) / "judges").glob("*")) for k in range(2)]
    assert [p.name for p in judges[0]] == [p.name for p in judges[1]]
    weights = [np.load(j[0]) for j in judges]
    assert all(np.array_equal(weights[0][k], weights[1][k]) for k in weights[0].files)


def test_probing_while_training_changes_nothing(tmp_path: pathlib.Path) -> None:
    plain = cell_of(BARLOW, toy(), tmp_path / "a")
    probed = cell_of(BARLOW, toy(), tmp_path / "b", probe_every=1)
    assert probed["digests"] == plain["digests"]
    assert plain["curve"] == []
    assert [point["step"] for point in probed["curve"]] == [1, 2]
    last = {k: v for k, v in probed["curve"][-1].items() if k not in ("step", "seconds")}
    assert last == {k: v for k, v in probed["figures"].items() if k in last}
    assert "svm_grid" in last


@pytest.mark.parametrize(
    "arm",
    [
        BARLOW,
        "two",
        "one+nt_xent+gauss",
        "two+vicreg+slice:start=noise",
        f"{BARLOW}:views=2,attach=quantized,paid=all",
    ],
)
def test_an_arm_is_the_librarys_fit(arm: str) -> None:
    built = build_arm(arm, size="tiny")
    split = make_split("toy", toy(), kind="test", seed=0, most_test=10)
    steps = {"tokenizer_training": 2, "prior_training": 3}
    config = dataclasses.replace(
        built.config,
        **{k: dataclasses.replace(getattr(built.config, k), steps=v) for k, v in steps.items()},
    )
    want = fit(
        split.train, split.train_labels, config, classes=2, seed=4, cpu=True, parts=built.parts
    )
    got = train_arm(built._replace(config=config), split, steps=(2, 3), seed=4)
    for a, b in ((want.tokenizer, got.tokenizer), (want.prior, got.prior)):
        states = a.state_dict(), b.state_dict()
        assert list(states[0]) == list(states[1])
        assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_steps_follow_from_seconds(tmp_path: pathlib.Path) -> None:
    assert steps_for([0.1, 0.04], seconds=12.0, share=0.25) == (30, 225)
    assert steps_for([9.0, 9.0], seconds=1.0, share=0.5) == (1, 1)
    times = calibrate({"toy": toy()}, ["one", BARLOW], TINY, folder=tmp_path, rounds=1)
    assert times == read_calibration(tmp_path)
    assert list(times["toy"]) == ["one", BARLOW]
    assert all(0 < t < 10 for arm in times["toy"].values() for t in arm)
    again = calibrate({"toy": toy()}, ["two", "one"], TINY, folder=tmp_path, rounds=1)
    assert again["toy"]["one"] == times["toy"]["one"]
    assert set(again["toy"]) == {
        "one",
        BARLOW,
        "two",
    }


def test_complaints(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="names must not be empty without a folder; got none"):
        find_datasets([])
    assert list(find_datasets([], arrays={"a": toy()})) == ["a"]
    assert find_datasets(["toy"], folder=folder)["toy"].train.shape == (12, 1, 33)
    with pytest.raises(ValueError, match="x must have labels and a test part"):
        find_datasets(["x"], arrays={"x": toy()._replace(test=None)})
    with pytest.raises(ValueError, match="kind must be test or validation; got 'both'"):
        make_split("toy", toy(), kind="both", seed=0, most_test=3)
    job = (Cell("toy", "one", 0), (1, 1))
    run_cells([job], {"toy": toy()}, TINY, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"was run with steps \[1, 1\]; got \[2, 1\]"):
        run_cells([(job[0], (2, 1))], {"toy": toy()}, TINY, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="settings must be those of"):
        run_cells([job], {"toy": toy()}, TINY._replace(most_test=9), folder=tmp_path)
    with pytest.raises(SystemExit, match="go together"):
        main(["--results", str(tmp_path), "--data", str(folder), "--steps1", "3"])


def test_it_runs_as_a_script() -> None:
    script = ROOT / "benchmarks" / "studies" / "ssl_tokens" / "run.py"
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--workers" in done.stdout
