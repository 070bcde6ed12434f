"""One foreign cycle in a long series: is the highest anomaly score there, and a matrix profile's?

    pip install stumpy sktime
    python benchmarks/studies/anomalies.py --out rows.csv
    python benchmarks/studies/anomalies.py --data folder --out rows.csv --sets GunPoint --seeds 1
    python benchmarks/studies/anomalies.py --out rows.csv --table                # what is there

Everything below was fixed before any score was seen: the sets, the seeds, the lengths, how a series
is made, the tolerance and the arms. `--data` is a folder of archives `<set>.npz` with X_train,
y_train, X_test, y_test; without it sktime is asked. Rows are appended as they come, and a row that
is there is not made again.

**A series.** Both parts of a set are pooled. Of its most frequent class 30 cases, in random order,
make the training series and 30 others the test series, each case once. A case is a cycle,
standardised by itself, so all have the same mean and variance; over the first twentieth of a cycle
its start is drawn to the end of the one before. In the test series one cycle, neither of the first
two nor of the last two, is replaced by a case of another class, made in the same way.

**Right** is the archive's rule: the highest score within max(L, 100) samples of the foreign cycle
of L samples. The arm `guess` is the share of places that are right.

**Arms.** `tokens`: `SSLTokenizer` (`compact`, 500 steps a stage: what a series may cost was
measured on SonyAIBORobotSurface2, which is no set of the study) on windows of two cycles, an eighth
of a cycle apart, 32 token frames a window. `matrix profile` has the training series too (the
distance of each stretch to the nearest of the training series), `matrix profile, alone` has the
test series only. Both are told the length of a cycle, and are placed at the middle of a stretch.
They take a fraction of a second, so `matrix profile, equal time` is given the seconds that `tokens`
took: profiles of other lengths, from a quarter of a cycle to two, in the order of van der Corput,
until the time is over or all lengths are through; the score is their mean, each over the root of
its length. Seconds are of processor time and include training; `steps` are a training's, or the
number of lengths.
"""

import argparse
import csv
import dataclasses
import functools
import importlib
import itertools
import math
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from benchmarks.side_by_side import machine

from ssltok.data import Dataset, load_dataset, read_series
from ssltok.metrics import archive_accuracy
from ssltok.pipelines import Config, SSLTokenizer, resolve_preset, shorten

__all__ = ["Task", "guess", "main", "make_task", "rows_of"]

SETS = (
    "ArrowHead", "BME", "CBF", "ECG200", "ECG5000", "ECGFiveDays", "GunPoint", "MoteStrain",
    "PowerCons", "SonyAIBORobotSurface1", "ToeSegmentation1", "TwoPatterns",
)  # fmt: skip
SEEDS = 9  # of each set: 108 series
CYCLES = 30  # of the training series, and of the test series
EDGE = 2  # cycles at either end that are never the foreign one
BLEND = 1 / 20  # of a cycle, over which it is drawn to the one before
MARGIN = 100  # samples of tolerance at least
WINDOW, STRIDE, FRAMES = 2.0, 1 / 8, 32  # cycles a window, cycles between windows, token frames
SHORTEST, LONGEST = 1 / 4, 2.0  # cycles: what a matrix profile of many lengths looks at
PRESET, STEPS = "compact", 500  # of each stage: a minute or two of one busy core a series
COLUMNS = ("set", "seed", "arm", "cycle", "start", "place", "right", "seconds", "steps")
Array = NDArray[np.float64]


class Task(NamedTuple):
    """A usual series to learn from, one with a foreign cycle, and where that is."""

    train: Array
    test: Array
    start: int
    cycle: int

    @property
    def target(self) -> torch.Tensor:
        """Start and end of the foreign cycle, as `archive_accuracy` takes it."""
        return torch.tensor([[self.start, self.start + self.cycle]])


def make_task(data: Dataset, seed: int, *, cycles: int = CYCLES) -> Task:
    """Make the series of a set and a seed.

    Args:
        data: Labelled series of one channel.
        seed: Decides the cases, their order and the place.
        cycles: Of each of the two series.

    Raises:
        ValueError: If the set has several channels, or too few cases of its largest class.
    """
    parts = [(data.train, data.train_labels), (data.test, data.test_labels)]
    series = np.concatenate([read_series(x).values.numpy() for x, _ in parts if x is not None])
    labels = np.array([str(y) for _, part in parts if part is not None for y in part])
    names, counts = np.unique(labels, return_counts=True)
    if series.shape[1] != 1 or counts.max() < 2 * cycles:
        raise ValueError(
            f"make_task: {data.name} must have one channel and {2 * cycles} cases of a class; "
            f"got {series.shape[1]} and {counts.max()}"
        )
    random = np.random.default_rng([seed, *data.name.encode()])
    usual = labels == names[counts.argmax()]
    chosen = random.permutation(np.flatnonzero(usual))[: 2 * cycles]
    foreign = int(random.choice(np.flatnonzero(~usual)))
    place = int(random.integers(EDGE, cycles - EDGE))
    test = [*chosen[cycles:]]
    test[place] = foreign
    length = series.shape[2]
    return Task(
        _joined(series[chosen[:cycles], 0]), _joined(series[test, 0]), place * length, length
    )


def _joined(cases: NDArray[np.float32]) -> Array:
    """Standardised cases, one after the other without a jump."""
    rows = cases.astype(np.float64)
    rows = (rows - rows.mean(1, keepdims=True)) / rows.std(1, keepdims=True)
    fade = max(2, round(rows.shape[1] * BLEND))
    for before, row in itertools.pairwise(rows):
        row[:fade] += (before[-1] - row[0]) * np.linspace(1, 0, fade)
    joined: Array = rows.ravel()
    return joined


def guess(task: Task) -> float:
    """The share of places that are right."""
    flat = torch.zeros(len(task.test))
    return float(archive_accuracy([flat], task.target, margin=MARGIN))


def of_tokens(task: Task, config: Config, seed: int) -> Array:
    """Scores by a tokenizer and a prior that learn from windows of the training series."""
    size = round(WINDOW * task.cycle)
    windows = np.lib.stride_tricks.sliding_window_view(task.train, size)
    rows = windows[:: max(1, round(STRIDE * task.cycle))]
    model = SSLTokenizer(config, seed=seed, progress=False).fit(rows)
    scores: Array = model.score_anomalies(task.test[None]).scores[0].astype(np.float64)
    return scores


@functools.cache
def _stump() -> Any:
    """The function of stumpy, compiled: that takes a minute, once, and is no one's time."""
    stump = importlib.import_module("stumpy").stump
    stump(np.sin(np.arange(60.0)), 8)
    return stump


def of_profile(task: Task, *, alone: bool = False, size: int | None = None) -> Array:
    """Distance of each stretch of a size to the nearest of the training series, or of its own."""
    stump, size = _stump(), size or task.cycle
    profile = (
        stump(task.test, size)
        if alone
        else stump(task.test, size, T_B=task.train, ignore_trivial=False)
    )[:, 0].astype(np.float64)
    front = size // 2
    return np.pad(
        profile, (front, len(task.test) - len(profile) - front), constant_values=profile.min()
    )


def of_profiles(task: Task, seconds: float) -> tuple[Array, int]:
    """Mean of matrix profiles of as many lengths as fit in the time, and how many; one at least."""
    until, total = time.process_time() + seconds, np.zeros(len(task.test))
    number = 0
    for size in lengths(task.cycle):
        total, number = total + of_profile(task, size=size) / np.sqrt(size), number + 1
        if time.process_time() >= until:
            break
    return total / number, number


def lengths(cycle: int) -> list[int]:
    """A cycle, and then all lengths from a quarter of one to two, spread ever more finely."""
    low, high = max(4, round(SHORTEST * cycle)), round(LONGEST * cycle)
    bits = (high - low).bit_length()
    spread = [low + int(f"{n:0{bits}b}"[::-1], 2) for n in range(2**bits)]
    return list(dict.fromkeys([cycle, *(size for size in spread if size <= high)]))


def rows_of(
    data: Dataset,
    seed: int,
    config: Config,
    *,
    done: Mapping[tuple[str, str, str], float] = MappingProxyType({}),
) -> Iterable[dict[str, object]]:
    """Yield a row for each arm of a set and a seed; `done` are the seconds of those there."""
    task, seconds = make_task(data, seed), dict(done)
    budget = (data.name, str(seed), "tokens")
    arms: dict[str, Callable[[], tuple[Array, int]]] = {
        "guess": lambda: (np.zeros(len(task.test)), 0),
        "tokens": lambda: (of_tokens(task, config, seed), config.prior_training.steps),
        "matrix profile": lambda: (of_profile(task), 1),
        "matrix profile, alone": lambda: (of_profile(task, alone=True), 1),
        "matrix profile, equal time": lambda: of_profiles(task, seconds[budget]),
    }
    for arm, score in arms.items():
        key = (data.name, str(seed), arm)
        if key in done:
            continue
        try:
            if arm.startswith("matrix profile"):
                _stump()
            begun = time.process_time()
            scores, steps = score()
        except ImportError:
            print(f"{arm}: left out, for stumpy is not installed", file=sys.stderr)
            continue
        seconds[key] = time.process_time() - begun
        right = archive_accuracy([torch.from_numpy(scores)], task.target, margin=MARGIN)
        yield {
            "set": data.name, "seed": seed, "arm": arm, "cycle": task.cycle, "start": task.start,
            "place": int(scores.argmax()), "right": f"{float(right):.4f}",
            "seconds": f"{seconds[key]:.2f}", "steps": steps,
        }  # fmt: skip


def summary(rows: list[dict[str, str]]) -> str:
    """Top-1 accuracy by arm over all series, and where tokens and a profile disagree; markdown.

    Intervals are Wilson's at 95 %; those of differences are of the mean over pairs.
    """
    lines = [
        "| arm | right | interval | seconds a series | less tokens, points |",
        "|" + " --- |" * 5,
    ]
    sides: dict[str, dict[tuple[str, str], float]] = {}
    for row in rows:
        sides.setdefault(row["arm"], {})[row["set"], row["seed"]] = float(row["right"])
    for arm, mine in sides.items():
        right, count = sum(mine.values()), len(mine)
        low, high = binomtest(round(right), count).proportion_ci(method="wilson")
        seconds = statistics.fmean(float(row["seconds"]) for row in rows if row["arm"] == arm)
        pairs = [mine[key] - sides["tokens"][key] for key in mine.keys() & sides["tokens"].keys()]
        margin = 1.96 * statistics.stdev(pairs) / len(pairs) ** 0.5 if len(pairs) > 1 else math.nan
        less = 100 * statistics.fmean(pairs) if pairs else math.nan
        span = f"{less:+.1f} ({less - 100 * margin:+.1f} to {less + 100 * margin:+.1f})"
        lines.append(
            f"| {arm} | {right / count:.1%} of {count} | {low:.1%} to {high:.1%} | {seconds:.1f} | "
            f"{'' if arm == 'tokens' else span} |"
        )
    return "\n".join(lines)


def by_set(rows: list[dict[str, str]]) -> str:
    """How many series of each set an arm is right in; markdown."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    lines = [f"| set | series | {' | '.join(arms)} |", "|" + " --- |" * (2 + len(arms))]
    for name in dict.fromkeys(row["set"] for row in rows):
        sums = [
            sum(float(r["right"]) for r in rows if (r["set"], r["arm"]) == (name, arm))
            for arm in arms
        ]
        cases = len({row["seed"] for row in rows if row["set"] == name})
        lines.append(f"| {name} | {cases} | {' | '.join(f'{x:.1f}' for x in sums)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Make the rows that are missing, and print the summary of all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=pathlib.Path, help="a folder of <set>.npz")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a .csv file of rows")
    parser.add_argument("--table", action="store_true", help="print what is there, and do no more")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("--steps", type=int, default=STEPS, help="of each stage")
    options = parser.parse_args(arguments)
    if options.table:
        print(summary(_read(options.out)), by_set(_read(options.out)), sep="\n\n")
        return
    config = resolve_preset("anomalies", options.preset)
    if len(config.tokenizer.widths) == 1:
        config = dataclasses.replace(
            config, tokenizer=dataclasses.replace(config.tokenizer, widths=(FRAMES,))
        )
    config = shorten(config, steps=options.steps)
    rows = _read(options.out)
    done = {(row["set"], row["seed"], row["arm"]): float(row["seconds"]) for row in rows}
    new = not options.out.exists()
    with open(options.out, "a", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS)
        if new:
            table.writeheader()
        for seed in range(options.seeds):  # all sets once, then again: a stop leaves a fair part
            for name in options.sets:
                source = name if options.data is None else str(options.data / f"{name}.npz")
                for row in rows_of(load_dataset(source), seed, config, done=done):
                    table.writerow(row)
                    stream.flush()
    print(summary(_read(options.out)), by_set(_read(options.out)), sep="\n\n")
    print(machine())


def _read(path: pathlib.Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    main()
