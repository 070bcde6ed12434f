"""Agreement between processes: one sum, which is the tensor itself where there is no group."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["broadcast_from_first", "in_a_group", "sum_over_ranks"]


def in_a_group(group: dist.ProcessGroup | None = None) -> bool:
    """Say whether there are other processes to agree with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1


def sum_over_ranks(tensor: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Add up the tensors of all processes; the gradients are added up as well.

    With the averaging of gradients in DDP, the gradient of a loss of the sum is then that of a
    single process with the whole batch. Half precision is summed in float32.
    """
    if not in_a_group(group):
        return tensor
    return _Sum.apply(tensor, group)  # type: ignore[no-any-return, no-untyped-call]


def broadcast_from_first(tensor: Tensor) -> Tensor:
    """Give every process the first one's tensor."""
    if in_a_group():
        tensor = tensor.contiguous()
        dist.broadcast(tensor, src=0)
    return tensor


class _Sum(torch.autograd.Function):
    """Forward and backward: the sum over ranks."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        return _all_reduce(tensor, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _all_reduce(grad, ctx.group), None


def _all_reduce(tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    half = tensor.dtype in (torch.float16, torch.bfloat16)
    total = tensor.to(torch.float32 if half else tensor.dtype, copy=True).contiguous()
    dist.all_reduce(total, group=group)
    return total.to(tensor.dtype)
