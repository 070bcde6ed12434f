"""What `run` takes beside the steps of training, counted and never timed."""

import math
from typing import NamedTuple

from ssltok._shared.warping import warped_cells
from ssltok.pipelines._auto._plan import Plan
from ssltok.pipelines._words._config import Config

__all__ = ["Work", "rest_seconds", "with_rest", "work_of"]


class Work(NamedTuple):
    """Counts of what a run reads, generates and measures."""

    runs: int
    """One: what every run has, such as the start and the pictures of its report."""
    series: int
    """Series that are learned from, generated or tested."""
    tokens: int
    """Tokens of these series, each as often as it has codes."""
    warped: int
    """Cells of the tables of dynamic time warping."""
    probed: int
    """Numbers that linear probes learn from, for each class."""


RATES = (4.0, 1.1e-3, 1.9e-4, 4.9e-9, 1.6e-7)
"""Seconds of each on the class of machine that README names, two threads, nothing beside them:
fitted to 16 runs by `benchmarks/auto_forecast.py`, right within a quarter for all but one."""


def work_of(
    config: Config, *, train: int, test: int, generated: int, channels: int, length: int,
    classes: int,
) -> Work:  # fmt: skip
    """Count the work of a run whose report needs no network of its own."""
    one = config.tokenizer
    frames = sum(one.widths) * (channels if one.channelwise else 1)
    series = train + test + generated
    return Work(
        runs=1,
        series=series,
        tokens=series * frames * one.codes_per_token,
        warped=warped_cells(channels, length, test=test, generated=generated),
        probed=train * (frames * one.dim + channels * length) * classes,
    )


def rest_seconds(work: Work) -> float:
    """Seconds by the table of rates."""
    return math.fsum(count * rate for count, rate in zip(work, RATES, strict=True))


def with_rest(plan: Plan, work: Work, *, networks: bool) -> Plan:
    """The plan of a whole run: what is beside its training is foretold too.

    Args:
        plan: Of the training.
        work: Of the run.
        networks: Whether the report trains networks, which are not foretold.
    """
    training, rest = sum(plan.seconds), rest_seconds(work)
    sentence = (
        f"some {training + rest:.0f} s in all: {training:.0f} s of training, {rest:.0f} s of "
        f"start, generation and evaluation{', and the networks that judge' * networks}"
    )
    return plan._replace(rest=rest, reasons=(*plan.reasons, sentence))
