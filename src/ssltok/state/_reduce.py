"""The one reduction that state needs: sums of counts and features over all processes."""

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["sum_over_processes"]


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Return the sum of `tensor` over the default process group; itself if there is none."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensor
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
