"""Steps a second of both stages by an older checkout and by this one's, one Config, in turns.

    git worktree add OLD 8935227
    python benchmarks/old_steps.py --old OLD/src --data FOLDER --datasets GunPoint CBF TwoPatterns

The sizes are those that `auto` chooses here on the training part: token frames, codes, dim, blocks,
batch, the prior's width, depth and heads; the coder is the spectrogram's and the objective Barlow
Twins, which both know. Each side is a process of its own that sees only its own code. A pair of
fits, of `--steps` steps and of a sixth of them, gives seconds a step, in processor time of one
thread; the sides take turns, and a ratio is of neighbours in time.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from typing import Any

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[1])

import numpy as np
from benchmarks.side_by_side import machine
from benchmarks.studies.ssl_tokens.data import find_datasets, make_split

from ssltok.pipelines import auto

WORKER = """
import json, sys, time
import numpy as np, torch
from ssltok.pipelines import Config, PriorConfig, SSLTokenizer, TokenizerConfig, TrainingConfig
torch.set_num_threads(1)
asked = json.loads(sys.argv[1])
file = np.load(asked["data"])
def fit(one, two):
    config = Config(
        tokenizer=TokenizerConfig(**asked["tokenizer"]), prior=PriorConfig(**asked["prior"]),
        tokenizer_training=TrainingConfig(steps=one, batch=asked["batch"], checkpoint_every=10**6),
        prior_training=TrainingConfig(steps=two, batch=asked["batch"], checkpoint_every=10**6),
    )
    began = time.process_time()
    SSLTokenizer(config, seed=0, progress=False).fit(file["X"], file["y"].tolist())
    return time.process_time() - began
fit(2, 2)
for line in sys.stdin:
    many, few = json.loads(line)
    rest = fit(few, few)
    seconds = [(fit(*s) - rest) / (many - few) for s in ((many, few), (few, many))]
    print(json.dumps(seconds), flush=True)
"""


def side(source: pathlib.Path, asked: dict[str, Any]) -> "subprocess.Popen[str]":
    """Start a process with its own ssltok."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, json.dumps(asked)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def ask(process: "subprocess.Popen[str]", steps: int) -> list[float]:
    """Seconds a step of both stages."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([steps, steps // 6]) + "\n")
    process.stdin.flush()
    answer: list[float] = json.loads(process.stdout.readline())
    return answer


def measure(name: str, data: Any, sources: list[pathlib.Path], asked: argparse.Namespace) -> None:
    """Time both on one set in turns, and print a line."""
    split = make_split(name, data, kind="test", seed=0, most_test=10)
    config = auto(split.train, classes=split.classes).config
    one, two = config.tokenizer, config.prior
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "train.npz"
        np.savez(path, X=split.train.values.numpy(), y=split.train_labels.numpy())
        told = {
            "data": str(path), "batch": config.tokenizer_training.batch,
            "tokenizer": {
                "widths": one.widths, "dim": one.dim, "blocks": one.blocks,
                "codebook_size": one.codebook_size, "ssl": "barlow_twins",
                "projector_dim": one.projector_dim, "view_weight": one.view_weight,
            },
            "prior": {"dim": two.dim, "depth": two.depth, "heads": two.heads},
        }  # fmt: skip
        sides = [side(source, told) for source in sources]
        turns = [[ask(process, asked.steps) for process in sides] for _ in range(asked.rounds)]
        for process in sides:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
    for stage in (0, 1):
        then, now = ([turn[k][stage] for turn in turns] for k in (0, 1))
        ratios = sorted(a / b for a, b in zip(then, now, strict=True))
        print(
            f"{name}, {one.widths[0]} frames, stage {stage + 1}: "
            f"{1e3 * statistics.median(then):.2f} ms then, {1e3 * statistics.median(now):.2f} now; "
            f"{statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            flush=True,
        )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--old", type=pathlib.Path, required=True, help="src of the older checkout")
    parser.add_argument("--data", type=pathlib.Path, help="folder of .npz files")
    parser.add_argument("--datasets", nargs="*", default=["GunPoint", "CBF", "TwoPatterns"])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    print(machine())
    sources = [asked.old, pathlib.Path(__file__).parents[1] / "src"]
    for name, data in find_datasets(asked.datasets, folder=asked.data).items():
        measure(name, data, sources, asked)


if __name__ == "__main__":
    main()
