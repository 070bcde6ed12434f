"""The vectors of classes, and of the null class, that steer a prior. Private."""

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ssltok._shared.checks import check_codes

__all__ = ["check_labels", "drop_labels", "label_vectors"]


def label_vectors(table: Tensor, labels: Tensor | None, batch: int) -> Tensor:
    """Look up `(batch, dim)` in a table whose last row is the null class: label -1, or None."""
    if labels is None:
        return table[-1].expand(batch, -1)
    # The table's last row is the null class: a label of that number is none, and must not pass.
    null = len(table) - 1
    index = torch.where(labels < null, labels, labels + 1)
    return functional.embedding(index.where(labels >= 0, null), table)


def drop_labels(labels: Tensor | None, ratio: float, generator: Generator | None) -> Tensor | None:
    """Replace a share of the labels by the null class."""
    if labels is None or ratio == 0:
        return labels
    drawn = torch.rand(len(labels), device=labels.device, generator=generator)
    return labels.masked_fill(drawn < ratio, -1)


def check_labels(who: str, labels: Tensor, batch: int, classes: int) -> None:
    """Ask for classes `(batch,)`; on the CPU also for values in [-1, `classes`)."""
    if not classes:
        raise ValueError(f"{who}: labels must be None without classes; got a tensor")
    check_codes(who, "labels", labels)
    if labels.shape != (batch,):
        raise ValueError(f"{who}: labels must have shape {(batch,)}; got {tuple(labels.shape)}")
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        most = int(labels.max())
        if most >= classes:
            raise ValueError(f"{who}: labels must lie in [-1, {classes}); got {most}")
