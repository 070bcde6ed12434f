"""TS2Vec: contrast over samples and over time, at every temporal scale."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_ratio,
    check_same_shape,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._products_fast import contrast

__all__ = ["HierarchicalContrastiveLoss", "hierarchical_contrastive_loss"]


def hierarchical_contrastive_loss(
    z_a: Tensor, z_b: Tensor, *, instance_weight: float = 0.5, temporal_unit: int = 0
) -> Tensor:
    r"""Contrast two views of each time step with other samples and with other steps.

    $$\frac{1}{S} \sum_{s=0}^{S-1} \bigl[ \alpha\, \ell_{inst}(z^{(s)})
      + (1 - \alpha)\, \ell_{temp}(z^{(s)}) \bigr]$$

    Scale $s + 1$ is scale $s$ max-pooled over pairs of steps (an odd last step is dropped), down
    to a single step. $\ell_{inst}$ tells the two views of a sample apart from the other samples
    at the same step; $\ell_{temp}$ tells the two views of a step apart from the other steps of
    the same sample. Both are cross-entropies of plain dot products (no norm, temperature 1),
    with all rows but the anchor in the denominator.

    As in the authors' code, one sample has no instance term, one step has no temporal term, and
    both still count in $S$.

    Over several processes, give it `gather(z_a)` and `gather(z_b)`.

    Args:
        z_a: Representations of one view at each step, `(batch, tokens, dim)`.
        z_b: Those of the other view at the same steps, `(batch, tokens, dim)`.
        instance_weight: $\alpha$ in [0, 1].
        temporal_unit: The first scale with a temporal term; 0 or more. The finest scale costs
            `batch * tokens^2`: raise it for long series.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If the shapes differ or are not `(batch, tokens, dim)`, there is nothing to
            contrast (one sample of one step), or an option is out of its range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import hierarchical_contrastive_loss
        >>> z = torch.zeros(2, 1, 3)  # one step, four rows all alike: 0.5 * log(4 - 1)
        >>> round(hierarchical_contrastive_loss(z, z).item(), 4)
        0.5493

    References:
        Yue et al., *TS2Vec*, 2022, <https://arxiv.org/abs/2106.10466>, equations 1 to 3,
        algorithm 1.
    """
    who = "hierarchical_contrastive_loss"
    check_floating(who, "z_a", z_a)
    check_floating(who, "z_b", z_b)
    check_same_shape(who, "z_a and z_b", z_a, z_b)
    check_axes(who, "z_a", z_a, "batch tokens dim")
    check_at_least(who, "batch", z_a.shape[0], 1)
    check_at_least(who, "tokens", z_a.shape[1], 1)
    check_at_least(who, "batch * tokens", z_a.shape[0] * z_a.shape[1], 2)
    check_ratio(who, "instance_weight", instance_weight)
    check_at_least(who, "temporal_unit", temporal_unit, 0)
    with full_precision(z_a):
        z = torch.stack([upcast(z_a), upcast(z_b)])  # (view, batch, tokens, dim)
        loss, scale = z.new_zeros(()), 0
        while True:
            batch, tokens = z.shape[1:3]
            if batch > 1 and instance_weight > 0:
                loss = loss + instance_weight * _mean(z.permute(2, 0, 1, 3))
            if tokens > 1 and instance_weight < 1 and scale >= temporal_unit:
                loss = loss + (1 - instance_weight) * _mean(z.transpose(0, 1))
            scale += 1
            if tokens == 1:
                return loss / scale
            z = z[:, :, : tokens - tokens % 2].reshape(2, batch, tokens // 2, 2, -1).amax(dim=3)


def _mean(z: Tensor) -> Tensor:
    """Mean cross-entropy of `(groups, 2 views, rows, dim)`: a row's other view among its group."""
    return contrast(z.flatten(1, 2), views=2).mean()


class HierarchicalContrastiveLoss(nn.Module):
    """`hierarchical_contrastive_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, instance_weight: float = 0.5, temporal_unit: int = 0) -> None:
        super().__init__()
        self.instance_weight = instance_weight
        self.temporal_unit = temporal_unit

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        """Return the loss of two views, `(batch, tokens, dim)` each."""
        return hierarchical_contrastive_loss(
            z_a, z_b, instance_weight=self.instance_weight, temporal_unit=self.temporal_unit
        )
