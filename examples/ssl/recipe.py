"""What a recipe is: an encoder, what is trained beside it, a loss, and what moves after a step."""

from collections.abc import Callable
from typing import NamedTuple

from data import Data
from torch import Tensor, nn


class Batch(NamedTuple):
    """Series `(batch, channels, length)` and classes `(batch,)`; few recipes read the classes."""

    series: Tensor
    labels: Tensor


def keep_still(step: int) -> None:
    """Do nothing after a step."""


class Recipe(NamedTuple):
    """One method. `encoder` maps series to features `(batch, dim)`: it is what is measured."""

    encoder: nn.Module
    parts: nn.Module  # trained beside the encoder: projectors, decoders, prototypes
    loss_of: Callable[[Batch, int], Tensor]  # a batch and the step to a scalar
    after_step: Callable[[int], None] = keep_still  # teachers, queues, centres move here
    learning_rate: float = 2e-3
    steps: int = 100  # enough for the small sets here


Method = Callable[[Data], Recipe]
