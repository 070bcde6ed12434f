"""Every example runs as its reader would run it, with few steps."""

import pathlib
import runpy
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

Shown = Callable[..., str]

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
RECIPES = sorted(p for p in (ROOT / "examples" / "ssl").glob("*.py") if "__main__" in p.read_text())


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    """Run a script in this process: thirty times the import of torch would be most of the time."""

    def run(script: pathlib.Path, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(script), *words])
        with torch.random.fork_rng():
            runpy.run_path(str(script), run_name="__main__")
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_runs(
    example: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, shown: Shown
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(example, "--steps", "3").strip(), "an example shows something"
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
    recipe: pathlib.Path, monkeypatch: pytest.MonkeyPatch, shown: Shown
) -> None:
    monkeypatch.syspath_prepend(recipe.parent)
    options = [] if recipe.stem == "dense" else ["--data", "generated"]
    lines = shown(recipe, *options, "--steps", "2").splitlines()
    assert any("random" in line for line in lines)
    assert any("train" in line for line in lines)
