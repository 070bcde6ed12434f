"""The study's figures show what the cells hold."""

import pathlib
from typing import Any

import numpy as np
import pytest
from benchmarks.studies.ssl_tokens.cell import Cell, Settings, run_cell
from benchmarks.studies.ssl_tokens.figures import (
    draw_examples,
    draw_means,
    draw_probes,
    draw_traces,
    main,
    probe_curve,
)
from benchmarks.studies.ssl_tokens.judge import JudgeSettings

from tests.benchmarks.small import BARLOW, toy

JUDGE = JudgeSettings(fcn_steps=2, fcn_width=4, kernels=20, most_frechet=10, most_generated=24)
TINY = Settings(size="tiny", most_test=14, probe_every=1, judge=JUDGE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Three cells of two arms, and the data set."""
    data, place = toy(), tmp_path_factory.mktemp("study")
    for arm, seed in (("one", 1), ("one", 0), (BARLOW, 0)):
        run_cell(Cell("toy", arm, seed), data, TINY, steps=(2, 1), folder=place)
    np.savez(
        place / "toy.npz",
        X_train=data.train, y_train=np.array(data.train_labels),
        X_test=data.test, y_test=np.array(data.test_labels),
    )  # fmt: skip
    return place


def data_of(line: Any, axis: int) -> Any:
    return np.asarray(line.get_data()[axis], dtype=float)


def cells_of(folder: pathlib.Path) -> list[dict[str, Any]]:
    from benchmarks.studies.ssl_tokens.collect import read_cells

    return read_cells([folder])


def test_the_command_writes_all_figures(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    main([str(folder), "--data", str(folder), "--out", str(tmp_path), "--label", "naive:=one"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "means.png", "probes.png", "series_toy.png", "trace_toy.png",
    ]  # fmt: skip
    assert all(p.stat().st_size > 5000 for p in tmp_path.iterdir())
    with pytest.raises(SystemExit, match="must hold cells of these arms; got none"):
        main([str(folder), "--arms", "two", "--data", str(folder)])


def test_examples_are_real_and_generated(folder: pathlib.Path) -> None:
    cells = cells_of(folder)
    figure = draw_examples(cells, toy(), name=str.upper)
    assert len(figure.axes) == 2 * 3  # two classes; real and two arms
    real, one = figure.axes[3], figure.axes[4]  # the second class
    train = toy().train
    np.testing.assert_allclose(data_of(real.lines[1], 1), train[3, 0], rtol=1e-6)
    first = next(c for c in cells if c["arm"] == "one" and c["seed"] == 0)["examples"]
    place = first["labels"].index(1)
    np.testing.assert_allclose(data_of(one.lines[0], 1), first["series"][place][0])
    assert figure.axes[2].get_title() == BARLOW.upper()


def test_traces_leave_hidden_tokens_white(folder: pathlib.Path) -> None:
    cells = cells_of(folder)
    figure = draw_traces(cells)
    image: Any = np.ma.filled(np.ma.asarray(figure.axes[0].images[0].get_array()), np.nan)
    trace = next(c for c in cells if c["arm"] == "one" and c["seed"] == 0)["trace"]
    assert image.shape == (len(trace["tokens"][0]), len(trace["tokens"]))
    assert np.isnan(image[:, 0]).mean() == pytest.approx(np.mean(np.array(trace["tokens"][0]) == 8))
    assert not np.isnan(image[:, -1]).any()


def test_probe_curves_are_by_share_of_training() -> None:
    cell = {
        "steps": [40, 1],
        "curve": [{"step": 10, "linear_pooled": 0.2}, {"step": 30, "linear_pooled": 0.6}],
        "figures": {"linear_pooled": 0.9},
    }
    curve = probe_curve([cell, {**cell, "steps": [30, 1]}], "linear_pooled")
    assert np.isnan(curve[:, :2]).all()
    # Shares 0.3, ..., 1 of 40 steps are 12, ..., 40; the last probe is at 30, the end has 0.9.
    want = [0.24, 0.32, 0.40, 0.48, 0.56, 0.66, 0.78, 0.90]
    np.testing.assert_allclose(curve[0, 2:], want, atol=1e-9)
    assert curve[1, -1] == 0.6  # its last probe was at its end
    assert np.isnan(curve[1, 2])
    assert not np.isnan(curve[1, 3])


def test_means_have_the_floor_and_the_intervals(folder: pathlib.Path) -> None:
    cells = cells_of(folder)
    figure = draw_means(cells, metrics=("fid", "linear_grid"))
    fid, probe = figure.axes[:2]
    floor = cells[0]["floor"]["fid"]
    assert [data_of(line, 0)[0] for line in fid.lines if line.get_linestyle() == ":"] == [floor]
    assert not [line for line in probe.lines if line.get_linestyle() == ":"]
    dots = [line for line in probe.lines if line.get_marker() == "o"]
    values = [c["figures"]["linear_grid"] * 100 for c in cells if c["arm"] == "one"]
    assert data_of(dots[0], 0)[0] == pytest.approx(np.mean(values))
    assert len(probe.lines) == 3  # `one` has an interval, the other arm one seed
    lines = draw_probes(cells).axes[0].lines
    assert len(lines) == 2
