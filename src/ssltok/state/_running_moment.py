"""The running second moment of directions: which of them rows have used so far."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_ratio
from ssltok._shared.numerics import directed
from ssltok._shared.ranks import in_a_group, sum_over_ranks

__all__ = ["RunningMoment"]


class RunningMoment(nn.Module):
    r"""An exponential moving average of the rows' second moment, over all processes.

    $$C \leftarrow m\, C + (1 - m)\, \tfrac{1}{B} \sum_b \bar z_b \bar z_b^\top$$

    with rows of norm 1 and $C = 0$ at the start. `forward` reads the moment, `update` moves it,
    after the loss that read it. Sum and number of rows are summed over the default process group,
    if there is one; all processes must call `update` together. A batch without any row leaves the
    moment as it was.

    Args:
        dim: Features of a row.
        momentum: $m$, the share of the old moment that is kept, in [0, 1]; 0.9 as in lightly.

    Raises:
        ValueError: If `dim < 1` or `momentum` is not in [0, 1].
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.state import RunningMoment
        >>> moment = RunningMoment(2, momentum=0.5)
        >>> moment.update(torch.tensor([[4.0, 0.0]]))
        >>> moment()
        tensor([[0.5000, 0.0000],
                [0.0000, 0.0000]])

    References:
        Zhu et al., *TiCo*, 2022, <https://arxiv.org/abs/2206.10698>.
    """

    moment: Tensor

    def __init__(self, dim: int, *, momentum: float = 0.9) -> None:
        check_at_least("RunningMoment", "dim", dim, 1)
        check_ratio("RunningMoment", "momentum", momentum)
        super().__init__()
        self.dim, self.momentum = dim, momentum
        self.register_buffer("moment", torch.zeros(dim, dim))

    def forward(self) -> Tensor:
        """Return the moment, `(dim, dim)`; a reference to the buffer, not a copy."""
        return self.moment

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Move the moment towards that of `rows`, `(batch, dim)`, of all processes.

        Args:
            rows: Rows of any length; their directions count. A row with NaN or an infinity,
                ordinary under mixed precision, is left out.

        Raises:
            ValueError: If `rows` is not floating point or not `(batch, dim)`.
            TypeError: If an input is not a tensor.
        """
        check_floating("RunningMoment", "rows", rows)
        check_axes("RunningMoment", "rows", rows, "batch dim")
        if rows.shape[1] != self.dim:
            raise ValueError(
                f"RunningMoment: rows must have {self.dim} columns; got {rows.shape[1]}"
            )
        wide = rows.to(torch.promote_types(self.moment.dtype, torch.float32))
        finite = wide.isfinite().all(dim=1, keepdim=True)
        unit, length = directed(torch.where(finite, wide, 0))
        unit = unit / length
        packed = torch.cat([(unit.mT @ unit).flatten(), finite.sum(dim=0).to(unit.dtype)])
        if in_a_group():
            packed = sum_over_ranks(packed)
        count = packed[-1]
        step = (1 - self.momentum) * (count > 0).to(packed.dtype)
        move = packed[:-1].view_as(self.moment) / count.clamp(min=1) - self.moment
        self.moment.add_((move * step).to(self.moment.dtype))
