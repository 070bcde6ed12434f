"""Dropout and stochastic depth that draw from an explicit generator. Private."""

import torch
from torch import Generator, Tensor
from torch.nn import functional

__all__ = ["drop_elements", "drop_rows"]


def drop_elements(x: Tensor, ratio: float, *, generator: Generator | None) -> Tensor:
    """Zero each element with probability `ratio` and scale the others by `1 / (1 - ratio)`."""
    if ratio == 0:
        return x
    if generator is None:
        return functional.dropout(x, ratio, training=True)
    return x * _keep(x, list(x.shape), ratio, generator)


def drop_rows(x: Tensor, ratio: float, *, generator: Generator | None) -> Tensor:
    """Zero whole batch entries with probability `ratio` and scale the others alike."""
    if ratio == 0:
        return x
    return x * _keep(x, [x.shape[0], *[1] * (x.ndim - 1)], ratio, generator)


def _keep(x: Tensor, shape: list[int], ratio: float, generator: Generator | None) -> Tensor:
    drawn = torch.rand(shape, device=x.device, generator=generator)
    scale = 1 / (1 - ratio) if ratio < 1 else 0.0
    return (drawn >= ratio).to(x.dtype) * scale
