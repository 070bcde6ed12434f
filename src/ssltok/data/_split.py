"""A training and a test part, where a data set has one or none."""

from typing import Any, NamedTuple

import numpy as np
import torch

from ssltok.data._loaders import Dataset

__all__ = ["Parts", "train_and_test"]

LEAST = 5  # series, of which a fifth can be spared


class Parts(NamedTuple):
    """Series and labels to learn from, and those to be judged by."""

    train: Any
    train_labels: Any
    test: Any
    test_labels: Any


def train_and_test(data: Dataset, generator: torch.Generator, *, who: str = "run") -> Parts:
    """Give a data set's two parts; without a test part, a random fifth stands in for it.

    Args:
        data: From `load_dataset`.
        generator: Chooses the fifth.
        who: Who asks, for the error's text.

    Returns:
        The parts, each in the order of the data set.

    Raises:
        ValueError: If there is no test part and there are fewer than 5 series.

    Example:
        >>> import numpy as np, torch
        >>> from ssltok.data import Dataset, train_and_test
        >>> data = Dataset("ten", np.zeros((10, 8)), None, None, None)
        >>> parts = train_and_test(data, torch.Generator().manual_seed(0))
        >>> len(parts.train), len(parts.test)
        (8, 2)
    """
    if data.test is not None:
        return Parts(data.train, data.train_labels, data.test, data.test_labels)
    cases = len(data.train)
    if cases < LEAST:
        raise ValueError(
            f"{who}: data without a test part must hold at least {LEAST} series; got {cases}"
        )
    order = torch.randperm(cases, generator=generator).tolist()
    test, train = sorted(order[: cases // 5]), sorted(order[cases // 5 :])
    return Parts(
        _take(data.train, train), _take(data.train_labels, train),
        _take(data.train, test), _take(data.train_labels, test),
    )  # fmt: skip


def _take(items: Any, index: list[int]) -> Any:
    if items is None:
        return None
    return items[index] if isinstance(items, np.ndarray) else [items[i] for i in index]
