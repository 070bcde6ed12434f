"""How far each row is from its nearest other row, for unit rows."""

import torch
from torch import Tensor, nn

from ssltok.losses._products import gram

__all__ = ["nearest_distances", "nearest_rows"]


def nearest_distances(rows: Tensor, *, eps: float) -> Tensor:
    r"""Return $\min_{j \ne i} \lVert r_i - r_j + \epsilon \rVert$ for unit rows, `(batch, dim)`.

    The nearest row is chosen without a gradient; both ends of the distance get one.
    """
    nearest = nearest_rows(gram(rows.detach()))
    near = rows.index_select(0, nearest)  # rows[nearest] is slower on the way back
    return nn.functional.pairwise_distance(rows, near, eps=eps)


def nearest_rows(cosines: Tensor) -> Tensor:
    """Return the nearest other row of each row by their cosines, `(batch, batch)`, changed here."""
    cosines.diagonal().fill_(-torch.inf)
    return cosines.argmax(dim=-1)
