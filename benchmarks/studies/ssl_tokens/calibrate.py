"""How long a step of each arm takes, so that all arms can train for equally many seconds.

    python -m benchmarks.studies.ssl_tokens.calibrate --results FOLDER --data FOLDER --arms one two

Steps of the arms are measured in turns, in processor time of one thread, and the lower quartile
(other work on the machine only ever adds) is written to FOLDER/calibration.json. `run --seconds`
makes steps of it, so the number of steps is part of the record, and a cell can be repeated bit
for bit whatever the clock then says.
"""

import itertools
import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from benchmarks.studies.ssl_tokens.arms import build_arm
from benchmarks.studies.ssl_tokens.cell import Settings, write_json
from benchmarks.studies.ssl_tokens.data import make_split
from benchmarks.studies.ssl_tokens.train import Clock, train_arm

from ssltok.data import Dataset

__all__ = ["calibrate", "read_calibration", "steps_for"]

ROUNDS, STEPS, WARMUP = 3, 10, 2
Times = dict[str, dict[str, list[float]]]


def calibrate(
    datasets: Mapping[str, Dataset],
    arms: Sequence[str],
    settings: Settings,
    *,
    folder: pathlib.Path,
    rounds: int = ROUNDS,
    progress: Any = None,
) -> Times:
    """Measure what is not yet known: seconds of a step, by data set and arm, for both stages.

    Arms that differ only in how they draw series are one arm here, and get the same steps.

    Returns:
        All that is known, as it was written to `folder/calibration.json`.
    """
    torch.set_num_threads(1)
    known = read_calibration(folder)
    for name, data in datasets.items():
        recipes = dict.fromkeys(build_arm(arm, size=settings.size).training for arm in arms)
        missing = [arm for arm in recipes if arm not in known.get(name, {})]
        if not missing:
            continue
        split = make_split(name, data, kind=settings.split, seed=0, most_test=1)
        found: dict[str, tuple[list[float], list[float]]] = {arm: ([], []) for arm in missing}
        for _ in range(rounds):
            for arm in missing:
                clocks = Clock(), Clock()
                built = build_arm(arm, size=settings.size)
                train_arm(built, split, steps=(STEPS, STEPS), seed=0, clocks=clocks)
                for times, clock in zip(found[arm], clocks, strict=True):
                    marks = clock.marks[WARMUP:]
                    times += [b - a for a, b in itertools.pairwise(marks)]
                if progress is not None:
                    progress(f"calibrate {name} {arm}")
        for arm, both in found.items():
            known.setdefault(name, {})[arm] = [
                round(statistics.quantiles(t, n=4)[0], 6) for t in both
            ]
        write_json(folder / "calibration.json", known)
    return known


def read_calibration(folder: pathlib.Path) -> Times:
    """What has been measured in a results folder; nothing, if nothing has."""
    path = folder / "calibration.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def steps_for(times: Sequence[float], *, seconds: float, share: float) -> tuple[int, int]:
    """Steps of both stages that take `seconds` together, `share` of them in stage 1.

    Example:
        >>> steps_for([0.1, 0.05], seconds=10.0, share=0.5)
        (50, 100)
    """
    parts = share * seconds, (1 - share) * seconds
    first, second = (max(1, round(part / one)) for part, one in zip(parts, times, strict=True))
    return first, second


if __name__ == "__main__":
    from benchmarks.studies.ssl_tokens.run import main

    main(calibrate_only=True)
