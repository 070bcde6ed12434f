"""One vector for a whole grid: its mean and its maximum, side by side."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating

__all__ = ["AverageMaxPool", "average_max_pool"]


def average_max_pool(latents: Tensor) -> Tensor:
    """Pool a grid of vectors into its mean and its maximum over the whole grid.

    NC-VQVAE compares two views by this vector. The maximum's gradient is shared equally among
    ties.

    Args:
        latents: `(batch, dim, freq, frames)`, both axes at least 1.

    Returns:
        `(batch, 2 * dim)`: the means first, then the maxima.

    Raises:
        ValueError: If `latents` is not such a floating-point tensor, or is empty.

    Example:
        >>> import torch
        >>> from ssltok.nn import average_max_pool
        >>> average_max_pool(torch.tensor([[[[1.0, 2.0, 6.0]], [[0.0, -3.0, 0.0]]]]))
        tensor([[ 3., -1.,  6.,  0.]])

    References:
        Mathisen et al., *NC-VQVAE*, 2024, <https://arxiv.org/abs/2408.16613>, and its code.
    """
    check_axes("average_max_pool", "latents", latents, "batch dim freq frames")
    check_floating("average_max_pool", "latents", latents)
    check_at_least("average_max_pool", "elements", latents.numel(), 1)
    return torch.cat([latents.mean(dim=(2, 3)), latents.amax(dim=(2, 3))], dim=1)


class AverageMaxPool(nn.Module):
    """`average_max_pool` as a module; see there."""

    def forward(self, latents: Tensor) -> Tensor:
        """Pool `(batch, dim, freq, frames)` into `(batch, 2 * dim)`."""
        return average_max_pool(latents)
