"""Random directions along which embeddings are looked at."""

import torch
from torch import Tensor, nn

__all__ = ["directions_for"]


def directions_for(z: Tensor, slices: int, generator: torch.Generator | None) -> Tensor:
    """Draw `(dim, slices)` unit columns for `(..., dim)`.

    One seed gives the same directions in every precision.
    """
    drawn = torch.randn(
        z.shape[-1], slices, generator=generator, device=z.device, dtype=torch.float32
    )
    return nn.functional.normalize(drawn.to(z.dtype), dim=0)
