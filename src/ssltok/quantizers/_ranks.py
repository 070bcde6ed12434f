"""Agreement between processes: one sum, which is the tensor itself where there is no group."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["broadcast_from_first", "in_a_group", "sum_over_ranks"]


def in_a_group() -> bool:
    """Say whether there are other processes to agree with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Add up the tensors of all processes; the gradients are added up as well.

    With the averaging of gradients in DDP, the gradient of a loss of the sum is then that of a
    single process with the whole batch.
    """
    if not in_a_group():
        return tensor
    return _Sum.apply(tensor)  # type: ignore[no-any-return, no-untyped-call]


def broadcast_from_first(tensor: Tensor) -> Tensor:
    """Give every process the first one's tensor."""
    if in_a_group():
        tensor = tensor.contiguous()
        dist.broadcast(tensor, src=0)
    return tensor


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _all_reduce(tensor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _all_reduce(grad)


def _all_reduce(tensor: Tensor) -> Tensor:
    total = tensor.contiguous().clone()
    dist.all_reduce(total)
    return total
