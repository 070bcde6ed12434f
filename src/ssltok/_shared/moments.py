"""Count, mean, squares, lowest and highest of parts, put together to those of the whole."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Moments", "merge_moments", "moments_of"]


class Moments(NamedTuple):
    """Facts of the real values of each channel, float64 `(channels,)`.

    `squares` is the sum of the squared distances from the mean. A channel without any value has
    count 0, `low` inf and `high` -inf.
    """

    counts: Tensor
    mean: Tensor
    squares: Tensor
    low: Tensor
    high: Tensor


def moments_of(series: Tensor, valid: Tensor | None = None) -> Moments:
    """The moments of series `(cases, channels, length)`, summed in float64.

    Args:
        series: Floating point.
        valid: True where a value is real, of the same shape; None says that all are.
    """
    low, high = series, series
    if valid is not None:
        low, high = series.where(valid, torch.inf), series.where(valid, -torch.inf)
        series = series.where(valid, 0.0)
    low, high = low.amin((0, 2)).double(), high.amax((0, 2)).double()
    values = series.to(torch.float64, copy=True)
    if valid is None:
        count = torch.full((len(low),), float(values.shape[0] * values.shape[2])).double()
    else:
        count = valid.sum((0, 2)).double()
    mean = values.sum((0, 2)) / count.clamp(min=1)
    mean = torch.where(high == low, high, mean)  # no rounding where all values are one
    values.sub_(mean[:, None])
    if valid is not None:
        values = values.where(valid, 0.0)
    squares = values.square_().sum((0, 2))
    return Moments(count, mean, squares, low, high)


def merge_moments(parts: Moments) -> Moments:
    r"""Put parts together, those of `(parts, channels)` to those of `(channels,)`.

    $$m = \sum_i n_i m_i / n, \qquad s = \sum_i s_i + \sum_i n_i (m_i - m)^2$$

    One part alone stays as it is, bit for bit.

    References:
        Chan et al., *Updating formulae and a pairwise algorithm for computing sample variances*,
        1979, equation 2.1.
    """
    if len(parts.counts) == 1:
        return Moments(*(part[0] for part in parts))
    low, high = parts.low.amin(0), parts.high.amax(0)
    count = parts.counts.sum(0)
    some = count.clamp(min=1)
    center = (parts.counts * parts.mean).sum(0) / some
    center = center + (parts.counts * (parts.mean - center)).sum(0) / some  # what was rounded off
    center = torch.where(high == low, high, center)
    squares = parts.squares.sum(0) + (parts.counts * (parts.mean - center).square()).sum(0)
    return Moments(count, center, squares, low, high)
