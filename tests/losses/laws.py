"""Laws that every loss of predictions and targets keeps; `test_laws.py` asks them of each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Case", "normal", "probabilities"]


class Case(NamedTuple):
    """A loss, options that are not its defaults, inputs, and which of them are targets."""

    loss: Callable[..., Tensor]
    options: dict[str, Any]
    draw: Callable[[torch.Generator], tuple[Tensor, ...]]
    targets: tuple[int, ...]


def normal(generator: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    """Numbers with another mean in each column, so that no two axes look alike."""
    drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return scale * (drawn + torch.linspace(-1, 1, shape[-1], dtype=torch.float64))


def probabilities(generator: torch.Generator, *shape: int) -> Tensor:
    """Rows that sum to 1, some nearly sure."""
    return torch.softmax(normal(generator, *shape, scale=3.0), -1)
