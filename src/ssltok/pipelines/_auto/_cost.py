"""What a step costs, counted and never timed: the same data give the same plan on any machine."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Cost", "count", "seconds"]

PER_CALL = 1.0e-5
PER_VALUE = 1.4e-9
PER_FLOP = 7e-12
"""Seconds on the class of machine that README names, two threads, nothing beside them: fitted to
24 steps by `benchmarks/auto_rates.py`, right within a third for each and within a tenth for most.
That the optimizer's time grows with the parameters does not show at these sizes."""


class Cost(NamedTuple):
    """Counts of one training step, forward and backward."""

    calls: int
    """Calls of torch in the forward pass."""
    values: int
    """Values that these calls return."""
    flops: int
    """Floating-point operations of matrix products and convolutions, forward and backward."""


def count(step: Callable[[], Tensor]) -> Cost:
    """Run a step once, forward and backward, and count.

    Args:
        step: Gives the loss.
    """
    with torch.no_grad():
        step()  # what is computed once and kept is no part of a step
    counter = _Counter()
    with FlopCounterMode(display=False) as flops:
        with counter:
            loss = step()
        loss.backward()
    return Cost(counter.calls, counter.values, flops.get_total_flops())


def seconds(cost: Cost) -> float:
    """Seconds of a step by the table of rates."""
    return PER_CALL * cost.calls + PER_VALUE * cost.values + PER_FLOP * cost.flops


class _Counter(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls, self.values = 0, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.values += result.numel()
        return result
