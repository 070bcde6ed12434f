"""`_warping_cost` along antidiagonals, which holds three of them, as wide as the band, no more."""

import torch
from torch import Tensor

__all__ = ["warping_cost"]


def warping_cost(x: Tensor, y: Tensor, *, band: int) -> Tensor:
    """As `_warping_cost.warping_cost`; no entry of an antidiagonal depends on another."""
    y = y.flip(0)
    rows, columns, cases = len(x), len(y), (x.shape[2], y.shape[2])
    width = min(rows, columns, band + 1)
    # Slot t + 1 holds row low + t of a diagonal; the slots around those in use are infinite.
    before, last, now = (x.new_full((width + 2, *cases), torch.inf) for _ in range(3))
    low_before = low_last = 0
    for k in range(rows + columns - 1):
        low = max(0, k - columns + 1, (k - band + 1) // 2)
        high = min(rows - 1, k, (k + band) // 2) + 1
        start = columns - 1 - k + low  # where column k - i of row i lies in the reversed series
        row, column = x[low:high], y[start : start + high - low]
        cost = (row[:, 0, :, None] - column[:, 0, None, :]).square_()
        for channel in range(1, x.shape[1]):
            cost += (row[:, channel, :, None] - column[:, channel, None, :]).square_()
        count, moved = high - low, low - low_last
        if k > 0:
            up, left = last[moved : moved + count], last[moved + 1 : moved + 1 + count]
            best = torch.minimum(up, left)
            moved = low - low_before
            cost += torch.minimum(best, before[moved : moved + count])
        now[1 : count + 1] = cost
        now[0].fill_(torch.inf)
        now[count + 1].fill_(torch.inf)
        before, last, now = last, now, before
        low_before, low_last = low_last, low
    return last[1]
