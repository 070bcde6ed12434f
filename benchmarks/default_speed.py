"""64 samples by the default of an older checkout and by this one's, in turns, with their quality.

    git worktree add OLD 8935227
    python benchmarks/default_speed.py --old OLD/src --data FOLDER --datasets GunPoint --seeds 0

Each side trains what its own command trains by default (`demo` then, `auto` now, told to take as
long), in a process of its own that sees only its own code; then both draw the same numbers of 64
series in turns. Times are processor time of one thread. Quality is that of one judge of the study
of SSL tokens, on as many series as training has.
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
import torch
from benchmarks.studies.ssl_tokens.data import find_datasets, make_split
from benchmarks.studies.ssl_tokens.judge import Judge, JudgeSettings

SAMPLES = 64
WORKER = """
import json, sys, time
import numpy as np, torch
from ssltok.pipelines import SSLTokenizer
torch.set_num_threads(1)
said = json.loads(sys.stdin.readline())
file = np.load(said["data"])
preset = said["preset"]
if preset == "auto":
    from ssltok.pipelines import AutoConfig
    preset = AutoConfig(minutes=said["minutes"])
began = time.process_time()
model = SSLTokenizer(preset=preset, seed=said["seed"], progress=False)
model.fit(file["X"], file["y"].tolist())
print(json.dumps({"training": time.process_time() - began}), flush=True)
for line in sys.stdin:
    said = json.loads(line)
    began = time.process_time()
    series = model.generate(said["labels"], seed=said["seed"]).series
    seconds = time.process_time() - began
    if said["out"]:
        np.save(said["out"], np.asarray(series))
    print(json.dumps({"seconds": seconds}), flush=True)
"""


class Side:
    """A process with its own ssltok, and a trained model in it."""

    def __init__(self, source: pathlib.Path, **said: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.training = self.ask(**said)["training"]

    def ask(self, **said: Any) -> dict[str, float]:
        """One answer to one line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(said) + "\n")
        self.process.stdin.flush()
        answer: dict[str, float] = json.loads(self.process.stdout.readline())
        return answer

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(name: str, data: Any, sources: dict[str, pathlib.Path], said: Any, seed: int) -> None:
    """Train both on one set, draw in turns, print a line."""
    split = make_split(name, data, kind="test", seed=seed, most_test=1000)
    judge = Judge(split, JudgeSettings())
    labels = judge.wanted.tolist()
    some = [labels[place * len(labels) // SAMPLES] for place in range(SAMPLES)]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "train.npz"
        np.savez(path, X=split.train.values.numpy(), y=split.train_labels.numpy())
        common = {"data": str(path), "seed": seed, "minutes": said.minutes}
        sides = {
            side: Side(source, preset=preset, **common)
            for (side, source), preset in zip(sources.items(), ("demo", "auto"), strict=True)
        }
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(said.rounds + 1):
            for side, worker in sides.items():
                answer = worker.ask(labels=some, seed=turn, out=None)
                seconds[side] += [answer["seconds"]] if turn else []
        figures = {}
        for side, worker in sides.items():
            out = pathlib.Path(folder) / f"{side}.npy"
            worker.ask(labels=labels, seed=0, out=str(out))
            series = torch.from_numpy(np.load(out)).float()
            figures[side] = judge.figures(series, torch.tensor(labels))
            worker.stop()
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{name} {seed}: "
        + ", ".join(
            f"{side} {1e3 * statistics.median(seconds[side]):.0f} ms, "
            f"FID {figures[side]['fid']:.3f}, CAS {100 * figures[side]['cas']:.1f}, "
            f"trained {sides[side].training:.0f} s"
            for side in sides
        )
        + f"; {middle:.2f} times as fast ({low:.2f} to {high:.2f})",
        flush=True,
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=pathlib.Path, required=True, help="src of the older checkout")
    parser.add_argument("--data", type=pathlib.Path, help="folder of .npz files")
    parser.add_argument("--datasets", nargs="*", default=["GunPoint"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="what auto is told")
    parser.add_argument("--rounds", type=int, default=9)
    said = parser.parse_args()
    torch.set_num_threads(1)
    sources = {"then": said.old, "now": pathlib.Path(__file__).parents[1] / "src"}
    for name, data in find_datasets(said.datasets, folder=said.data).items():
        for seed in said.seeds:
            measure(name, data, sources, said, seed)


if __name__ == "__main__":
    main()
