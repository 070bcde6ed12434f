"""How many directions are in use: the exponential of the entropy of their strengths."""

import torch
from torch import Tensor

__all__ = ["effective_rank"]


def effective_rank(strengths: Tensor) -> Tensor:
    """Return the effective number of strengths `(...,)`, none negative; NaN if all are 0."""
    p = strengths / strengths.sum()
    return torch.where(p != 0, -p * p.log(), 0.0).sum().exp()
