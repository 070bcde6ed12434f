"""What every check needs: to ask, to compare states, and to leave the global stream alone."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "ask", "ask_members", "ask_quiet", "drawn_from", "name_of", "near", "ragged_rows", "same_state",
    "settled", "state_of", "wave_of",
]  # fmt: skip


def ask(holds: bool, part: object, rule: str, fact: object) -> None:  # noqa: FBT001
    """Raise an `AssertionError` of who, rule and fact, unless the rule holds."""
    if not holds:
        raise AssertionError(f"{name_of(part)}: {rule}; got {fact}")


def ask_members(part: object, members: Sequence[str]) -> None:
    """Ask for a module with these members."""
    ask(isinstance(part, nn.Module), part, "it must be a torch.nn.Module", type(part).__name__)
    missing = sorted(member for member in members if not hasattr(part, member))
    ask(not missing, part, "it must have all members of the protocol; it misses", missing)


def name_of(part: object) -> str:
    """The name of a function, or of what a partial calls, or of a module's class."""
    while isinstance(part, functools.partial):
        part = part.func
    return part if isinstance(part, str) else getattr(part, "__name__", type(part).__name__)


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's state."""
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def settled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state without the running statistics of norms, all that a training pass may move."""
    running = ("running_", "num_batches_tracked")
    return {k: v for k, v in state.items() if not k.rsplit(".", 1)[-1].startswith(running)}


def same_state(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether two states are equal to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def near(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal up to rounding."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def wave_of(tensor: Tensor) -> Tensor:
    """Weights without symmetry, for a scalar of a tensor."""
    return torch.arange(1, tensor.numel() + 1).reshape(tensor.shape).to(tensor.dtype).sin()


def ragged_rows(cases: int, length: int) -> Tensor:
    """Which samples are real, boolean `(cases, length)`: rows that end from whole to a third."""
    ends = length - torch.arange(cases) * (2 * length // 3) // max(cases - 1, 1)
    return torch.arange(length) < ends[:, None]


@contextlib.contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Let what draws from the global stream draw the same, and put the stream back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def ask_quiet(part: object, name: str) -> Iterator[None]:
    """Ask that nothing is drawn from the global stream."""
    before = torch.get_rng_state()
    yield
    after: Any = torch.get_rng_state()
    ask(torch.equal(before, after), part, f"{name} must not draw from the global stream", "a draw")
