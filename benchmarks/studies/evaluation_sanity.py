"""Four generators that are known to be good or bad, on known data: what does each measure say?

    python benchmarks/studies/evaluation_sanity.py                        series by formula
    python benchmarks/studies/evaluation_sanity.py --data FOLDER/ECG5000.npz

A .npz file holds X_train, y_train, X_test, y_test. The generators: `real` (training series the
others were not made from), `noise` (mean and spread of each point of the training set, nothing
else), `mean` (the mean series of each class), `copy` (the training set itself). Prints a Markdown
table; the row `real` of the first column is the floor.
"""

import argparse
import pathlib
import sys

import numpy as np
import torch
from torch import Tensor

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from benchmarks.side_by_side import machine

from ssltok.evaluation import evaluate

MEASURES = (
    "Frechet distance (ROCKET)", "kernel distance (ROCKET)", "precision (ROCKET)",
    "recall (ROCKET)", "density (ROCKET)", "coverage (ROCKET)", "nearest neighbour, Euclidean",
    "nearest neighbour, DTW", "marginal distance", "autocorrelation distance",
    "skewness distance", "kurtosis distance", "spectral distance", "memorization ratio",
    "exact repeats", "Frechet distance (FCN)", "inception score (FCN)", "discriminative score",
    "predictive score", "train on synthetic, test on real (CAS)",
    "train on real, test on synthetic", "augmentation gain",
)  # fmt: skip


def cylinder_bell_funnel(cases: int, seed: int) -> tuple[Tensor, Tensor]:
    """Saito 1994: an event of random onset and end, on noise; three classes, length 128."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(cases) % 3
    start = torch.randint(16, 33, (cases, 1), generator=generator)
    end = start + torch.randint(32, 97, (cases, 1), generator=generator)
    time = torch.arange(128)[None]
    inside = ((time >= start) & (time <= end)).float()
    rise = (time - start) / (end - start)
    shape = torch.stack([torch.ones_like(rise), rise, 1 - rise])[labels, torch.arange(cases)]
    height = 6 + torch.randn(cases, 1, generator=generator)
    noise = torch.randn(cases, 128, generator=generator)
    series = height * inside * shape + noise
    return series[:, None], labels


def read(path: pathlib.Path | None, cases: int) -> tuple[str, list[tuple[Tensor, Tensor]]]:
    """A name, and three disjoint sets with labels: to learn from, to test on, and to stand by."""
    if path is None:
        return "CBF by formula", [cylinder_bell_funnel(cases, seed) for seed in range(3)]
    with np.load(path, allow_pickle=False) as file:
        parts = {k: torch.from_numpy(file[k]) for k in ("X_train", "y_train", "X_test", "y_test")}
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(parts["X_test"]), generator=generator)
    train = torch.randperm(len(parts["X_train"]), generator=generator)[:cases]
    sets = [(parts["X_train"][train], parts["y_train"][train])]
    size = min(len(train), len(order) // 2)
    halves = order[:size], order[size : 2 * size]
    sets.extend((parts["X_test"][rows], parts["y_test"][rows]) for rows in halves)
    return path.stem, sets


def generators(train: Tensor, labels: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """The three failures."""
    noise = torch.randn(train.shape, generator=torch.Generator().manual_seed(9))
    means = {int(k): train[labels == k].mean(0) for k in torch.unique(labels)}
    return {
        "noise": (train.mean(0) + train.std(0) * noise, labels),
        "mean": (torch.stack([means[int(k)] for k in labels]), labels),
        "copy": (train, labels),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--cases", type=int, default=300, help="series of each set at most")
    parser.add_argument("--steps", type=int, default=200, help="budget of the trained scores")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    name, (train, test, real) = read(options.data, options.cases)
    made = {"real": real, **generators(*train)}
    reports = {
        kind: evaluate(
            train[0], test[0], series,
            train_labels=train[1], test_labels=test[1], generated_labels=labels,
            steps=options.steps, seed=options.seed,
        )
        for kind, (series, labels) in made.items()
    }  # fmt: skip
    print(f"**{name}**, {len(train[0])} / {len(test[0])} / {len(train[0])} series, "
          f"{options.steps} steps, seed {options.seed}; {machine()}\n")  # fmt: skip
    print(f"| measure | {' | '.join(made)} |")
    print("| --- |" + " --- |" * len(made))
    for measure in MEASURES:
        rows = [reports[kind][measure] for kind in made]
        if not all(row.skipped for row in rows):
            cells = ["-" if r.skipped else f"{r.value:.3g} ± {r.spread:.1g}" for r in rows]
            print(f"| {measure} | {' | '.join(cells).replace(' ± nan', '')} |")


if __name__ == "__main__":
    main()
