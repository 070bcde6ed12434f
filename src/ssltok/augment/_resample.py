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
    below = positions.long().clamp(max=length - 2)
    share = (positions - below)[:, None].to(series.dtype)
    index = below[:, None].expand(batch, channels, steps)
    return series.gather(2, index).addcmul(series.diff().gather(2, index), share)


def reorder_segments(series: Tensor, bounds: Tensor, order: Tensor) -> Tensor:
    """Put the segments of each series in another order, all channels alike.

    `bounds` `(batch, segments + 1)` ascend from 0; segment j is `bounds[j] ... bounds[j + 1] - 1`
    and may be empty. `order` `(batch, segments)` says which comes first, second, ...; samples
    behind the last bound stay.
    """
    batch, _, length = series.shape
    steps = torch.arange(length, device=series.device).expand(batch, -1).contiguous()
    ends = bounds.diff().gather(1, order).cumsum(1)  # of the segments in their new places
    place = torch.searchsorted(ends, steps, right=True).clamp(max=order.shape[1] - 1)
    source = steps + (bounds[:, 1:].gather(1, order) - ends).gather(1, place)
    source = torch.where(steps < bounds[:, -1:], source, steps)
    return series.gather(2, source[:, None].expand_as(series))
