"""The one reduction that state needs: sums of counts and features over all processes."""

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["alone", "sum_over_processes"]


def alone() -> bool:
    """Return whether there is one process only."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Return the sum of `tensor` over the default process group; itself if there is none."""
    if alone():
        return tensor
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
