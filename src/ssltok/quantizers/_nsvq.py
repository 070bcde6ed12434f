"""NSVQ: random noise of the quantization error's length stands for the error in training."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.numerics import upcast
from ssltok.quantizers._error_noise import with_error_along
from ssltok.quantizers._estimators import straight_through
from ssltok.quantizers._nearest import nearest_codes
from ssltok.quantizers._vector import VectorQuantizer

__all__ = ["NSVQ"]


class NSVQ(VectorQuantizer):
    r"""Substitute the quantization error by noise of its length, whose direction is random.

    $$\tilde q = x + \lVert e_k - x \rVert \, \frac{\varepsilon}{\lVert \varepsilon \rVert},
      \qquad \varepsilon \sim N(0, I)$$

    The task's gradient reaches latents and codes through the length: a decoder that suffers from
    noise asks for shorter errors. There is no loss of its own: `loss` is 0. In training the vectors
    are as far from the latents as `decode(codes)` and are others; in evaluation they are
    `decode(codes)`, and the gradient goes straight through to the latents. Call `initialize` and
    `revive`: codes that are not used get no gradient. (Another method of the same name, which
    moves unused codes along, is `codebook_drift_loss`.)

    Args:
        dim: Channels of the latents.
        codebook_size: Number of codes.
        channel_dim: Where the channels are in the latents.
        search: As in `VectorQuantizer`.
        regularizer: As in `VectorQuantizer`.
        generator: Source of noise, on the device of the latents. Activation checkpointing draws
            twice and restores torch's own source alone: there leave it out.
        weight_generator: Source of the first codebook, as in `VectorQuantizer`.

    Attributes:
        weight: The parameter, `(codebook_size, dim)`.
        counts: As in `VectorQuantizer`.

    Raises:
        ValueError: If a size is below 1.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import NSVQ
        >>> quantizer = NSVQ(2, 2)
        >>> quantizer.set_codebook(torch.tensor([[3.0, 4.0], [-9.0, 0.0]]))
        >>> vectors, codes, _ = quantizer(torch.zeros(1, 2))
        >>> codes, round(vectors.norm().item(), 4)  # as far as the code is, in any direction
        (tensor([0]), 5.0)

    References:
        Vali and Bäckström, *NSVQ: Noise Substitution in Vector Quantization for Machine Learning*,
        2022, <https://ieeexplore.ieee.org/document/9696322>.
    """

    learns_by_vectors = True

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        channel_dim: int = -1,
        search: Callable[[Tensor, Tensor], Tensor] = nearest_codes,
        regularizer: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
        generator: torch.Generator | None = None,
        weight_generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            dim, codebook_size, channel_dim=channel_dim, commitment_weight=0.0,
            codebook_weight=0.0, search=search, regularizer=regularizer,
            generator=weight_generator,
        )  # fmt: skip
        self.generator = generator
        self.weight_generator = None  # the weights are drawn once, here

    def _estimate(self, tokens: Tensor, chosen: Tensor) -> Tensor:
        if not self.training:
            return straight_through(tokens, chosen)
        noise = torch.empty_like(upcast(chosen.detach())).normal_(generator=self.generator)
        return with_error_along(tokens, chosen, noise)
