"""Stretches of neighbouring tokens: means of them, and their way back to each token."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ssltok.quantizers._layout import Flat

__all__ = ["Cells"]


class Cells(NamedTuple):
    """Every `stride` neighbours along the last axis of places, of samples on the first axis.

    Attributes:
        members: Which places of a cell are real, `(cells, stride)`.
        real: Which cells hold a real token, `(cells,)`; None: all do.
        samples: Entries of the first axis.
        rows: Rows of neighbours in all samples.
        length: Tokens of a row.
        stride: Places of a cell.
    """

    members: Tensor
    real: Tensor | None
    samples: int
    rows: int
    length: int
    stride: int

    @staticmethod
    def of(flat: Flat, stride: int) -> "Cells":
        """Cut tokens into cells; two axes or more before the channels: the last is time."""
        shape = flat.shape if len(flat.shape) > 1 else (*flat.shape, 1)
        rows, length = math.prod(shape[:-1]), shape[-1]
        here = flat.real
        if here is None:
            here = torch.ones(rows * length, dtype=torch.bool, device=flat.tokens.device)
        whole = Cells(here, None, shape[0], rows, length, stride)
        members = whole._gathered(here.to(torch.uint8)).bool()
        real = None if flat.real is None else members.any(dim=1)
        return whole._replace(members=members, real=real)

    def mean(self, tokens: Tensor) -> Tensor:
        """Average the real tokens of each cell, `(cells, dim)`; 0 where there is none."""
        if self.stride == 1:
            return tokens
        weight = self.members.to(tokens)[..., None]
        sums = (self._gathered(tokens) * weight).sum(dim=1)
        mean: Tensor = sums / weight.sum(dim=1).clamp(min=1)
        return mean

    def first(self, codes: Tensor) -> Tensor:
        """Return the codes of each cell's first real place; -1 where there is none."""
        members = self._gathered(codes)
        place = self.members.to(torch.uint8).argmax(dim=1)
        chosen = members[torch.arange(len(place), device=place.device), place]
        known = self.members.any(dim=1).reshape(-1, *[1] * (codes.ndim - 1))
        return torch.where(known, chosen, -1)

    def spread(self, values: Tensor) -> Tensor:
        """Give each token its cell's value, `(tokens, ...)`."""
        if self.stride == 1:
            return values
        cells = -(-self.length // self.stride)
        each = values.reshape(self.rows, cells, *values.shape[1:])
        each = each.repeat_interleave(self.stride, dim=1)[:, : self.length]
        return each.reshape(self.rows * self.length, *values.shape[1:])

    def by_sample(self, values: Tensor) -> Tensor:
        """Lay `(cells, ...)` out as `(samples, cells of a sample, ...)`."""
        each = len(values) // max(self.samples, 1)
        return values.reshape(self.samples, each, *values.shape[1:])

    def _gathered(self, values: Tensor) -> Tensor:
        """Lay `(tokens, ...)` out as `(cells, stride, ...)`, 0 beyond a row's end."""
        cells = -(-self.length // self.stride)
        grid = values.reshape(self.rows, self.length, *values.shape[1:])
        beyond = cells * self.stride - self.length
        grid = F.pad(grid, (*[0, 0] * (values.ndim - 1), 0, beyond))
        return grid.reshape(self.rows * cells, self.stride, *values.shape[1:])
