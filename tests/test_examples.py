"""Every example runs as its reader would run it, with few steps."""

import pathlib
import runpy
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
RECIPES = sorted(p for p in (ROOT / "examples" / "ssl").glob("*.py") if "__main__" in p.read_text())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_runs(example: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example), "--steps", "3"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "an example shows something"
    assert example.read_text().count("\n") <= 120


def test_a_recipe_runs_from_anywhere(tmp_path: pathlib.Path) -> None:
    recipe = ROOT / "examples" / "ssl" / "joint_embedding.py"
    done = subprocess.run(
        [sys.executable, str(recipe), "--data", "generated", "--steps", "2"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "after training" in done.stdout


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.name)
def test_a_recipe_shows_before_and_after(
    recipe: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process: fifteen times the import of torch would be most of the time."""
    monkeypatch.syspath_prepend(recipe.parent)
    options = [] if recipe.stem == "dense" else ["--data", "generated"]
    monkeypatch.setattr(sys, "argv", [str(recipe), *options, "--steps", "2"])
    runpy.run_path(str(recipe), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert any("random" in line for line in lines)
    assert any("train" in line for line in lines)
