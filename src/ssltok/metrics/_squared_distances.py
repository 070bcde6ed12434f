"""Squared Euclidean distances between the rows of two sets."""

from torch import Tensor

__all__ = ["squared_distances"]


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared Euclidean distances of rows, `(n, m)`."""
    return (first[:, None] - second).square().sum(-1)
