"""Which series a stage learns from, in which batches, and the noise of their views."""

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok.training._config import TrainingConfig
from ssltok.training._randomness import keyed_generator

__all__ = ["HoldOut", "hold_out", "view_generators"]


class HoldOut(NamedTuple):
    """How a stage divides its series.

    Attributes:
        training: The stage's training with a batch that fits the data.
        steps: Its optimizer steps.
        train: Indices of the series to learn from, int64, sorted.
        held: Indices of those held out, likewise.
    """

    training: TrainingConfig
    steps: int
    train: Tensor
    held: Tensor


def hold_out(
    cases: int, training: TrainingConfig, *, seed: int, world: int = 1, who: str = "fit"
) -> HoldOut:
    """Hold some cases out, and fit batch and steps to what is left.

    Args:
        cases: Series there are.
        training: Wishes: share held out, batch, epochs or steps.
        seed: Decides which are held out.
        world: Processes that share a batch.
        who: Who asks, for the error's text.

    Returns:
        The training with a batch no larger than the data, steps, and the indices, int64, sorted.

    Raises:
        ValueError: If a share is to be held out that is less than one series.

    Example:
        >>> from ssltok.training import TrainingConfig, hold_out
        >>> parts = hold_out(10, TrainingConfig(epochs=2, batch=4, holdout_ratio=0.2), seed=0)
        >>> len(parts.train), len(parts.held), parts.steps
        (8, 2, 4)
    """
    held = int(training.holdout_ratio * cases)
    if training.holdout_ratio and not held:
        raise ValueError(
            f"{who}: holdout_ratio must leave at least one of the series out; "
            f"got {training.holdout_ratio} of {cases}"
        )
    order = torch.randperm(cases, generator=keyed_generator(seed, "holdout"))
    turns = training.accumulation * world
    batch = min(training.batch, max((cases - held) // turns, 1) * turns)
    steps = training.steps or training.epochs * -(-(cases - held) // batch)
    training = dataclasses.replace(training, batch=batch)
    return HoldOut(training, steps, order[held:].sort().values, order[:held].sort().values)


def view_generators(seed: int, step: int, views: int) -> list[torch.Generator]:
    """A generator for each augmented view of a step; the first are the same for any number.

    Example:
        >>> import torch
        >>> from ssltok.training import view_generators
        >>> one, two = view_generators(0, 5, 2)
        >>> torch.rand(1, generator=one) == torch.rand(1, generator=two)
        tensor([False])
    """
    purposes = ["view", "second view", *(f"view {number}" for number in range(3, views + 1))]
    return [keyed_generator(seed, purpose, step) for purpose in purposes[:views]]
