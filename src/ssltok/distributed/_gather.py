"""Gather rows of all processes, so that any loss can see the whole batch."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssltok._shared.checks import check_at_least

__all__ = ["gather"]


def gather(
    tensor: Tensor, *, rows: Sequence[int] | None = None, group: dist.ProcessGroup | None = None
) -> Tensor:
    r"""Concatenate the rows of all processes, in rank order, with a gradient.

    A loss of gathered views is the loss of the whole batch, on every process. The backward pass
    sums the gradients of all processes and hands each its own rows, so that after DDP's averaging

    $$\frac{1}{W} \sum_r \frac{\partial L_r}{\partial \theta}
      = \frac{\partial L}{\partial \theta}$$

    is exactly the gradient that one process would have computed on the whole batch. Without a
    process group, or with a group of one, it returns `tensor` itself.

    Processes may hold different numbers of rows, none included. All must call it together, with
    the same trailing shape and dtype, and the input must require a gradient on all or on none.

    Args:
        tensor: This process's rows, `(batch, ...)`, of any dtype.
        rows: How many rows each process holds, in rank order, if known. Otherwise the processes
            tell each other first: one small collective and one wait for the device.
        group: The process group; all processes by default.

    Returns:
        All rows, `(sum of rows, ...)`.

    Raises:
        ValueError: If `tensor` has no dimension, or `rows` contradicts the group or the tensor.
        TypeError: If `tensor` is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.distributed import gather
        >>> z = torch.ones(2, 3)
        >>> gather(z) is z  # a single process
        True

    References:
        Chen et al., *SimCLR*, 2020, <https://arxiv.org/abs/2002.05709>, section 2.2 (global
        batch statistics and negatives).
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"gather: tensor must be a tensor; got {type(tensor).__name__}")
    check_at_least("gather", "tensor.ndim", tensor.ndim, 1)
    if not (dist.is_available() and dist.is_initialized()):
        return tensor
    world, rank = dist.get_world_size(group), dist.get_rank(group)
    if rows is not None and (len(rows) != world or rows[rank] != tensor.shape[0]):
        raise ValueError(
            f"gather: rows must name {world} processes, and {tensor.shape[0]} rows for "
            f"rank {rank}; got {list(rows)}"
        )
    if world == 1:
        return tensor
    counts = list(rows) if rows is not None else _count_rows(tensor, world, group)
    return _Gather.apply(tensor, counts, rank, group)  # type: ignore[no-untyped-call, no-any-return]


def _count_rows(tensor: Tensor, world: int, group: dist.ProcessGroup | None) -> list[int]:
    count = torch.tensor([tensor.shape[0]], device=tensor.device)
    counts = [torch.empty_like(count) for _ in range(world)]
    dist.all_gather(counts, count, group=group)
    return [int(rows) for rows in torch.cat(counts).tolist()]


class _Gather(torch.autograd.Function):
    """Forward: rows padded to the longest, gathered, cut. Backward: sum over ranks, own rows."""

    @staticmethod
    def forward(
        ctx: Any,
        tensor: Tensor,
        counts: list[int],
        rank: int,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        ctx.counts, ctx.rank, ctx.group = counts, rank, group
        sent = tensor.contiguous()
        if tensor.shape[0] < max(counts):
            sent = tensor.new_zeros(max(counts), *tensor.shape[1:])
            sent[: tensor.shape[0]] = tensor
        parts = [torch.empty_like(sent) for _ in counts]
        dist.all_gather(parts, sent, group=group)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # A sum of many small gradients: in float32 even where the rows were half precision.
        total = grad.to(torch.promote_types(grad.dtype, torch.float32), copy=True).contiguous()
        dist.all_reduce(total, group=ctx.group)
        start = sum(ctx.counts[: ctx.rank])
        local = total[start : start + ctx.counts[ctx.rank]].to(grad.dtype)
        return local, None, None, None
