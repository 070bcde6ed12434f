"""How many series go through a network at once, where they are more than memory may hold."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["AT_ONCE", "SAMPLES", "mean_of", "portion"]

AT_ONCE = 256
"""Series that pass tokenizer or prior at once where nothing is learned. Draws are made portion by
portion, so another number would give other series for a seed."""

SAMPLES = 2**20
"""Samples along time of a portion: about a gigabyte of features in a network of the presets."""


def portion(cases: int, length: int) -> int:
    """Series of a portion, at least one; all of them wherever they are few.

    Args:
        cases: Series there are.
        length: Samples of each.
    """
    return max(min(cases, SAMPLES // length), 1)


def mean_of(portions: Sequence[tuple[Tensor, int]]) -> float:
    """The mean of the means of portions, each with its rows; the plain mean of equal ones."""
    means = torch.stack([mean for mean, _ in portions])
    rows = [count for _, count in portions]
    if len(set(rows)) == 1:
        return float(means.mean())
    weights = means.new_tensor(rows)
    return float((means * weights).sum() / weights.sum())
