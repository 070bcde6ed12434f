"""What a run measures on where its series stay on disk: a sample of stated size, in memory."""

from typing import Any

import numpy as np
import torch
from torch import Generator

from ssltok.data import Dataset, SeriesSource, TrainAndTest, is_source, label_index

__all__ = ["MOST", "last_samples", "measured_parts"]

MOST = 2000
"""Series of each part, at most."""


def measured_parts(parts: TrainAndTest, generator: Generator) -> tuple[TrainAndTest, str]:
    """Take at most 2,000 series of each part of a source; others are measured as they are.

    Of the training series each class has one in the sample.

    Args:
        parts: What is trained on, and tested on.
        generator: Decides which.

    Returns:
        The parts, and what was sampled, in words; empty if nothing was.
    """
    taken, words = [], []
    for name, series, labels in (
        ("training", parts.train, parts.train_labels), ("test", parts.test, parts.test_labels)
    ):  # fmt: skip
        if not is_source(series):
            taken += [series, labels]
            continue
        cases = len(series)
        order = torch.randperm(cases, generator=generator)
        if name == "training" and labels is not None:
            order = _classes_first(labels, order)
        chosen = order[:MOST].sort().values
        taken += [_rows(series, chosen.numpy()), _labels(labels, chosen.tolist())]
        if cases > MOST:
            words.append(f"{MOST} of {cases} {name}")
    about = f"a random sample of {' and '.join(words)} series" if words else ""
    train, train_labels, test, test_labels = taken
    return TrainAndTest(train, train_labels, test, test_labels, parts.about), about


def last_samples(data: Dataset, size: int) -> tuple[Dataset, int]:
    """The end of a long series that stays in a file, and the place of its first sample."""
    length = data.train.length
    first = max(0, length - size)
    tail = np.array(data.train.take(slice(0, 1))[:, :, first:])
    return data._replace(train=tail), first


def _classes_first(labels: Any, order: torch.Tensor) -> torch.Tensor:
    index, classes = label_index(labels, len(order), who="run")
    if len(classes) > MOST:
        raise ValueError(f"run: classes must be at most {MOST} to be measured; got {len(classes)}")
    ordered = index[order]
    first = torch.zeros(len(order), dtype=torch.bool)
    for number in range(len(classes)):
        first[(ordered == number).nonzero()[:1, 0]] = True
    return torch.cat([order[first], order[~first]])


def _rows(series: SeriesSource, chosen: Any) -> Any:
    return np.ascontiguousarray(series.take(chosen))


def _labels(labels: Any, chosen: list[int]) -> Any:
    return None if labels is None else [labels[place] for place in chosen]
