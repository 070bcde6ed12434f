"""Boxes on the grid of each row, of what is left of it without padding."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Extent", "boxes", "corner_order", "extent", "turns_to_cover"]


class Extent(NamedTuple):
    """The grid of each row without its padding, so that a padded row is as a truncated one.

    Rows and columns of the grid that hold no valid token are left out; the others are counted.
    `rows` and `columns` are `(batch, 1)`, how many there are; `row` is `(batch, 1, rows)` and
    `column` `(batch, 1, columns)`, the number of each among them.
    """

    rows: Tensor
    columns: Tensor
    row: Tensor
    column: Tensor


def extent(among: Tensor, rows: int, columns: int) -> Extent:
    """Count the rows and columns of the grid that hold a valid token."""
    grid = among.view(-1, rows, columns)
    row, column = (grid.any(axis).cumsum(-1)[:, None] for axis in (2, 1))
    return Extent(row[..., -1], column[..., -1], row - 1, column - 1)


def boxes(area: Tensor, aspect: Tensor, grid: Extent, generator: torch.Generator | None) -> Tensor:
    """Mark a box of each area and aspect (height / width) anywhere in the grid, flattened.

    Areas and aspects are `(batch, boxes)`, the result `(batch, boxes, tokens)`. The height is
    chosen first and the width makes up the area, so that a grid of one row gets boxes of the full
    area too. Every place the box fits in is equally likely, the last included.
    """
    rows, columns = (side.clamp(min=1).to(area.dtype) for side in (grid.rows, grid.columns))
    height = (area * aspect).sqrt().round().clamp(min=1).minimum(rows)
    width = (area / height).round().clamp(min=1).minimum(columns)
    height = (area / width).round().clamp(min=1).minimum(rows)
    draw = torch.rand((2, *area.shape), device=area.device, generator=generator)
    top = (draw[0] * (rows - height + 1)).floor()[..., None]
    left = (draw[1] * (columns - width + 1)).floor()[..., None]
    in_rows = (grid.row >= top) & (grid.row < top + height[..., None])
    in_columns = (grid.column >= left) & (grid.column < left + width[..., None])
    return (in_rows[..., :, None] & in_columns[..., None, :]).flatten(-2)


def corner_order(grid: Extent, generator: torch.Generator | None) -> Tensor:
    """Number the places of each row in [0, 1), from one of the four corners of its grid on."""
    batch, _, rows = grid.row.shape
    coin = torch.rand((2, batch, 1, 1), device=grid.row.device, generator=generator) < 0.5
    row = torch.where(coin[0], grid.rows[..., None] - 1 - grid.row, grid.row)
    column = torch.where(coin[1], grid.columns[..., None] - 1 - grid.column, grid.column)
    width = grid.column.shape[2]
    place = row[:, 0, :, None] * width + column[:, 0, None, :]
    return place.flatten(1) / (rows * width + 1)


def turns_to_cover(ratio: float, tokens: int) -> int:
    r"""Say how many boxes surely cover a share, each with half of that share on average.

    Independent boxes leave $(1 - \rho / 2)^k$ uncovered after $k$; four times as many, and four
    more, are laid, since nothing may wait to see whether they are needed.
    """
    share = min(ratio, 1 - 1 / (2 * tokens))
    return 4 + (math.ceil(4 * math.log1p(-share) / math.log1p(-share / 2)) if share > 0 else 0)
