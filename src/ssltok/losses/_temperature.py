"""A temperature that may be learned, as CLIP's: a number, or a tensor with one."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_positive

__all__ = ["check_temperature", "divide_out", "in_precision"]


def check_temperature(who: str, name: str, temperature: float | Tensor) -> None:
    """Refuse a number that is not positive, and a tensor that is not one floating point number.

    The value of a tensor is not read: that would wait for the device.
    """
    if not isinstance(temperature, Tensor):
        check_positive(who, name, temperature)
    elif temperature.ndim or not temperature.is_floating_point():
        raise ValueError(
            f"{who}: {name} must be a number or a floating-point tensor of shape (); "
            f"got {temperature.dtype} of shape {tuple(temperature.shape)}"
        )


def in_precision(temperature: float | Tensor, like: Tensor) -> float | Tensor:
    """Return the temperature in the precision of a tensor: two scalars would take the wider."""
    return temperature.to(like.dtype) if isinstance(temperature, Tensor) else temperature


def divide_out(
    rows: Tensor, temperature: float | Tensor, *, root: bool = False
) -> tuple[Tensor, float]:
    """Divide rows by a temperature that is a tensor, and leave 1; a number stays for later.

    What follows has a backward pass of its own for numbers only; the division's is autograd's.
    `root` divides by the square root, where rows meet each other.
    """
    if not isinstance(temperature, Tensor):
        return rows, temperature
    divisor = temperature.to(rows.dtype)
    return rows / (torch.sqrt(divisor) if root else divisor), 1.0
