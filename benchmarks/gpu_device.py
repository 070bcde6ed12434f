"""What the checks and the ratios of `gpu.py` share: items, and a device that is waited for."""

import contextlib
import importlib
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Item", "NotHere", "NotInstalled", "PeerFailed", "describe_device", "optional", "peak_mib",
    "seeded", "tensors_on", "wait",
]  # fmt: skip


class Item(NamedTuple):
    """One or more rows of the table: `run` returns their figures."""

    name: str
    run: Callable[[], list[dict[str, Any]]]


class NotInstalled(Exception):  # noqa: N818 - a status, not an error
    """A peer is missing."""


class PeerFailed(Exception):  # noqa: N818 - a status, not an error
    """A peer is installed, but does not run."""


class NotHere(Exception):  # noqa: N818 - a status, not an error
    """The device cannot be asked this."""


def optional(name: str, package: str) -> Any:
    """Import a module of a peer, or raise `NotInstalled` with the package to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotInstalled(f"pip install {package}") from error


def describe_device(device: torch.device) -> str:
    """Its name, memory and versions in one line."""
    if device.type != "cuda":
        return f"device {device}"
    facts = torch.cuda.get_device_properties(device)
    return f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"


def wait(device: torch.device) -> None:
    """Return when the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_mib(call: Callable[[], object], device: torch.device) -> float:
    """Peak of the CUDA device's memory during one call, above what was held before."""
    wait(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = call()
    wait(device)
    peak = (torch.cuda.max_memory_allocated(device) - before) / 2**20
    del result
    return peak


def seeded(device: torch.device, seed: int = 0) -> torch.Generator:
    """A generator on the device."""
    return torch.Generator(device).manual_seed(seed)


@contextlib.contextmanager
def tensors_on(module: types.ModuleType, device: torch.device) -> Iterator[None]:
    """Within the block a module's tensors are on the device, and so is what it draws."""

    def moved(value: object) -> object:
        if isinstance(value, Tensor):
            return value.to(device)
        if isinstance(value, tuple) and value and all(isinstance(v, Tensor) for v in value):
            return tuple(v.to(device) for v in value)
        return value

    before = dict(vars(module))
    try:
        for name, value in before.items():
            if moved(value) is not value:
                setattr(module, name, moved(value))
        with device:
            yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
