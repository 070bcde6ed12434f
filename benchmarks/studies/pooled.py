"""What the recipes of examples/ssl are worth after many series: one pool to learn from, sets apart.

    python benchmarks/studies/pooled.py --data FOLDER --results pooled.jsonl --minutes 1 --seeds 3
    python benchmarks/studies/pooled.py --results pooled.jsonl --print
    python benchmarks/studies/pooled.py --data FOLDER --results tried.jsonl --only vae --steps 20

FOLDER holds `NAME.npz` with X_train, y_train, X_test, y_test, of one channel. Encoders learn from
the training series of all sets but those of `HELD` and their `RELATIVES`, without labels; every
series is brought to `LENGTH` samples, mean 0 and deviation 1. The sets of `HELD` gave nothing: the
5 nearest neighbours and a linear probe learn from their training parts, and are judged by their
test parts, before the first step and after the last.

Resumable: a result is a line of the file. Seconds a step are measured once for each recipe, in
processor time of one thread, and are a line too: so `--minutes` gives a number of steps that stays,
and a run repeats bit for bit.
"""

import argparse
import copy
import pathlib
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from benchmarks.studies.recipes import Results, build, loop, methods, sets
from benchmarks.studies.ssl_tokens.paired import mean_interval

from ssltok.data import label_index

HELD = (
    "ArrowHead", "BME", "DiatomSizeReduction", "ECGFiveDays", "FaceFour", "MoteStrain",
    "PowerCons", "ToeSegmentation1",
)  # fmt: skip
RELATIVES = ("ToeSegmentation2", "UMD")  # made with a held set, so they teach nobody
LABELLED = ("distillation", "supcon")  # what learns from labels has none here
LENGTH = 128
WARMUP, TIMED = 3, 12  # steps of the calibration
Values = NDArray[np.float32]


def resampled(series: Values) -> Values:
    """Bring a series to `LENGTH` samples, mean 0 and deviation 1; gaps and tails are NaN."""
    places = np.flatnonzero(np.isfinite(series))
    if len(places) == 0:
        return np.zeros(LENGTH, dtype=np.float32)
    wanted = np.linspace(places[0], places[-1], LENGTH)
    values = np.interp(wanted, places, series[places].astype(np.float64))
    deviation = values.std()
    values = (values - values.mean()) / (deviation if deviation > 1e-8 else 1.0)
    return values.astype(np.float32)


def brought(series: Values) -> Tensor:
    """Bring series `(cases, 1, length)` to `(cases, 1, LENGTH)`."""
    if series.ndim != 3 or series.shape[1] != 1:
        raise ValueError(f"pooled: series must be (cases, 1, length); got {series.shape}")
    return torch.from_numpy(np.stack([resampled(one[0]) for one in series])[:, None])


def pool(folder: pathlib.Path, held: Sequence[str]) -> Tensor:
    """Join the training series of all sets but the held ones and their relatives."""
    parts = []
    for path in sorted(folder.glob("*.npz")):
        if path.stem not in (*held, *RELATIVES):
            with np.load(path, allow_pickle=False) as file:
                parts.append(brought(file["X_train"]))
    if not parts:
        raise ValueError(f"pooled: {folder} must hold sets beside the held ones; got none")
    return torch.cat(parts)


def held_set(folder: pathlib.Path, name: str) -> sets.Data:
    """Load a set that gave nothing to the pool."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        labels, classes = label_index(file["y_train"], len(file["y_train"]))
        truth, _ = label_index(file["y_test"], len(file["y_test"]), classes=classes)
        return sets.Data(brought(file["X_train"]), labels, brought(file["X_test"]), truth)


def unlabelled(series: Tensor) -> sets.Data:
    """The pool as recipes take data: no series has a label."""
    none = torch.full((len(series),), -1)
    return sets.Data(series, none, series[:0], none[:0])


def steps_for(results: Results, family: str, method: str, data: sets.Data, minutes: float) -> int:
    """The steps that fit into so many minutes, by a pace that is measured once."""
    key = f"pace of {family} {method}", "pool", 0
    if key not in results.rows:
        torch.manual_seed(0)
        recipe = build(family, method, data, [])
        loop.train(recipe, data, WARMUP)
        began = time.process_time()
        loop.train(recipe, data, TIMED)
        pace = round((time.process_time() - began) / TIMED, 5)
        results.add({"what": key[0], "data": key[1], "seed": key[2], "seconds": pace})
    return max(1, int(60 * minutes / results.rows[key]["seconds"]))


def run(
    results: Results,
    what: str,
    seed: int,
    data: sets.Data,
    held: dict[str, sets.Data],
    *,
    steps: int,
) -> None:
    """Train a recipe on the pool, and score it on every held set before and after."""
    torch.manual_seed(seed)
    began = time.process_time()
    family, method, *_ = what.split()
    recipe = build(family, method, data, [])
    start = copy.deepcopy(recipe.encoder)
    loop.train(recipe, data, steps)
    seconds = round(time.process_time() - began, 1)
    for name, one in held.items():
        before, after = loop.score(start, one), loop.score(recipe.encoder, one)
        results.add({
            "what": what, "data": name, "seed": seed, "steps": steps, "pool": len(data.train),
            "random": before, "trained": after, "cpu_seconds": seconds,
        })  # fmt: skip
        print(f"{what:44} {name:20} seed {seed}: {before[0]:5.1f} -> {after[0]:5.1f}", flush=True)


def wanted_methods(only: Sequence[str] | None) -> list[tuple[str, str]]:
    """List the recipes that need no labels, by name if asked."""
    return [
        (family, method)
        for family, method in methods()
        if family not in LABELLED and method not in LABELLED and (not only or method in only)
    ]


def table(results: Results, held: Sequence[str]) -> Iterator[str]:
    """Lay out gains over the random encoder, in points, with 95 % intervals over sets and seeds."""
    yield (
        "| recipe | steps | neighbours, random | gain | linear probe, random | gain "
        "| sets with 5 points |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    rows = [row for row in results.rows.values() if "trained" in row]
    for what in dict.fromkeys(row["what"] for row in rows):
        trained = [row for row in rows if row["what"] == what]
        family, method, *rest = what.split()
        cells = [" ".join([f"`{family}.py`, {method}", *rest]), str(trained[0]["steps"])]
        for measure in (0, 1):
            gains = [row["trained"][measure] - row["random"][measure] for row in trained]
            gain = mean_interval(gains)
            clear = gain.low > 0 or gain.high < 0
            shown = f"**{gain.mean:+.1f}**" if clear else f"{gain.mean:+.1f}"
            cells += [
                f"{statistics.fmean(row['random'][measure] for row in trained):.1f}",
                f"{shown} ({gain.low:+.1f} to {gain.high:+.1f})",
            ]
        cells.append(f"{sum(_meets(trained, name) for name in held)} of {len(held)}")
        yield "| " + " | ".join(cells) + " |"


def _meets(rows: list[dict[str, Any]], name: str) -> bool:
    """Say whether neighbours gain five points on a set, in the mean over seeds."""
    gains = [row["trained"][0] - row["random"][0] for row in rows if row["data"] == name]
    return bool(gains) and statistics.fmean(gains) >= 5


def main(words: list[str] | None = None) -> None:
    """Compute the rows that are missing: all recipes of a seed before the next seed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=pathlib.Path, help="a folder of .npz files")
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("pooled.jsonl"))
    parser.add_argument("--held", nargs="+", default=list(HELD), metavar="SET")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=1.0, help="of training, each recipe")
    parser.add_argument("--steps", type=int, help="so many instead")
    parser.add_argument("--only", nargs="*", help="methods by name; all by default")
    parser.add_argument("--print", action="store_true", help="only print the table")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    results = Results(asked.results)
    if not asked.print:
        data = unlabelled(pool(asked.data, asked.held))
        held = {name: held_set(asked.data, name) for name in asked.held}
        budget = f"{asked.steps} steps" if asked.steps else f"{asked.minutes:g} min"
        for seed in range(asked.seeds):
            for family, method in wanted_methods(asked.only):
                what = f"{family} {method} {budget}"
                if all((what, name, seed) in results.rows for name in held):
                    continue
                steps = asked.steps or steps_for(results, family, method, data, asked.minutes)
                run(results, what, seed, data, held, steps=steps)
    print("\n".join(table(results, asked.held)))


if __name__ == "__main__":
    main()
