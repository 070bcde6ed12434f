"""Dynamic time warping by its recurrence."""

import torch
from torch import Tensor

__all__ = ["warping_cost"]


def warping_cost(x: Tensor, y: Tensor, *, band: int) -> Tensor:
    r"""Return $D_{\text{last}, \text{last}}$ of all pairs, `(n, m)`.

    $D_{ij} = \lVert x_i - y_j \rVert^2 + \min(D_{i-1,j}, D_{i,j-1}, D_{i-1,j-1})$ where
    $\lvert i - j \rvert \le$ `band`, for `x` of `(rows, channels, n)`, `y` of
    `(columns, channels, m)`.
    """
    outside = x.new_full((x.shape[2], y.shape[2]), torch.inf)
    costs: dict[tuple[int, int], Tensor] = {(-1, -1): torch.zeros_like(outside)}
    for i in range(len(x)):
        for j in range(max(0, i - band), min(len(y), i + band + 1)):
            before = ((i - 1, j), (i, j - 1), (i - 1, j - 1))
            best = torch.stack([costs.get(place, outside) for place in before]).amin(0)
            costs[i, j] = (x[i][:, :, None] - y[j][:, None]).square().sum(0) + best
    return costs[len(x) - 1, len(y) - 1]
