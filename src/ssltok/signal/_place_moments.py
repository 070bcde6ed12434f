"""Mean and covariance of all places of series, as they are and as a stationary process has them."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__: list[str] = []


class Moments(NamedTuple):
    """Mean, `(channels, length)`, and covariance, a matrix of all places."""

    mean: Tensor
    covariance: Tensor


def place_moments(series: Tensor, valid: Tensor) -> Moments:
    """Those of the values, and of the pairs of values, that are there; 0 where there are none."""
    known = valid.double()
    values = torch.where(valid, series.double(), 0.0)
    mean = values.sum(0) / known.sum(0).clamp(min=1)
    off = ((values - mean) * known).flatten(1)
    pairs = known.flatten(1).mT @ known.flatten(1)
    covariance = (off.mT @ off) / pairs.clamp(min=1)
    whole = valid.is_meta or bool(valid.all())
    return Moments(mean, covariance if whole else definite(covariance))


def stationary(moments: Moments) -> Moments:
    """The mean of each channel, and a covariance that depends on the lag alone."""
    shape = moments.mean.shape
    plain = moments.covariance.view(*shape, *shape)
    even = torch.empty_like(plain)
    for lag in range(1 - shape[1], shape[1]):
        at_lag = plain.diagonal(lag, dim1=1, dim2=3).mean(-1, keepdim=True)
        even.diagonal(lag, dim1=1, dim2=3).copy_(at_lag)
    mean = moments.mean.mean(dim=1, keepdim=True).expand(shape)
    return Moments(mean, definite(even.view_as(moments.covariance)))


def mixed(plain: Moments, even: Moments, share: float) -> Moments:
    """Both, with this share of the second."""
    return Moments(*((1 - share) * a + share * b for a, b in zip(plain, even, strict=True)))


def definite(covariance: Tensor) -> Tensor:
    """The nearest positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    nearest: Tensor = (vectors * values.clamp(min=0)) @ vectors.mT
    return nearest


def level(moments: Moments) -> Tensor:
    """The mean variance; 1 where there is none."""
    size = moments.covariance.diagonal().mean()
    return size.where(size > 0, torch.ones_like(size))
