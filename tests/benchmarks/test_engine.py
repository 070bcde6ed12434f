"""What measures the engine: both sides take the same steps, and the table says what they took."""

import pathlib
from typing import Any

import pytest
import torch

pytest.importorskip("accelerate")

from benchmarks import engine


def test_a_step_is_the_mean_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "WARMUP", 2)
    assert engine.step_time([0.0, 9.0, 10.0, 11.0, 12.0, 17.0]) == pytest.approx(7 / 3)


def test_both_sides_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bare loop is the engine's step, but for its warm-up and decay of the learning rate."""
    monkeypatch.setattr(engine, "STEPS", 40)
    losses: dict[str, list[float]] = {"engine": [], "bare": []}
    side = "engine"
    forward = engine.Copy.forward

    def record(self: Any, rows: torch.Tensor) -> engine.Result:
        result: engine.Result = forward(self, rows)
        losses[side].append(float(result.loss.detach()))
        return result

    monkeypatch.setattr(engine.Copy, "forward", record)
    torch.manual_seed(0)
    assert engine.engine_step(16) > 0
    side = "bare"
    torch.manual_seed(0)
    assert engine.bare_step(16) > 0
    assert len(losses["engine"]) == len(losses["bare"]) == 40
    for values in losses.values():
        assert values[-1] < 0.99 * values[0]


def test_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    def of_tree(tree: pathlib.Path) -> engine.Figures:
        engine_us = 400.0 if tree == tmp_path else 300.0
        return {str(w): [[engine_us * 1e-6, 200e-6]] for w in engine.WIDTHS}

    monkeypatch.setattr(engine, "of_tree", of_tree)
    lines = engine.report(tmp_path, rounds=2).splitlines()
    first = str(engine.WIDTHS[0])
    assert lines[2] == f"| {first} | this tree | 300 | 200 | 1.50 | 100 |"
    assert lines[3] == f"| {first} | the other | 400 | 200 | 2.00 | 200 |"
    assert lines[4] == f"| {first} | overhead, this / other | | | 0.50 | |"
    assert len(engine.report(None, rounds=1).splitlines()) == 2 + len(engine.WIDTHS)
