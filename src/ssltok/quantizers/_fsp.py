"""Finite scalar perturbation: bounded noise while training, the centres of cells afterwards."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.quantizers._layout import Flat
from ssltok.quantizers._scalar_grid import ScalarGrid

__all__ = ["FSP"]

LOGISTIC_VARIANCE = math.pi**2 / 12
"""Variance of a logistic variable whose tanh is uniform."""


class FSP(ScalarGrid):
    r"""Train without a codebook: shake latents as far as a code could, and cut into codes later.

    $$u = \frac{\tanh z + 1}{2}, \qquad
      \tilde u = u + \frac{\epsilon}{2 L}, \; \epsilon \sim U(-1, 1), \qquad
      q = \sqrt{12} \Big( \frac{\lfloor L u \rfloor + 1/2}{L} - \frac12 \Big)$$

    In training the vectors are $\sqrt{12} (\tilde u - 1/2)$ and no rounding stands in the way of
    the gradient; noise that would leave $(0, 1)$ is left out. Evaluation and decoding put $u$ into
    the middle of its cell, the centroid (Lloyd-Max) of a uniform $u$. The factor gives uniform
    channels variance 1. Codes are those without noise; they count digits as in `FSQ`. So vectors in
    training are not `decode(codes)`.

    $$\mathcal{L} = w_1 \overline{\mu^2} + w_2 \overline{(\sigma^2 - \pi^2 / 12)^2}$$

    with the mean $\mu$ and the variance $\sigma^2$ of each channel of $z$ over the real tokens of a
    process: a logistic $z$ of that variance has a uniform $u$, whose cells are used equally.

    Departures from the authors' code: noise is drawn by sample (first axis) where `noise` is below
    1, the variance is the biased one, and the two moments stand alone (their later options of skew
    and kurtosis are 0 by default).

    Args:
        levels: $L$, cells of each channel, each 2 or more.
        noise: Share of samples with noise in training, 1 as in the paper; the others are rounded,
            and their gradient goes straight through.
        mean_weight: $w_1$; 0.1 as in the authors' code.
        variance_weight: $w_2$; 0.07 as there.
        channel_dim: Where the channels are.
        generator: Source of noise, on the device of the latents. Activation checkpointing draws
            twice and restores torch's own source alone: there leave it out.

    Attributes:
        dim: The number of levels given.
        codebook_size: Their product.

    Raises:
        ValueError: If `levels` is empty, holds a number below 2 or no integer, their product is
            $2^{63}$ or more, `noise` lies outside [0, 1] or a weight is negative.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import FSP
        >>> quantizer = FSP([2, 4], mean_weight=0.0, variance_weight=0.0).eval()
        >>> quantizer(torch.tensor([[9.0, -9.0]])).vectors / 12**0.5  # middles of outer cells
        tensor([[ 0.2500, -0.3750]])

    References:
        Zhai et al., *VP-VAE: Rethinking Vector Quantization via Adaptive Vector Perturbation*,
        2026, <https://arxiv.org/abs/2602.17133> (FSP), and the authors' `fsp.py`.
    """

    def __init__(
        self,
        levels: Sequence[int],
        *,
        noise: float = 1.0,
        mean_weight: float = 0.1,
        variance_weight: float = 0.07,
        channel_dim: int = -1,
        generator: torch.Generator | None = None,
    ) -> None:
        check_at_least("FSP", "mean_weight", mean_weight, 0)
        check_at_least("FSP", "variance_weight", variance_weight, 0)
        super().__init__(levels, noise=noise, channel_dim=channel_dim, generator=generator)
        self.mean_weight = mean_weight
        self.variance_weight = variance_weight

    def _spacing(self, level: int) -> tuple[float, float]:
        return level, math.sqrt(12) / level

    def _shaken(self, centred: Tensor) -> Tensor:
        shaken = centred + self._uniform(centred)
        inside = shaken.detach().abs() < self.widths.to(centred.dtype) / 2
        return torch.where(inside, shaken, centred)

    def _loss(self, tokens: Tensor, flat: Flat) -> Tensor:
        real = torch.ones_like(tokens[:, 0]) if flat.real is None else flat.real.to(tokens.dtype)
        count = real.sum()
        mean = tokens.sum(dim=0) / count.clamp(min=1)  # padding is 0
        spread = (real[:, None] * (tokens - mean).square()).sum(dim=0) / count.clamp(min=1)
        loss = self.mean_weight * mean.square().mean()
        loss = loss + self.variance_weight * (spread - LOGISTIC_VARIANCE).square().mean()
        return torch.where(count > 0, loss, 0.0)
