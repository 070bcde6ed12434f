"""Checks of arguments, in one voice: `who: rule; got fact`.

They read shapes, dtypes and plain numbers, never the values of a tensor, so that no check waits
for a device and every check survives `torch.compile(fullgraph=True)`.
"""

import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "check_at_least",
    "check_axes",
    "check_bool_mask",
    "check_codes",
    "check_floating",
    "check_integer",
    "check_number",
    "check_positive",
    "check_ratio",
    "check_same_shape",
    "check_size",
    "check_view_pair",
    "check_weights",
]


def check_axes(who: str, name: str, tensor: Tensor, axes: str) -> None:
    """Ask that `tensor` has one dimension for each word of `axes`, such as `batch tokens dim`."""
    words = axes.split()
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{who}: {name} must be a tensor; got {type(tensor).__name__}")
    if tensor.ndim != len(words):
        shape = f"({', '.join(words)})" if len(words) > 1 else f"({words[0]},)"
        raise ValueError(f"{who}: {name} must be {shape}; got shape {tuple(tensor.shape)}")


def check_floating(who: str, name: str, tensor: Tensor) -> None:
    """Ask for a floating-point tensor."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{who}: {name} must be a tensor; got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise ValueError(f"{who}: {name} must be floating point; got {tensor.dtype}")


def check_codes(who: str, name: str, codes: Tensor) -> None:
    """Ask for int64 codes."""
    if not isinstance(codes, Tensor):
        raise TypeError(f"{who}: {name} must be a tensor; got {type(codes).__name__}")
    if codes.dtype != torch.int64:
        raise ValueError(f"{who}: {name} must be int64; got {codes.dtype}")


def check_bool_mask(who: str, name: str, mask: Tensor, shape: Sequence[int]) -> None:
    """Ask for a boolean tensor of exactly `shape`."""
    if not isinstance(mask, Tensor):
        raise TypeError(f"{who}: {name} must be a tensor; got {type(mask).__name__}")
    if mask.dtype != torch.bool:
        raise ValueError(f"{who}: {name} must be boolean; got {mask.dtype}")
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(f"{who}: {name} must have shape {tuple(shape)}; got {tuple(mask.shape)}")


def check_same_shape(who: str, names: str, first: Tensor, second: Tensor) -> None:
    """Ask that two tensors share one shape; `names` says which two, such as `pred and target`."""
    if first.shape != second.shape:
        raise ValueError(
            f"{who}: {names} must share one shape; "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )


def check_size(who: str, name: str, tensor: Tensor, dim: int, size: int) -> None:
    """Ask that dimension `dim` of `tensor` has `size` entries."""
    if tensor.shape[dim] != size:
        raise ValueError(
            f"{who}: {name} must have size {size} in dimension {dim}; "
            f"got {tensor.shape[dim]} in shape {tuple(tensor.shape)}"
        )


def check_view_pair(who: str, z_a: Tensor, z_b: Tensor, *, least_batch: int = 2) -> None:
    """Ask for two floating-point views, `(batch, dim)` each, of one shape."""
    check_floating(who, "z_a", z_a)
    check_floating(who, "z_b", z_b)
    check_same_shape(who, "z_a and z_b", z_a, z_b)
    check_axes(who, "z_a", z_a, "batch dim")
    check_at_least(who, "batch", z_a.shape[0], least_batch)


def check_number(who: str, name: str, value: float | Tensor) -> None:
    """Refuse what is no plain number; a tensor would get no gradient, or be waited for."""
    if isinstance(value, Tensor):
        raise TypeError(f"{who}: {name} must be a number; got a tensor")
    if not isinstance(value, (int, float, torch.SymInt, torch.SymFloat, numbers.Real)):
        raise TypeError(f"{who}: {name} must be a number; got {_called(value)}")


def _called(value: object) -> str:
    return str(value) if isinstance(value, float) else type(value).__name__


def check_integer(who: str, name: str, value: int) -> None:
    """Ask for a whole number."""
    if not isinstance(value, (int, torch.SymInt, numbers.Integral)):
        raise TypeError(f"{who}: {name} must be an integer; got {_called(value)}")


def check_weights(who: str, **weights: float | Tensor) -> None:
    """Ask that factors of terms are numbers, or tensors, which are learned."""
    for name, weight in weights.items():
        if not isinstance(weight, Tensor):
            check_number(who, name, weight)


def check_at_least(who: str, name: str, value: float, low: float) -> None:
    """Ask that a number is `low` or more (NaN is refused)."""
    check_number(who, name, value)
    if not value >= low:
        raise ValueError(f"{who}: {name} must be >= {low}; got {value}")


def check_positive(who: str, name: str, value: float) -> None:
    """Ask that a number is greater than zero (NaN is refused)."""
    check_number(who, name, value)
    if not value > 0:
        raise ValueError(f"{who}: {name} must be > 0; got {value}")


def check_ratio(who: str, name: str, value: float) -> None:
    """Ask that a number lies in [0, 1]."""
    check_number(who, name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{who}: {name} must lie in [0, 1]; got {value}")
