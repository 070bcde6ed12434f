"""Recipes with other tools: each runs with the real package, and a fact of it is checked.

`make meet` installs all packages and skips nothing; `make test` runs what is installed.
"""

import importlib
import os
import pathlib
import re
import runpy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "with"
PAGE = ROOT / "docs" / "pages" / "guides" / "with_your_tools.md"
ALL = bool(os.environ.get("SSLTOK_MEET"))
Names = dict[str, Any]


def falls(losses: list[float], by: float) -> bool:
    return bool(np.isfinite(losses).all()) and losses[-1] < by * losses[0]


def lightning_losses(names: Names) -> bool:
    losses = names["model"].losses
    return len(losses) == 20 and falls(losses, 0.7)


def mlflow_equals_history(names: Names) -> bool:
    client, run = names["mlflow"].MlflowClient(), names["run"].info.run_id
    for stage, history in names["model"].histories_.items():
        for name, column in zip(history.names, history.rows.T.tolist(), strict=True):
            metric = f"{stage}/{name}"
            logged = sorted(client.get_metric_history(run, metric), key=lambda m: m.step)
            if [m.value for m in logged] != column:
                return False
    files = {item.path for item in client.list_artifacts(run, "ssltok")}
    return "ssltok/model.safetensors" in files


def wandb_file_is_there(names: Names) -> bool:
    folder = pathlib.Path(names["run"].dir).parent
    return folder.name.startswith("offline-run") and bool(list(folder.glob("*.wandb")))


def tensorboard_equals_history(names: Names) -> bool:
    name, stage, points = names["name"], names["stage"], names["points"]
    history = names["model"].histories_[stage]
    column = history.rows[:, history.names.index(name)].tolist()
    return len(points) == 20 and bool(np.allclose([p.value for p in points], column, rtol=1e-6))


def known_values_stay(names: Names) -> bool:
    known = ~names["hidden"]
    draws, given = names["draws"], names["gapped"][names["test"]]
    return all(np.allclose(draw[known], given[known], atol=1e-5) for draw in draws) and bool(
        np.isfinite(draws).all() and np.isfinite(names["by_saits"]).all()
    )


def darts_holds_the_draws(names: Names) -> bool:
    forecast = names["forecast"]
    if (len(forecast), forecast.n_components, forecast.n_samples) != (24, 1, 50):
        return False
    values = forecast.all_values()[:, 0]
    better = names["mae"](names["future"], forecast.quantile(0.5)) < 3.0  # the mean: 6
    return better and np.array_equal(values, names["draws"][:, 0, 0].T)


RECIPES: dict[str, tuple[tuple[str, ...], Callable[[Names], Any]]] = {
    "lightning_module": (("lightning",), lightning_losses),
    "fabric_loop": (("lightning",), lambda n: falls(n["losses"], 0.6)),
    "accelerate_loop": (("accelerate",), lambda n: falls(n["losses"], 0.8)),
    "hf_trainer": (("transformers", "datasets"), lambda n: falls(n["losses"], 0.8)),
    "sklearn_search": (
        ("sklearn",),
        lambda n: np.isfinite(n["search"].cv_results_["mean_test_score"]).sum() == 4,
    ),
    "aeon_containers": (("aeon",), lambda n: n["lengths"] != [max(n["lengths"])] * 4),
    "sktime_containers": (("sktime",), lambda n: n["same"]),
    "pandas_polars": (
        ("pandas", "polars", "pyarrow"),
        lambda n: (
            np.array_equal(n["data"].train, n["same"].train)
            and (n["times"][0] - n["dates"][-1]).total_seconds() == 3600
        ),
    ),
    "pypots_gaps": (("pypots",), known_values_stay),
    "darts_forecast": (("darts",), darts_holds_the_draws),
    "tensorboard_curves": (("tensorboard",), tensorboard_equals_history),
    "mlflow_run": (("mlflow", "sqlalchemy"), mlflow_equals_history),
    "wandb_offline": (("wandb",), wandb_file_is_there),
    "onnx_encoder": (
        ("onnx", "onnxruntime", "onnxscript"),
        lambda n: np.array_equal(n["codes"], n["model"].encode(n["X"])),
    ),
}
"""What each recipe needs, and a fact of what it leaves behind."""
SLOW = {"aeon_containers", "sklearn_search"}
"""Recipes of ten seconds and more, which `make test` leaves to `make meet`."""
SHOWN = {"sktime_containers": 3, "pandas_polars": 1, "onnx_encoder": 1}
"""Recipes that say themselves whether two things are equal, and how often they say yes."""


@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs_with_the_real_package(
    recipe: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    needs, holds = RECIPES[recipe]
    if recipe in SLOW and not ALL:
        pytest.skip("`make meet` runs it")
    monkeypatch.setenv("HOME", str(tmp_path))  # some write a file of their own there
    for name in needs:
        if ALL:
            importlib.import_module(name)
        else:
            pytest.importorskip(name, reason=f"{name}: `make meet` installs it")
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(FOLDER / f"{recipe}.py"), run_name="__main__")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines, "a recipe says what came out"
    assert not [line for line in lines if re.search(r"\bnan\b", line)]
    assert sum("True" in line or "100% of them" in line for line in lines) == SHOWN.get(recipe, 0)
    assert holds(names)


def test_every_recipe_is_short_and_on_the_page() -> None:
    scripts = {path.stem: path.read_text() for path in FOLDER.glob("*.py")}
    assert scripts.keys() == RECIPES.keys()
    for name, text in scripts.items():
        assert text.count("\n") <= 44, name
        assert text.startswith('"""'), f"{name} says what it shows"
    shown = re.findall(r"^<!-- recipe: (\w+)\.py -->$", PAGE.read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(RECIPES)


def test_what_the_recipes_need_is_pinned_with_the_torch_of_ci() -> None:
    lines = (ROOT / ".ci" / "meet.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {name.lower().replace("_", "-") for name in pins}
    called = {"sklearn": "scikit-learn", "mlflow": "mlflow-skinny"}
    assert {called.get(name, name) for needs, _ in RECIPES.values() for name in needs} <= pinned
    assert not [name for name in pinned if name.startswith(("nvidia", "cuda", "triton"))]
    ci = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    assert f"torch=={pins['torch']}" in ci


def test_make_meet_skips_nothing_and_is_part_of_test_all() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^meet:.*\n(?:.*\n)*?\tSSLTOK_MEET=1 .* tests/test_meet\.py$", makefile, re.M)
    assert re.search(r"^test-all:.*\bmeet\b", makefile, re.M)
