"""Vectors of length 1."""

import torch
from torch import Tensor

__all__ = ["UNIT_EPS", "has_direction", "sphere_rows", "unit_rows_plain"]

UNIT_EPS = 1e-12
"""The least length that is divided by, as in `torch.nn.functional.normalize`."""


def unit_rows_plain(rows: Tensor) -> Tensor:
    r"""Divide each row of `(..., dim)` by its norm, or by $10^{-12}$ if that is larger."""
    return torch.nn.functional.normalize(rows, dim=-1, eps=UNIT_EPS)


def has_direction(rows: Tensor) -> Tensor:
    """Say of each row of `(tokens, dim)` whether it is other than 0."""
    return (rows.amax(dim=1) != 0) | (rows.amin(dim=1) != 0)


def sphere_rows(rows: Tensor) -> Tensor:
    r"""Divide each row of `(..., dim)` by its norm, and leave a row of length 0 as it is.

    So its gradient is as it is too, where that of `unit_rows_plain` is $10^{12}$ times as large.
    """
    square = rows.square().sum(dim=-1, keepdim=True)
    return rows * torch.where(square > 0, square, 1.0).rsqrt()
