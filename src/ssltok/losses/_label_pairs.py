"""Pairs of rows of one label and of two, all of them or those worth learning from."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_codes,
    check_floating,
    check_number,
    check_size,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._products import unit_rows

__all__ = [
    "LabelPairs",
    "Miner",
    "check_labelled",
    "label_pairs",
    "mined",
    "multi_similarity_pairs",
]


class LabelPairs(NamedTuple):
    """Which rows are pairs, boolean `(batch, batch)`: anchors are rows, their partners columns.

    Attributes:
        positive: Pairs of one label.
        negative: Pairs of two labels.
    """

    positive: Tensor
    negative: Tensor


Miner = Callable[[Tensor, Tensor], LabelPairs]
"""From rows `(batch, dim)` and labels `(batch,)` to the pairs that count."""


def label_pairs(z: Tensor, labels: Tensor) -> LabelPairs:
    """Pair every row with every other.

    A row of label -1 (no label) is no anchor, and a negative of every row that has one.

    Args:
        z: Rows, `(batch, dim)`; only their number counts.
        labels: Classes, int64 `(batch,)`; -1 for no label.

    Returns:
        `LabelPairs` of all rows.

    Raises:
        ValueError: If shapes or dtypes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import label_pairs
        >>> label_pairs(torch.zeros(3, 2), torch.tensor([0, 0, -1])).negative.long()
        tensor([[0, 0, 1],
                [0, 0, 1],
                [0, 0, 0]])
    """
    check_labelled("label_pairs", z, labels, least_batch=0)
    anchors = (labels >= 0)[:, None]
    alike = labels[:, None] == labels
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return LabelPairs(alike & anchors & ~itself, ~alike & anchors)


@torch.no_grad()
def multi_similarity_pairs(z: Tensor, labels: Tensor, *, margin: float = 0.1) -> LabelPairs:
    r"""Keep the pairs that the other kind contradicts.

    Of an anchor $i$, a negative stays if $s_{in} > \min_p s_{ip} - \epsilon$, and a positive if
    $s_{ip} < \max_n s_{in} + \epsilon$, with the cosine $s$: pairs that are told apart by more than
    the margin already teach nothing. An anchor without a pair of one kind keeps none of the other.

    Args:
        z: Rows, `(batch, dim)`; no gradient flows.
        labels: Classes, int64 `(batch,)`; -1 for no label, see `label_pairs`.
        margin: $\epsilon$; 0.1 in the paper.

    Returns:
        `LabelPairs` of those that stay.

    Raises:
        ValueError: If shapes or dtypes do not fit.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import multi_similarity_pairs
        >>> z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [-1.0, 0.0]])
        >>> labels = torch.tensor([0, 0, 1, 1])  # row 3 is farther from row 0 than row 1 is
        >>> multi_similarity_pairs(z, labels).negative.long()
        tensor([[0, 0, 1, 0],
                [0, 0, 0, 1],
                [1, 0, 0, 0],
                [0, 1, 0, 0]])

    References:
        Wang et al., *Multi-Similarity Loss*, 2019, <https://arxiv.org/abs/1904.06627>, equations
        10 and 11.
    """
    check_labelled("multi_similarity_pairs", z, labels, least_batch=0)
    check_number("multi_similarity_pairs", "margin", margin)
    if not len(z):
        return label_pairs(z, labels)
    with full_precision(z):
        rows = unit_rows(upcast(z))
        similarity = rows @ rows.mT
    pairs = label_pairs(z, labels)
    farthest = similarity.masked_fill(~pairs.positive, torch.inf).amin(dim=1, keepdim=True)
    nearest = similarity.masked_fill(~pairs.negative, -torch.inf).amax(dim=1, keepdim=True)
    return LabelPairs(
        pairs.positive & (similarity - margin < nearest),
        pairs.negative & (similarity + margin > farthest),
    )


def check_labelled(who: str, z: Tensor, labels: Tensor, *, least_batch: int = 2) -> None:
    """Ask for rows `(batch, dim)` with a label each."""
    check_floating(who, "z", z)
    check_axes(who, "z", z, "batch dim")
    check_codes(who, "labels", labels)
    check_axes(who, "labels", labels, "batch")
    check_size(who, "labels", labels, 0, z.shape[0])
    check_at_least(who, "batch", z.shape[0], least_batch)


def mined(who: str, miner: Miner, z: Tensor, labels: Tensor) -> LabelPairs:
    """Ask a miner for its pairs, and ask that they are such."""
    positive, negative = miner(z, labels)
    shape = (len(z), len(z))
    check_bool_mask(who, "what miner returns as positive", positive, shape)
    check_bool_mask(who, "what miner returns as negative", negative, shape)
    return LabelPairs(positive, negative)
