"""What whole runs of `auto` take beside what it foretells, and the table of rates for the rest.

    python benchmarks/auto_forecast.py                        # quiet machine; two threads
    python benchmarks/auto_forecast.py --minutes 3 --sizes 0 3 5

Each of `SIZES` is a set of random walks whose classes differ in trend. A whole `run` is done and
timed; what the steps of training are foretold to take is subtracted, and non-negative least squares
of the relative errors give the rates of the rest. Few minutes are best for the rates, many to see
whether the whole is foretold.
"""

import argparse
import pathlib
import sys
import tempfile
from typing import cast

import numpy as np
import scipy.optimize
import torch

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[1])

from benchmarks.side_by_side import machine

from ssltok.data import Dataset, read_series
from ssltok.pipelines import AutoConfig, auto, run
from ssltok.pipelines._auto._rest import Work, rest_seconds, work_of
from ssltok.pipelines._run import LEAST_GENERATED

SIZES = (  # training and test series, channels, samples, classes
    (50, 150, 1, 150, 2), (1000, 4000, 1, 128, 4), (300, 300, 1, 720, 3), (40, 40, 6, 100, 4),
    (270, 370, 12, 29, 9), (100, 100, 3, 1000, 0), (30, 900, 1, 128, 3), (200, 200, 1, 2000, 5),
    (2000, 1000, 1, 96, 3), (67, 1000, 1, 24, 2), (600, 600, 1, 300, 60), (16, 20, 1, 400, 2),
    (500, 4500, 1, 140, 5), (400, 300, 2, 200, 0), (100, 100, 1, 1500, 10), (1000, 300, 3, 60, 6),
)  # fmt: skip


def dataset(train: int, test: int, channels: int, length: int, classes: int) -> Dataset:
    """Random walks, with a trend by class."""
    parts = []
    for cases, seed in ((train, 0), (test, 1)):
        random = np.random.default_rng(seed)
        label = np.arange(cases) % max(classes, 1)
        trend = np.linspace(0, 2 * length**0.5, length) * (label[:, None, None] - classes / 2)
        series = random.standard_normal((cases, channels, length)).cumsum(2) + trend
        parts += [series.astype(np.float32), label if classes else None]
    return Dataset("walks", *parts)


def main() -> None:
    """Run, time, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="*", default=range(len(SIZES)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    works, rests = [], []
    for size in [SIZES[place] for place in options.sizes]:
        train, test, channels, length, classes = size
        data = dataset(*size)
        plan = auto(read_series(data.train), minutes=options.minutes, classes=classes)
        with tempfile.TemporaryDirectory() as folder:
            report = run(
                data, AutoConfig(minutes=options.minutes), pathlib.Path(folder) / "out",
                progress=False,
            )  # fmt: skip
        work = work_of(
            plan.config, train=train, test=test, generated=max(train, LEAST_GENERATED),
            channels=channels, length=length, classes=classes,
        )  # fmt: skip
        took = cast(dict[str, float], report.about["seconds"])
        steps = sum(plan.seconds)
        rest = took["whole"] - steps
        works.append(work)
        rests.append(rest)
        print(
            f"{size}: {took['whole']:.1f} s, foretold {steps + rest_seconds(work):.1f} "
            f"({(steps + rest_seconds(work)) / took['whole']:.2f} of it); until the prior is "
            f"trained {took['training']:.1f}, steps foretold {steps:.1f}",
            flush=True,
        )
    counts, times = np.array(works, dtype=np.float64), np.array(rests)
    rates, _ = scipy.optimize.nnls(counts / times[:, None], np.ones(len(times)))
    print(", ".join(f"{k}: {v:.2g} s" for k, v in zip(Work._fields, rates, strict=True)))
    print("fitted over taken: " + ", ".join(f"{v:.2f}" for v in counts @ rates / times))


if __name__ == "__main__":
    main()
