"""Triplet loss: an anchor is nearer to its positive than to its negative, by a margin."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_same_shape,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._products_fast import unit_rows

__all__ = ["TripletLoss", "triplet_loss"]


def triplet_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 0.2,
    normalize: bool = True,
    squared: bool = True,
) -> Tensor:
    r"""Keep each negative farther from its anchor than the positive is, by a margin.

    $$\frac{1}{B} \sum_b \max\bigl(0,\; d(a_b, p_b) - d(a_b, n_b) + \alpha\bigr), \qquad
      d(x, y) = \lVert x - y \rVert^2$$

    on L2-normalised rows. The paper sums over triplets; this is the mean (multiply by `batch`).

    Constants: the defaults are FaceNet's. `normalize=False, squared=False, margin=1.0` is the
    loss of `torch.nn.TripletMarginLoss` (but for the 1e-6 that it adds to each difference);
    `squared=False, margin=0.05` that of pytorch-metric-learning, which averages over triplets
    with a positive loss only. Without squares the gradient of two equal rows is taken as 0.

    Args:
        anchor: Rows, `(batch, dim)`.
        positive: A row that belongs to each anchor, `(batch, dim)`.
        negative: A row that does not, `(batch, dim)`.
        margin: $\alpha \ge 0$.
        normalize: Whether rows are L2-normalised first.
        squared: Whether distances are squared.

    Returns:
        The loss, a scalar in float32 (float64 for float64 rows).

    Raises:
        ValueError: If the shapes differ or are not `(batch, dim)`, the batch is empty, or the
            margin is negative.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import triplet_loss
        >>> a, n = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> triplet_loss(a, n, a, margin=0.5).item()  # the wrong way round: 2 - 0 + 0.5
        2.5
        >>> triplet_loss(a, a, n).item()
        0.0

    References:
        Schroff et al., *FaceNet*, 2015, <https://arxiv.org/abs/1503.03832>, equation 3.
    """
    for name, rows in (("anchor", anchor), ("positive", positive), ("negative", negative)):
        check_floating("triplet_loss", name, rows)
        check_same_shape("triplet_loss", f"anchor and {name}", anchor, rows)
    check_axes("triplet_loss", "anchor", anchor, "batch dim")
    check_at_least("triplet_loss", "batch", anchor.shape[0], 1)
    check_at_least("triplet_loss", "margin", margin, 0)
    with full_precision(anchor):
        a, p, n = upcast(anchor), upcast(positive), upcast(negative)
        if normalize:
            a, p, n = (unit_rows(rows) for rows in (a, p, n))
        if squared:
            near, far = (a - p).square().sum(dim=-1), (a - n).square().sum(dim=-1)
        else:
            near = torch.linalg.vector_norm(a - p, dim=-1)
            far = torch.linalg.vector_norm(a - n, dim=-1)
        return nn.functional.relu(near - far + margin).mean()


class TripletLoss(nn.Module):
    """`triplet_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self, *, margin: float = 0.2, normalize: bool = True, squared: bool = True
    ) -> None:
        super().__init__()
        self.margin = margin
        self.normalize = normalize
        self.squared = squared

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the loss of triplets of rows, `(batch, dim)` each."""
        return triplet_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            normalize=self.normalize,
            squared=self.squared,
        )
