"""Masks of blocks on a grid of tokens: BEiT, I-JEPA, SimMIM's units, whole channels."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_positive, check_ratio
from ssltok._shared.ranking import count_share, mask_lowest
from ssltok.masking._boxes import boxes, corner_order, extent, turns_to_cover
from ssltok.masking._random import check_grid, start

__all__ = ["MultiblockMask", "block_mask", "multiblock_mask", "unit_mask"]


class MultiblockMask(NamedTuple):
    """What the context may not see, and the blocks that are to be predicted.

    Attributes:
        hidden: `(batch, tokens)`, True where the context encoder sees nothing.
        targets: `(batch, targets, tokens)`, True in the block to predict; each block lies within
            `hidden`.
    """

    hidden: Tensor
    targets: Tensor


def sides(who: str, shape: tuple[int, int], grid: tuple[int, int] | None) -> tuple[int, int]:
    """Return the rows and columns of the token grid; one row by default."""
    rows, columns = grid or (1, shape[1])
    if rows * columns != shape[1] or rows < 1:
        raise ValueError(
            f"{who}: grid must hold as many places as there are tokens; "
            f"got {(rows, columns)} for {shape[1]} tokens"
        )
    return rows, columns


def between(
    like: Tensor, limits: tuple[float | Tensor, float | Tensor], generator: torch.Generator | None
) -> Tensor:
    """Draw uniformly between two limits."""
    uniform = torch.rand(like.shape, device=like.device, generator=generator)
    return limits[0] + (limits[1] - limits[0]) * uniform


def check_limits(who: str, name: str, limits: tuple[float, float]) -> None:
    """Ask for a pair of positive numbers in order."""
    check_positive(who, name, limits[0])
    if limits[1] < limits[0]:
        raise ValueError(f"{who}: {name} must be (low, high); got {limits}")


def block_mask(
    shape: tuple[int, int],
    *,
    ratio: float = 0.4,
    grid: tuple[int, int] | None = None,
    least_area: int = 16,
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Mask random boxes one over the other until a share is masked, exactly (BEiT).

    Boxes with an area uniform between `least_area` and the share wanted, and a log-uniform aspect,
    are laid one after the other; the $\lceil \text{ratio} \cdot n \rceil$ tokens covered first are
    masked, the last box in part, from one of its corners on, each as likely. What no box covered
    follows at random. Areas, shares and places are those of the row without its padding: rows and
    columns of the grid that hold no valid token are left out. Departures: BEiT tries each box up
    to ten times and may stop below the share; its boxes never reach over what remains.

    Args:
        shape: `(batch, tokens)`.
        ratio: Share of the valid tokens to mask, in [0, 1]; BEiT uses 75 of 196.
        grid: `(freq, frames)` with `tokens = freq * frames`; one row by default.
        least_area: Tokens of the smallest box, at least 1; BEiT uses 16.
        aspect: Range of height over width; BEiT uses (0.3, 1 / 0.3).
        valid: `(batch, tokens)`, boolean, True where a token is real; all by default.
        device: Where the mask is made; that of `valid`, or the CPU, by default.
        generator: Source of randomness, on the same device.

    Returns:
        A boolean mask, `(batch, tokens)`, True where masked.

    Raises:
        ValueError: If the shape is empty, `grid` or `valid` does not fit, or an option is out of
            range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> from ssltok.masking import block_mask
        >>> block_mask((2, 40), grid=(5, 8), least_area=4).sum(dim=1)
        tensor([16, 16])

    References:
        Bao et al., *BEiT*, 2021, <https://arxiv.org/abs/2106.08254>, algorithm 1.
    """
    check_grid("block_mask", shape, valid)
    check_ratio("block_mask", "ratio", ratio)
    check_at_least("block_mask", "least_area", least_area, 1)
    check_limits("block_mask", "aspect", aspect)
    rows, columns = sides("block_mask", shape, grid)
    among, sizes = start(shape, valid, device)
    space = extent(among, rows, columns)
    counts = count_share(ratio, sizes)
    turns = turns_to_cover(ratio, shape[1])
    largest = counts.clamp(min=1)[:, None].float()
    like = largest.expand(-1, turns)
    stretch = between(like, (math.log(aspect[0]), math.log(aspect[1])), generator).exp()
    area = between(like, (largest.clamp(max=least_area), largest), generator)
    laid = boxes(area, stretch, space, generator)
    scores = torch.rand(shape, device=among.device, generator=generator) + (turns + 1)
    order = corner_order(space, generator)  # within a box: below 1
    for turn in reversed(range(turns)):
        scores = torch.where(laid[:, turn], turn + order, scores)
    return mask_lowest(scores, counts, among)


def multiblock_mask(
    shape: tuple[int, int],
    *,
    grid: tuple[int, int] | None = None,
    targets: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    target_aspect: tuple[float, float] = (0.75, 1.5),
    context_scale: tuple[float, float] = (0.85, 1.0),
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> MultiblockMask:
    """Hide several target boxes, and all of them from one large context box (I-JEPA).

    Context and targets are disjoint. A row with two valid tokens or more keeps at least one
    visible, and each of its targets has at least one, by construction: a row left without context
    gets one random token back, a target left empty gets one random token of the rest. Nothing is
    drawn again. Scales and places are those of the row without its padding: rows and columns of the
    grid that hold no valid token are left out. Departures: boxes may reach the last row and
    column; scale and aspect are drawn independently; each row has sizes of its own, so no context
    is cut to the shortest of a batch.

    Args:
        shape: `(batch, tokens)`.
        grid: `(freq, frames)` with `tokens = freq * frames`; one row by default.
        targets: How many target boxes, at least 1; the paper uses 4.
        target_scale: Range of a target's share of the grid, in (0, 1].
        target_aspect: Range of a target's height over width.
        context_scale: Range of the context box's share of the grid; its aspect is 1.
        valid: `(batch, tokens)`, boolean, True where a token is real; all by default.
        device: Where the masks are made; that of `valid`, or the CPU, by default.
        generator: Source of randomness, on the same device.

    Returns:
        A `MultiblockMask` of what the context may not see and of the targets.

    Raises:
        ValueError: If the shape is empty, `grid` or `valid` does not fit, or an option is out of
            range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> from ssltok.masking import multiblock_mask
        >>> hidden, targets = multiblock_mask((2, 40), grid=(5, 8))
        >>> targets.shape, bool((targets & ~hidden[:, None]).any())
        (torch.Size([2, 4, 40]), False)

    References:
        Assran et al., *I-JEPA*, 2023, <https://arxiv.org/abs/2301.08243>, section 3.
    """
    who = "multiblock_mask"
    check_grid(who, shape, valid)
    check_at_least(who, "targets", targets, 1)
    check_limits(who, "target_scale", target_scale)
    check_limits(who, "target_aspect", target_aspect)
    check_limits(who, "context_scale", context_scale)
    check_ratio(who, "target_scale", target_scale[1])
    check_ratio(who, "context_scale", context_scale[1])
    rows, columns = sides(who, shape, grid)
    among, sizes = start(shape, valid, device)
    space = extent(among, rows, columns)
    size = space.rows * space.columns
    like = torch.zeros((shape[0], targets), device=among.device)
    area = between(like, target_scale, generator) * size
    aspect = between(like, target_aspect, generator)
    blocks = boxes(area, aspect, space, generator) & among[:, None]
    area = between(like[:, :1], context_scale, generator) * size
    square = space.rows / space.columns.clamp(min=1)
    context = boxes(area, square, space, generator).squeeze(1)
    visible = context & among & ~blocks.any(1)
    scores = torch.rand(shape, device=among.device, generator=generator)
    rest = among & ~blocks.any(1)
    back = mask_lowest(scores, (sizes > 0).long(), torch.where(rest.any(-1, True), rest, among))
    visible = torch.where(visible.any(-1, keepdim=True), visible, back)
    blocks = blocks & ~visible[:, None]
    # what is left for targets that came out empty: anything but one visible token of each row
    keep = mask_lowest(scores, (sizes > 0).long(), visible)
    others = (among & ~keep)[:, None].expand_as(blocks).flatten(0, 1)
    draw = torch.rand(others.shape, device=among.device, generator=generator)
    filled = mask_lowest(draw, others.any(-1).long(), others).view_as(blocks)
    blocks = torch.where(blocks.any(-1, keepdim=True), blocks, filled)
    visible = visible & ~blocks.any(1)
    return MultiblockMask(among & ~visible, blocks)


def unit_mask(
    shape: tuple[int, int],
    *,
    ratio: float,
    unit: tuple[int, int],
    grid: tuple[int, int] | None = None,
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Mask whole units of neighbouring tokens at random (SimMIM; a tube mask is a tall unit).

    The grid is cut into units of `unit` places, the last of a side perhaps smaller (rows and
    columns of the grid that hold no valid token are left out, so padding moves no unit), and
    $\lceil \text{ratio} \cdot m \rceil$ of a row's $m$ units with a valid token are masked.

    Args:
        shape: `(batch, tokens)`.
        ratio: Share of the units to mask, in [0, 1]; SimMIM uses 0.6.
        unit: Height and width of a unit; `(1, 4)` for four tokens in a row, `(freq, 1)` for tubes
            over all frequencies.
        grid: `(freq, frames)` with `tokens = freq * frames`; one row by default.
        valid: `(batch, tokens)`, boolean, True where a token is real; all by default.
        device: Where the mask is made; that of `valid`, or the CPU, by default.
        generator: Source of randomness, on the same device.

    Returns:
        A boolean mask, `(batch, tokens)`, True where masked.

    Raises:
        ValueError: If the shape is empty, `grid` or `valid` does not fit, or an option is out of
            range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> from ssltok.masking import unit_mask
        >>> mask = unit_mask((1, 12), ratio=0.5, unit=(1, 3))
        >>> mask.view(4, 3).any(dim=1).sum(), mask.view(4, 3).all(dim=1).sum()
        (tensor(2), tensor(2))

    References:
        Xie et al., *SimMIM*, 2021, <https://arxiv.org/abs/2111.09886>, section 3.2.
    """
    check_grid("unit_mask", shape, valid)
    check_ratio("unit_mask", "ratio", ratio)
    check_at_least("unit_mask", "unit", min(unit), 1)
    rows, columns = sides("unit_mask", shape, grid)
    among, _ = start(shape, valid, device)
    space = extent(among, rows, columns)
    across = math.ceil(columns / unit[1])
    row, column = (space.row.clamp(min=0) // unit[0], space.column.clamp(min=0) // unit[1])
    owner = (row[:, 0, :, None] * across + column[:, 0, None, :]).flatten(1)
    units = math.ceil(rows / unit[0]) * across
    alive = torch.zeros((shape[0], units), dtype=torch.int64, device=among.device)
    real = alive.scatter_add(1, owner, among.long()) > 0
    scores = torch.rand(real.shape, device=among.device, generator=generator)
    return mask_lowest(scores, count_share(ratio, real.sum(-1)), real).gather(1, owner) & among
