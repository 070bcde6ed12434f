"""The study of recipes on pooled series: what is learned from, what is held, and its resumption."""

import importlib
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

RECIPES = pathlib.Path(__file__).parents[2] / "examples" / "ssl"


@pytest.fixture(scope="module")
def pooled() -> Iterator[Any]:
    """The study, with the folder of recipes on the path for as long as it is used."""
    before = list(sys.path)
    sys.path.insert(0, str(RECIPES))
    yield importlib.import_module("benchmarks.studies.pooled")
    sys.path[:] = before


def write(folder: pathlib.Path, name: str, *, cases: int, length: int, level: float = 0.0) -> None:
    """Waves of two classes."""
    generator = np.random.default_rng(len(name))
    labels = np.arange(cases) % 2
    turns = np.linspace(0, 4 * np.pi, length) * (1 + labels[:, None])
    series = level + np.sin(turns + generator.uniform(0, 6, (cases, 1)))
    series = (series + 0.1 * generator.standard_normal((cases, length)))[:, None]
    series = series.astype(np.float32)
    np.savez(
        folder / f"{name}.npz", X_train=series, y_train=labels, X_test=series[::-1],
        y_test=labels[::-1],
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, cases, length in (("A", 30, 50), ("B", 20, 200), ("H", 16, 90), ("UMD", 10, 60)):
        write(tmp_path, name, cases=cases, length=length)
    return tmp_path


def test_a_series_is_resampled_over_what_is_known(pooled: Any) -> None:
    ramp = np.arange(300, dtype=np.float32)
    ramp[[0, 5, 6, 120]] = np.nan
    ramp[250:] = np.nan
    out = pooled.resampled(ramp)
    known = np.linspace(1, 249, 128)
    np.testing.assert_allclose(out, (known - known.mean()) / known.std(), atol=1e-5)


@pytest.mark.parametrize("value", [3.0, np.nan])
def test_a_series_that_says_nothing_is_0(pooled: Any, value: float) -> None:
    out = pooled.resampled(np.full(40, value, dtype=np.float32))
    assert out.shape == (128,)
    assert not out.any()


def test_several_channels_are_refused(pooled: Any) -> None:
    with pytest.raises(ValueError, match=r"series must be \(cases, 1, length\); got \(3, 2, 9\)"):
        pooled.brought(np.zeros((3, 2, 9), dtype=np.float32))


def test_held_sets_and_their_relatives_teach_nobody(pooled: Any, folder: pathlib.Path) -> None:
    learned = pooled.pool(folder, ["H"])
    assert learned.shape == (50, 1, 128)  # A and B; UMD is a relative of a held set
    held = pooled.held_set(folder, "H").train
    assert torch.cdist(held.flatten(1), learned.flatten(1)).min() > 1e-3
    data = pooled.unlabelled(learned)
    assert data.train_labels.unique().tolist() == [-1]
    with pytest.raises(ValueError, match="must hold sets beside the held ones"):
        pooled.pool(folder, ["A", "B", "H"])


def test_recipes_that_need_labels_are_left_out(pooled: Any) -> None:
    wanted = pooled.wanted_methods(None)
    families = {family for family, _ in wanted}
    assert "distillation" not in families
    assert ("contrastive", "supcon") not in wanted
    judged = {"aae", "vae", "dino", "ibot", "splitmask", "igpt", "ijepa"}  # of the earlier bar
    assert judged <= {method for _, method in wanted}
    assert pooled.wanted_methods(["vae"]) == [("adversarial", "vae")]


def test_a_run_is_resumed_and_repeats(
    pooled: Any, folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lines(name: str, seeds: int) -> list[dict[str, Any]]:
        pooled.main([
            "--data", str(folder), "--results", str(tmp_path / name), "--held", "H",
            "--only", "simsiam", "--minutes", "0.001", "--seeds", str(seeds),
        ])  # fmt: skip
        rows = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        return [{k: v for k, v in row.items() if k != "cpu_seconds"} for row in rows]

    one = lines("a.jsonl", 1)
    assert [row["data"] for row in one] == ["pool", "H"]
    pace = one[0]["seconds"]
    assert one[1]["steps"] == max(1, int(0.06 / pace))
    assert one[1]["pool"] == 50
    both = lines("a.jsonl", 2)
    assert both[:2] == one
    assert len(both) == 3
    (tmp_path / "b.jsonl").write_text(json.dumps(one[0]) + "\n")  # the pace is kept, not measured
    assert lines("b.jsonl", 1) == one
    table = capsys.readouterr().out.splitlines()[-1]
    assert table.startswith("| `self_distillation.py`, simsiam 0.001 min | ")
