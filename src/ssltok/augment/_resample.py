"""Read a batch of series at other places: one gather for all channels, the core of every warp."""

import torch
from torch import Tensor

__all__ = ["read_between", "reorder_segments"]


def read_between(series: Tensor, positions: Tensor) -> Tensor:
    """Interpolate linearly: `series` `(batch, channels, length)` at `positions` `(batch, steps)`.

    Positions outside 0 ... length - 1 are moved to its ends.
    """
    batch, channels, length = series.shape
    steps = positions.shape[-1]
    if length == 1:
        return series.expand(-1, -1, steps).clone()
    positions = positions.clamp(0, length - 1)
    below = positions.floor().clamp_(max=length - 2)
    share = positions.sub_(below)[:, None].to(series.dtype)
    index = below.long()[:, None]
    start = series.gather(2, index.expand(batch, channels, steps))
    return start.lerp_(series.gather(2, (index + 1).expand(batch, channels, steps)), share)


def reorder_segments(series: Tensor, bounds: Tensor, order: Tensor) -> Tensor:
    """Put the segments of each series in another order, all channels alike.

    `bounds` `(batch, segments + 1)` ascend from 0; segment j is `bounds[j] ... bounds[j + 1] - 1`
    and may be empty. `order` `(batch, segments)` says which comes first, second, ...; samples
    behind the last bound stay.
    """
    batch, _, length = series.shape
    sizes = bounds.diff().gather(1, order)
    moved = bounds[:, :-1].gather(1, order) - (sizes.cumsum(1) - sizes)  # where from - where to
    behind = length - bounds[:, -1:]
    source = torch.repeat_interleave(
        torch.cat([moved, torch.zeros_like(behind)], 1).flatten(),
        torch.cat([sizes, behind], 1).flatten(),
        output_size=batch * length,
    )
    source = source.view(batch, length).add_(torch.arange(length, device=series.device))
    return series.gather(2, source[:, None].expand_as(series))
