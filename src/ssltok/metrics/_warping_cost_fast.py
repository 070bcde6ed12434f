"""`_warping_cost` along antidiagonals, which holds three of them and no more."""

import torch
from torch import Tensor

__all__ = ["warping_cost"]


def warping_cost(x: Tensor, y: Tensor, *, band: int) -> Tensor:
    """As `_warping_cost.warping_cost`; no entry of an antidiagonal depends on another."""
    y = y.flip(0)
    rows, columns, cases = len(x), len(y), (x.shape[2], y.shape[2])
    # Slot i + 1 holds row i; slot 0 and slots outside the band stay infinite.
    before, last, now = (x.new_full((rows + 1, *cases), torch.inf) for _ in range(3))
    for k in range(rows + columns - 1):
        low = max(0, k - columns + 1, (k - band + 1) // 2)
        high = min(rows - 1, k, (k + band) // 2) + 1
        start = columns - 1 - k + low  # where column k - i of row i lies in the reversed series
        row, column = x[low:high], y[start : start + high - low]
        cost = (row[:, 0, :, None] - column[:, 0, None, :]).square_()
        for channel in range(1, x.shape[1]):
            cost += (row[:, channel, :, None] - column[:, channel, None, :]).square_()
        now[low].fill_(torch.inf)  # left over from three diagonals ago
        if k > 0:
            best = torch.minimum(last[low:high], last[low + 1 : high + 1])
            cost += torch.minimum(best, before[low:high])
        now[low + 1 : high + 1] = cost
        before, last, now = last, now, before
    return last[rows]
