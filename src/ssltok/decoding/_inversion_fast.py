"""`_inversion` for large codebooks."""

import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok.decoding import _inversion as plain
from ssltok.decoding._inversion import below

__all__ = ["invert"]


def invert(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """As `_inversion.invert`; large codebooks are searched in two levels.

    First among sums of blocks, so that only one block per row is accumulated.
    """
    block_size = sizes.CODES_A_BLOCK
    if weights.shape[-1] < 8 * block_size or weights.shape[-1] % block_size:
        return plain.invert(weights, generator)
    blocks = weights.view(len(weights), -1, block_size)
    mass = blocks.sum(dim=-1).cumsum(dim=-1)
    aim = below(mass[:, -1:], generator)
    block = torch.searchsorted(mass, aim, right=True).clamp(max=blocks.shape[1] - 1)
    start = torch.where(block > 0, mass.gather(-1, (block - 1).clamp(min=0)), 0)
    inner = blocks.gather(1, block[..., None].expand(-1, -1, block_size))[:, 0].cumsum(dim=-1)
    aim = torch.minimum(aim - start, _previous(inner[:, -1:]))
    place = torch.searchsorted(inner, aim, right=True).clamp(max=block_size - 1)
    return (block * block_size + place)[:, 0]


def _previous(number: Tensor) -> Tensor:
    """Return the next smaller number that the dtype has."""
    return torch.nextafter(number, torch.zeros_like(number))
