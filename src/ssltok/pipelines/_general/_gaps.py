"""Gaps of series: straight lines through them, and which parts of a patch were observed."""

import torch
from torch import Tensor

__all__ = ["bridge", "observed_share"]


def bridge(series: Tensor, observed: Tensor) -> Tensor:
    """Put straight lines through gaps, and the nearest value before the first and after the last.

    Args:
        series: `(rows, samples)`; what is not observed is not read.
        observed: Boolean, of that shape; each row has at least one.
    """
    if bool(observed.all()):
        return series
    length = series.shape[1]
    series = torch.where(observed, series, 0.0)
    places = torch.arange(length, device=series.device)
    before = torch.where(observed, places, -1).cummax(dim=1).values
    after = torch.where(observed, places, length).flip(1).cummin(dim=1).values.flip(1)
    left = torch.where(before < 0, after, before).clamp(0, length - 1)
    right = torch.where(after >= length, before, after).clamp(0, length - 1)
    low, high = series.gather(1, left), series.gather(1, right)
    share = (places - left) / (right - left).clamp(min=1)
    return torch.where(observed, series, low + share * (high - low))


def observed_share(observed: Tensor, *, patch: int, parts: int) -> Tensor:
    """Share of observed samples in `parts` parts of each patch, `(rows, patches, parts)`.

    Parts overlap where a patch has no multiple of them; each has at least one sample.

    Args:
        observed: Boolean `(rows, samples)`, the samples a multiple of `patch`.
        patch: Samples of a patch.
        parts: How many.
    """
    rows = observed.unflatten(1, (-1, patch)).float()
    edges = [(i * patch // parts, -(-(i + 1) * patch // parts)) for i in range(parts)]
    return torch.stack([rows[..., low:high].mean(-1) for low, high in edges], dim=-1)
