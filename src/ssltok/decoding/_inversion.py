"""Draw by inverting a cumulative distribution."""

import torch
from torch import Tensor

__all__ = ["below", "invert"]


def invert(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw a column of each row with a probability in proportion to its weight.

    A column of weight 0 is never drawn. A row of NaN gives its last column.
    """
    mass = weights.cumsum(dim=-1)
    place = torch.searchsorted(mass, below(mass[:, -1:], generator), right=True)[:, 0]
    return place.clamp(max=weights.shape[-1] - 1)


def below(whole: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw uniformly from 0 to `whole`, never `whole` itself.

    The largest number that `torch.rand` returns is one minus half the dtype's resolution, so that
    the product rounds to a smaller number than `whole`.
    """
    uniform = torch.rand(whole.shape, dtype=whole.dtype, device=whole.device, generator=generator)
    return uniform * whole
