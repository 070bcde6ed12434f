"""Choose exactly so many positions of each row, whatever the ties."""

import torch
from torch import Tensor

__all__ = ["count_share", "mask_lowest"]


def mask_lowest(scores: Tensor, counts: Tensor, among: Tensor) -> Tensor:
    """Mark the `counts` lowest scores of each row among the positions `among`.

    A threshold such as `scores < sorted[count]` marks too few or too many under ties; here a
    stable sort breaks every tie by position, so the number marked is exact. NaN counts as lowest.

    Args:
        scores: `(batch, tokens)`, floating point; infinities are allowed.
        counts: `(batch,)` or `(batch, 1)`, int64, each between 0 and the row's number of `among`.
        among: `(batch, tokens)`, boolean; no other position is ever marked.

    Returns:
        A boolean mask, `(batch, tokens)`.
    """
    most = torch.finfo(scores.dtype).max
    scores = torch.nan_to_num(scores, nan=-most, posinf=most, neginf=-most)
    order = scores.masked_fill(~among, torch.inf).argsort(dim=-1, stable=True)
    places = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(-1, order, places)
    return (ranks < counts.reshape(-1, 1)) & among


def count_share(share: Tensor | float, sizes: Tensor, *, least: int = 1) -> Tensor:
    """Turn a share of each size into a count: the ceiling, at least `least`, at most the size.

    A relative slack of 1e-6 absorbs rounding, so that 0.1 of 30 counts 3 and not 4.
    """
    counts = torch.ceil((share - 1e-6) * sizes).long()
    return torch.minimum(counts.clamp(min=least), sizes)
