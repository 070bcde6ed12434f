"""DiVeQ: an error aimed at the code, with a gradient for latents and codebook."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok._shared.numerics import upcast
from ssltok.quantizers._error_noise import with_error_along
from ssltok.quantizers._estimators import straight_through
from ssltok.quantizers._nearest import nearest_codes
from ssltok.quantizers._vector import VectorQuantizer

__all__ = ["DiVeQ"]


class DiVeQ(VectorQuantizer):
    r"""Add to each latent an error as long as its quantization error, aimed closely at its code.

    $$\tilde q = x + \lVert e_k - x \rVert \, \mathrm{sg}\Big[
        \frac{e_k - x + \sigma \varepsilon}{\lVert e_k - x + \sigma \varepsilon \rVert}\Big],
      \qquad \varepsilon \sim N(0, I)$$

    The task's gradient reaches latents and codes through the length, so there is no loss of its
    own, and nothing to weigh: `loss` is 0. In training the vectors are close to `decode(codes)`
    and not equal; with $\sigma = 0$ (the authors' "detach" variant) they are, up to rounding. In
    evaluation they are equal, and the gradient goes straight through to the latents. Call
    `initialize` and `revive`: codes that are not used get no gradient.

    In a `ResidualQuantizer` the latents get the gradient of each level. The authors' residual
    variant aims once, at the sum of the levels.

    Args:
        dim: Channels of the latents.
        codebook_size: Number of codes.
        channel_dim: Where the channels are in the latents.
        noise_variance: $\sigma^2$, in squared units of the latents; 0.001 as in the authors' code,
            which asks for less than 0.01.
        search: As in `VectorQuantizer`.
        regularizer: As in `VectorQuantizer`.
        generator: Source of noise, on the device of the latents. Activation checkpointing draws
            twice and restores torch's own source alone: there leave it out.
        weight_generator: Source of the first codebook, as in `VectorQuantizer`.

    Attributes:
        weight: The parameter, `(codebook_size, dim)`.
        counts: As in `VectorQuantizer`.

    Raises:
        ValueError: If a size is below 1 or `noise_variance` below 0.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import DiVeQ
        >>> quantizer = DiVeQ(2, 2, noise_variance=0.0)
        >>> quantizer.set_codebook(torch.tensor([[3.0, 4.0], [-9.0, 0.0]]))
        >>> vectors = quantizer(torch.zeros(1, 2)).vectors
        >>> vectors.backward(torch.tensor([[5.0, 0.0]]))
        >>> quantizer.weight.grad  # (0.6, 0.8) is the direction: 5 * 0.6 pulls along it
        tensor([[1.8000, 2.4000],
                [0.0000, 0.0000]])

    References:
        Vali et al., *DiVeQ: Differentiable Vector Quantization Using the Reparameterization
        Trick*, 2025, <https://arxiv.org/abs/2509.26469>, and the authors' `diveq.py`.
    """

    learns_by_vectors = True

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        channel_dim: int = -1,
        noise_variance: float = 1e-3,
        search: Callable[[Tensor, Tensor], Tensor] = nearest_codes,
        regularizer: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
        generator: torch.Generator | None = None,
        weight_generator: torch.Generator | None = None,
    ) -> None:
        check_at_least("DiVeQ", "noise_variance", noise_variance, 0)
        super().__init__(
            dim, codebook_size, channel_dim=channel_dim, commitment_weight=0.0,
            codebook_weight=0.0, search=search, regularizer=regularizer,
            generator=weight_generator,
        )  # fmt: skip
        self.noise_variance = noise_variance
        self.generator = generator
        self.weight_generator = None  # the weights are drawn once, here

    def _estimate(self, tokens: Tensor, chosen: Tensor) -> Tensor:
        if not self.training:
            return straight_through(tokens, chosen)
        direction = upcast(chosen - tokens).detach()
        if self.noise_variance > 0:
            noise = torch.empty_like(direction).normal_(generator=self.generator)
            direction = direction + self.noise_variance**0.5 * noise
        return with_error_along(tokens, chosen, direction)
