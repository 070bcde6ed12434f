"""Stochastic depth: leave out a residual for whole series at random, more often in deep layers."""

from torch import Generator, Tensor, nn

from ssltok._shared.checks import check_at_least, check_floating, check_ratio
from ssltok.nn._noise import drop_rows

__all__ = ["StochasticDepth", "stochastic_depth_rates"]


def stochastic_depth_rates(depth: int, *, last_ratio: float) -> list[float]:
    r"""List the share of residuals that each layer leaves out, growing linearly with its depth.

    $$p_l = \frac{l}{L} \, p_L, \qquad l = 1, \ldots, L$$

    The paper writes it for the share that survives, $1 - p_l$. The first layer drops a little;
    timm's schedule starts at 0 instead.

    Args:
        depth: $L$, the number of layers.
        last_ratio: $p_L$, the share that the last layer leaves out, in [0, 1]; the paper's is 0.5.

    Returns:
        The `depth` shares, first layer first.

    Raises:
        ValueError: If `depth` is smaller than 1 or the ratio leaves [0, 1].
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.nn import stochastic_depth_rates
        >>> stochastic_depth_rates(4, last_ratio=0.5)
        [0.125, 0.25, 0.375, 0.5]

    References:
        Huang et al., *Deep Networks with Stochastic Depth*, 2016,
        <https://arxiv.org/abs/1603.09382>, equation 4.
    """
    check_at_least("stochastic_depth_rates", "depth", depth, 1)
    check_ratio("stochastic_depth_rates", "last_ratio", last_ratio)
    return [last_ratio * (layer + 1) / depth for layer in range(depth)]


class StochasticDepth(nn.Module):
    r"""Zero what a residual adds, for whole batch entries, and scale the others up, in training.

    An entry is kept with probability $1 - p$ and divided by $1 - p$, so that the mean is that of
    evaluation, where nothing happens. Write `x = x + drop(branch(x))`. The paper scales down in
    evaluation instead, which is the same on average.

    Args:
        ratio: $p$, in [0, 1]. At 1 everything is zero.

    Raises:
        ValueError: If the ratio leaves [0, 1], or the input is not floating point or has no axis.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import StochasticDepth
        >>> drop = StochasticDepth(0.5)
        >>> kept = drop(torch.ones(100, 3, 2))
        >>> sorted(set(kept.flatten().tolist()))
        [0.0, 2.0]

    References:
        Huang et al., *Deep Networks with Stochastic Depth*, 2016,
        <https://arxiv.org/abs/1603.09382>, section 3.
    """

    def __init__(self, ratio: float) -> None:
        super().__init__()
        check_ratio("StochasticDepth", "ratio", ratio)
        self.ratio = ratio

    def forward(self, x: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Drop entries of `x`, `(batch, ...)`; `generator` lives on its device."""
        check_floating("StochasticDepth", "x", x)
        check_at_least("StochasticDepth", "axes of x", x.ndim, 1)
        return drop_rows(x, self.ratio, generator=generator) if self.training else x
