"""Finite scalar quantization with levels symmetric about 0, and noise that stands for rounding."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssltok.quantizers._scalar_grid import ScalarGrid

__all__ = ["SymmetricFSQ"]


class SymmetricFSQ(ScalarGrid):
    r"""Round each channel to one of a few levels from -1 to 1, both ends included.

    $$q = \frac{2}{L - 1} \Big\lfloor (L - 1) \frac{\tanh z + 1}{2} + \frac12 \Big\rfloor - 1$$

    `FSQ` reaches one step further down than up where a level count is even; this does not, and
    takes two levels as well (-1 and 1). The gradient goes straight through the rounding. In
    training, in a share `noise` of the samples (entries of the first axis), the rounding is
    replaced by noise of its size, $\tanh z + u / (L - 1)$ with $u$ uniform in $\pm 1$, so that a
    decoder also learns what lies between the levels; codes are those without noise. With noise,
    vectors in training are not `decode(codes)`. Codes count digits as in `FSQ`.

    `vector-quantize-pytorch` (`FSQ(preserve_symmetry=True, noise_dropout=...)`) adds noise of
    $\pm 1/2$ to rounded values of any number of levels, by channel, and cuts at $\pm 1$; this
    follows the paper and its authors' code.

    Args:
        levels: $L$, one for each channel, each 2 or more.
        noise: Share of samples with noise in training; the paper has 0.5. 0: none.
        channel_dim: Where the channels are.
        generator: Source of noise, on the device of the latents. Activation checkpointing draws
            twice and restores torch's own source alone: there leave it out.

    Attributes:
        dim: The number of levels given.
        codebook_size: Their product.

    Raises:
        ValueError: If `levels` is empty, holds a number below 2 or no integer, their product is
            $2^{63}$ or more, or `noise` lies outside [0, 1].

    Example:
        >>> import torch
        >>> from ssltok.quantizers import SymmetricFSQ
        >>> quantizer = SymmetricFSQ([4, 2])
        >>> quantizer(torch.tensor([[9.0, -0.1], [-9.0, 0.1]]))  # both ends are reached
        Quantized(vectors=tensor([[ 1., -1.],
                [-1.,  1.]]), codes=tensor([3, 4]), loss=tensor(0.))

    References:
        Parker et al., *Scaling Transformers for Low-Bitrate High-Quality Speech Coding*, 2024,
        <https://arxiv.org/abs/2411.19842>, section 3.2; the authors' `DitheredFSQ`.
    """

    def __init__(
        self,
        levels: Sequence[int],
        *,
        noise: float = 0.0,
        channel_dim: int = -1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(levels, noise=noise, channel_dim=channel_dim, generator=generator)

    def _spacing(self, level: int) -> tuple[float, float]:
        return level - 1, 2 / (level - 1)

    def _shaken(self, centred: Tensor) -> Tensor:
        return centred + self._uniform(centred)
