"""The running mean of a teacher's outputs, which keeps one output from winning everywhere."""

import math

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_ratio
from ssltok._shared.ranks import in_a_group, sum_over_ranks
from ssltok._shared.transforms import can_be_read

__all__ = ["RunningCenter"]


class RunningCenter(nn.Module):
    r"""An exponential moving average of batch means, over the rows of all processes.

    $$c \leftarrow m\, c + (1 - m)\, \tfrac{1}{B} \sum_b t_b$$

    with $c = 0$ at the start. `forward` reads the centre, `update` moves it. The sum and the
    number of rows are summed over the default process group, if there is one, so the mean is that
    of the whole batch even where processes hold different numbers of rows; all processes must
    call `update` together. A batch without any row leaves the centre as it was.

    The published order is to subtract the centre first and to update it after the loss.

    Args:
        dim: How many outputs there are.
        momentum: $m$, the share of the old centre that is kept, in [0, 1]; 0.9 in the paper.

    Raises:
        ValueError: If `dim < 1` or `momentum` is not in [0, 1].
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.state import RunningCenter
        >>> center = RunningCenter(2, momentum=0.75)
        >>> center.update(torch.tensor([[4.0, 0.0], [4.0, 8.0]]))
        >>> center()
        tensor([1., 1.])

    References:
        Caron et al., *DINO*, 2021, <https://arxiv.org/abs/2104.14294>, equation 4.
    """

    center: Tensor

    def __init__(self, dim: int, *, momentum: float = 0.9) -> None:
        check_at_least("RunningCenter", "dim", dim, 1)
        check_ratio("RunningCenter", "momentum", momentum)
        super().__init__()
        self.dim, self.momentum = dim, momentum
        self.register_buffer("center", torch.zeros(dim))

    def forward(self) -> Tensor:
        """Return the centre, `(dim,)`; a reference to the buffer, not a copy."""
        return self.center

    @torch.no_grad()
    def update(self, targets: Tensor) -> None:
        """Move the centre towards the mean of `targets`, `(batch, dim)`, of all processes.

        Args:
            targets: The teacher's outputs before centring, `(batch, dim)`. Flatten tokens and
                views into the batch, or select the masked tokens, before. A row with NaN or an
                infinity, ordinary under mixed precision, is left out.

        Raises:
            ValueError: If `targets` is not floating point or not `(batch, dim)`.
            TypeError: If an input is not a tensor.
        """
        check_floating("RunningCenter", "targets", targets)
        check_axes("RunningCenter", "targets", targets, "batch dim")
        rows, dim = targets.shape
        if dim != self.dim:
            raise ValueError(f"RunningCenter: targets must have {self.dim} columns; got {dim}")
        center = self.center
        dtype = center.dtype if center.dtype.itemsize >= 4 else torch.float32
        total = targets.sum(dim=0, dtype=dtype)
        if rows and can_be_read(total) and math.isfinite(total.sum().item()):
            if not in_a_group():
                center.lerp_(total.div_(rows).to(center.dtype), 1 - self.momentum)
                return
            count = total.new_full((1,), rows)
        else:
            finite = targets.sum(dim=1, keepdim=True, dtype=dtype).isfinite()
            total = torch.where(finite, targets, 0).sum(dim=0, dtype=dtype)
            count = finite.sum(dim=0).to(dtype)
        if not in_a_group():
            mean = torch.where(count > 0, total / count.clamp(min=1), center)
            center.lerp_(mean.to(center.dtype), 1 - self.momentum)
            return
        packed = sum_over_ranks(torch.cat([total, count]))
        total, count = packed[:dim], packed[dim]
        step = (1 - self.momentum) * (count > 0).to(dtype)
        move = (total / count.clamp(min=1) - center) * step
        center.add_(move.to(center.dtype))
