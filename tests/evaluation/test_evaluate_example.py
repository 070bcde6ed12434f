"""The example that evaluates files: all three or none, and labels reach the classifiers."""

import pathlib
import runpy
import sys

import numpy as np
import pytest

from tests.evaluation.evaluated import FAIR, LABELS, TEST, TRAIN

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "07_evaluate_any_npy.py"


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *words])
    runpy.run_path(str(EXAMPLE), run_name="__main__")


def test_labels_reach_the_classifiers(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--steps", "2"]
    for name, series in (("train", TRAIN), ("test", TEST), ("made", FAIR)):
        np.save(tmp_path / f"{name}.npy", series.numpy())
        np.save(tmp_path / f"{name}_y.npy", LABELS.numpy())
        words += [f"--{name}", str(tmp_path / f"{name}.npy")]
        words += [f"--{name}-labels", str(tmp_path / f"{name}_y.npy")]
    run(monkeypatch, *words)
    rows = capsys.readouterr().out.splitlines()
    cas = next(row for row in rows if row.startswith("train on synthetic"))
    assert "skipped" not in cas
    assert "| 48 " in cas


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train", "a.npy", "--test", "b.npy"], "must be given together, or none of them"),
        (["--made", "c.npy"], "must be given together, or none of them"),
        (["--made-labels", "y.npy"], "labels need the series they belong to"),
    ],
)
def test_all_three_or_none(
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
