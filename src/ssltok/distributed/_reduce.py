"""Sums and means over the rows of all processes."""

import torch
import torch.distributed as dist
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_floating
from ssltok._shared.ranks import sum_over_ranks

__all__ = ["reduce_mean", "reduce_sum"]


def reduce_sum(tensor: Tensor, *, group: dist.ProcessGroup | None = None) -> Tensor:
    r"""Add up the tensors of all processes, element by element, with a gradient.

    $$y = \sum_r x_r$$

    The backward pass sums the gradients of all processes, so that after DDP's averaging the
    gradient of a loss of $y$ is the one that a single process would have computed. Without a
    process group, or with a group of one, it returns `tensor` itself. All processes must call it
    together, with one shape and dtype.

    Args:
        tensor: This process's summand, of any shape. Half precision is summed in float32.
        group: The process group; all processes by default.

    Returns:
        The sum, of the same shape and dtype, equal on all processes.

    Raises:
        TypeError: If `tensor` is no tensor.

    Example:
        >>> import torch
        >>> from ssltok.distributed import reduce_sum
        >>> reduce_sum(torch.tensor([1.0, 2.0]))  # a single process
        tensor([1., 2.])

    References:
        Li et al., *PyTorch Distributed*, 2020, <https://arxiv.org/abs/2006.15704>, section 3.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"reduce_sum: tensor must be a tensor; got {type(tensor).__name__}")
    return sum_over_ranks(tensor, group)


def reduce_mean(tensor: Tensor, *, group: dist.ProcessGroup | None = None) -> Tensor:
    r"""Average over the rows of all processes, with a gradient.

    $$y = \sum_r \sum_b x_{rb} \Big/ \sum_r B_r$$

    A mean of the processes' means would be wrong where they hold different numbers of rows; this
    is the mean of the whole batch, in one collective.

    Args:
        tensor: This process's rows, `(batch, ...)`, floating point. `batch` may be 0 on some
            processes, not on all.
        group: The process group; all processes by default.

    Returns:
        The mean over the first dimension, `(...)`, equal on all processes.

    Raises:
        ValueError: If `tensor` is not floating point or has no dimension.
        TypeError: If `tensor` is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.distributed import reduce_mean
        >>> reduce_mean(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))  # a single process
        tensor([2., 4.])

    References:
        Caron et al., *DINO*, 2021, <https://arxiv.org/abs/2104.14294>, equation 4 (the centre).
    """
    check_floating("reduce_mean", "tensor", tensor)
    check_at_least("reduce_mean", "tensor.ndim", tensor.ndim, 1)
    total = tensor.sum(dim=0, dtype=torch.promote_types(tensor.dtype, torch.float32))
    packed = torch.cat([total.reshape(-1), total.new_full((1,), tensor.shape[0])])
    packed = reduce_sum(packed, group=group)
    return (packed[:-1] / packed[-1]).reshape(total.shape).to(tensor.dtype)
