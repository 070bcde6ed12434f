"""The table of rates of `auto`: what a call, a value and an operation take on this machine.

    python benchmarks/auto_rates.py                # quiet machine; two threads, as the table is for

Steps of both stages of patch models of several sizes are counted as `auto` counts them and timed
(the median of `--rounds` steps, after a warm-up). Non-negative least squares of the relative errors
give the rates; beside each case stands what they, and what the table in the library, foretell.
"""

import argparse
import dataclasses
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[1])

from benchmarks.side_by_side import machine

from ssltok.data import SeriesSet, read_series
from ssltok.pipelines import Config, auto
from ssltok.pipelines._auto._cost import Cost, seconds
from ssltok.pipelines._auto._plan import count_steps, first_steps

SIZES = ((50, 1, 150), (300, 1, 720), (40, 6, 100), (270, 12, 29), (1000, 1, 128), (60, 3, 400))


def data_of(cases: int, channels: int, length: int) -> SeriesSet:
    """Random walks: as many tokens as series of such a size get."""
    generator = torch.Generator().manual_seed(cases)
    return read_series(torch.randn(cases, channels, length, generator=generator).cumsum(2))


def timed(step: Callable[[], Tensor], parameters: list[torch.nn.Parameter], rounds: int) -> float:
    """Seconds of a step with AdamW: the median."""
    optimizer = torch.optim.AdamW(parameters, fused=True)
    taken = []
    for _ in range(rounds + 3):
        began = time.perf_counter()
        optimizer.zero_grad()
        step().backward()
        optimizer.step()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[3:])


def main() -> None:
    """Count, time, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    costs: list[Cost] = []
    measured: list[float] = []
    names = []
    for size in SIZES:
        data = data_of(*size)
        plan = auto(data)
        for dim in (plan.config.prior.dim, 64):
            prior = dataclasses.replace(plan.config.prior, dim=dim)
            config: Config = dataclasses.replace(plan.config, prior=prior)
            costs += count_steps(config, data, classes=2)
            for stage, (step, parameters) in zip(
                "12", first_steps(config, data, classes=2), strict=True
            ):
                measured.append(timed(step, parameters, options.rounds))
                names.append(f"{size} width {dim} stage {stage}")
    counts = np.array(costs, dtype=np.float64)
    times = np.array(measured)
    rates, _ = scipy.optimize.nnls(counts / times[:, None], np.ones(len(times)))
    for field, rate in zip(Cost._fields, rates, strict=True):
        print(f"{field}: {rate:.3g} s")
    for name, cost, took, guess in zip(names, costs, times, counts @ rates, strict=True):
        print(
            f"{name}: {1e3 * took:.1f} ms; fitted {guess / took:.2f}, "
            f"table {seconds(cost) / took:.2f} of it"
        )


if __name__ == "__main__":
    main()
