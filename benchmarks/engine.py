"""What the engine costs in a step: `train_stage` against the same step in a bare loop.

    python benchmarks/engine.py                  # this tree
    python benchmarks/engine.py --old OLD        # and a checkout of another commit, in turns

A perceptron of three layers learns to copy 32 rows; both sides do the same forward and backward
pass, clipping and AdamW step. What is left is what accelerate, the bookkeeping of random states
and the record of three terms cost; setting a stage up and putting it away are not in it. A step's
time is the mean over the steps of a run, in processor time of one thread, so that other work on the
machine counts little; sides and trees take turns, and the overhead is the median over turns of the
difference.
"""

import argparse
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

WIDTHS, ROWS, FEATURES = (64, 256), 32, 32
TURNS, STEPS, WARMUP = 5, 300, 20
Figures = dict[str, list[list[float]]]


class Result(NamedTuple):
    """What `train_stage` wants of a model."""

    loss: Tensor
    logged: dict[str, Tensor]


class Copy(nn.Module):
    """Three layers that copy their input, and three terms to record."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(FEATURES, width), nn.GELU(), nn.Linear(width, width), nn.GELU(),
            nn.Linear(width, FEATURES),
        )  # fmt: skip

    def forward(self, rows: Tensor) -> Result:
        """Return the error of the copy."""
        loss = (self.net(rows) - rows).square().mean()
        return Result(loss, {"loss": loss, "double": 2 * loss, "triple": 3 * loss})


def engine_step(width: int) -> float:
    """Seconds of a step of `train_stage`."""
    home: Any
    words: Any
    try:
        home = words = importlib.import_module("ssltok.training")
    except ImportError:  # where 8935227 had them
        home = importlib.import_module("ssltok.pipelines._training")
        words = importlib.import_module("ssltok.pipelines")
    marks: list[float] = []
    series = torch.randn(ROWS, FEATURES)

    def draw(step: int, rows: slice) -> Tensor:
        return series[rows]

    def mark(step: int, results: list[Result]) -> None:
        marks.append(time.process_time())

    stage = home.Stage("copy", Copy(width), draw, mark, None)
    config = words.TrainingConfig(batch=ROWS, steps=STEPS)
    accelerator = home.build_accelerator("no", cpu=True)
    home.train_stage(stage, config, steps=STEPS, seed=0, accelerator=accelerator)
    return step_time(marks)


def bare_step(width: int) -> float:
    """Seconds of the same step in a loop of one's own."""
    marks: list[float] = []
    series, model = torch.randn(ROWS, FEATURES), Copy(width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    weights = list(model.parameters())
    for _ in range(STEPS):
        model(series[:ROWS]).loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        marks.append(time.process_time())
    return step_time(marks)


def step_time(marks: list[float]) -> float:
    """The mean time between marks, so that what is done now and then counts as well."""
    return (marks[-1] - marks[WARMUP]) / (len(marks) - 1 - WARMUP)


def measure() -> Figures:
    """Pairs of seconds, engine and bare, by width; in turns, one thread."""
    torch.set_num_threads(1)
    return {
        str(width): [[engine_step(width), bare_step(width)] for _ in range(TURNS)]
        for width in WIDTHS
    }


def of_tree(tree: pathlib.Path) -> Figures:
    """`measure` by another process with that tree's code."""
    paths = [str(tree / "src"), str(tree)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--measure"], cwd=tree, env=environment,
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    figures: Figures = json.loads(done.stdout)
    return figures


def report(old: pathlib.Path | None, *, rounds: int) -> str:
    """A Markdown table: each tree's step, the bare one, their ratio, and the overhead."""
    here = pathlib.Path(__file__).resolve().parents[1]
    trees = {"this tree": here} | ({} if old is None else {"the other": old.resolve()})
    found: dict[str, Figures] = {name: {str(w): [] for w in WIDTHS} for name in trees}
    for _ in range(rounds):
        for name, tree in trees.items():
            for width, pairs in of_tree(tree).items():
                found[name][width] += pairs
    rows = [
        "| width | tree | engine, us | bare loop, us | ratio | overhead, us |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for width in map(str, WIDTHS):
        overheads = []
        for name in trees:
            pairs = found[name][width]
            ours, bare = (statistics.median(p[side] for p in pairs) * 1e6 for side in (0, 1))
            ratio = statistics.median(a / b for a, b in pairs)
            overheads.append(statistics.median(a - b for a, b in pairs) * 1e6)
            row = f"{ours:.0f} | {bare:.0f} | {ratio:.2f} | {overheads[-1]:.0f}"
            rows.append(f"| {width} | {name} | {row} |")
        if old is not None:
            rows.append(f"| {width} | overhead, this / other | | | "
                        f"{overheads[0] / overheads[1]:.2f} | |")  # fmt: skip
    return "\n".join(rows)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old", type=pathlib.Path, help="a checkout of another commit")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each tree")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    if options.measure:
        print(json.dumps(measure()))
    else:
        print(report(options.old, rounds=options.rounds))


if __name__ == "__main__":
    main()
