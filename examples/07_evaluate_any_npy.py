"""Evaluate generated series from any model: three .npy files in, one report out.

    python examples/07_evaluate_any_npy.py --train train.npy --test test.npy --made made.npy

Each file holds `(cases, channels, length)` or `(cases, length)`. With labels of the three sets
(`--train-labels y.npy` and so on, a label for each series) and `--steps 500`, scores that train a
classifier on them are in the report too. Without files it evaluates two generators of its own: a
fair one, and one that repeats the mean of the training set.
"""

import argparse
import pathlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssltok.evaluation import Report, evaluate

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--train", type=pathlib.Path, help="the series the model learned from")
parser.add_argument("--test", type=pathlib.Path, help="real series it has not seen")
parser.add_argument("--made", type=pathlib.Path, help="generated series")
for name in ("train", "test", "made"):
    parser.add_argument(f"--{name}-labels", type=pathlib.Path, help=f"a label for each of --{name}")
parser.add_argument("--out", type=pathlib.Path, help="a folder for the page and the tables")
parser.add_argument("--steps", type=int, default=0, help="budget of the trained scores, 0: none")


def sines(seed: int, cases: int = 100, length: int = 64) -> Tensor:
    """Sines of random frequency and phase, with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    frequency, phase = torch.rand(2, cases, 1, 1, generator=generator)
    time = torch.linspace(0, 6.28, length)
    noise = 0.05 * torch.randn(cases, 1, length, generator=generator)
    return torch.sin((1 + 3 * frequency) * time + 6.28 * phase) + noise


def files(options: argparse.Namespace) -> Report:
    """Evaluate the three files."""
    train, test, made = (
        np.load(path, allow_pickle=False) for path in (options.train, options.test, options.made)
    )
    labels = (
        None if path is None else np.load(path, allow_pickle=False)
        for path in (options.train_labels, options.test_labels, options.made_labels)
    )
    names = ("train_labels", "test_labels", "generated_labels")
    known: dict[str, Any] = dict(zip(names, labels, strict=True))
    return evaluate(train, test, made, **known, steps=options.steps, progress=True)


def main() -> None:
    """Evaluate, print the table, write the report."""
    options = parser.parse_args()
    given = [path is not None for path in (options.train, options.test, options.made)]
    labels = (options.train_labels, options.test_labels, options.made_labels)
    if any(given) != all(given):
        parser.error("--train, --test and --made must be given together, or none of them")
    if any(path is not None for path in labels) and not all(given):
        parser.error("labels need the series they belong to: --train, --test and --made")
    if all(given):
        report = files(options)
    else:
        train, test = sines(0), sines(1)
        report = evaluate(train, test, sines(2), steps=options.steps)
        collapsed = train.mean(0, keepdim=True).expand_as(train)
        failed = evaluate(train, test, collapsed, steps=options.steps)
        for name in ("coverage (ROCKET)", "spectral distance"):
            values = f"fair generator {report[name].value:.3g}, collapsed {failed[name].value:.3g}"
            print(f"{name} ({report[name].better} is better): {values}")
        assert failed["recall (ROCKET)"].value == 0 < report["recall (ROCKET)"].value
    print(report.to_text())
    if options.out is not None:
        report.save(options.out)


if __name__ == "__main__":
    main()
