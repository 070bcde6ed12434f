"""Vector quantization: the nearest of a set of vectors that follow the means of their tokens."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_ratio
from ssltok._shared.numerics import upcast
from ssltok.quantizers._ema import ema_update_
from ssltok.quantizers._estimators import straight_through
from ssltok.quantizers._layout import flat_codes
from ssltok.quantizers._nearest import nearest_codes
from ssltok.quantizers._unit import has_direction
from ssltok.quantizers._vector import VectorQuantizer

__all__ = ["EMAVectorQuantizer"]


class EMAVectorQuantizer(VectorQuantizer):
    r"""Replace each vector by the nearest of a codebook that follows the means of its tokens.

    `forward` reads, and has the commitment term alone, with weight $\beta$; the codebook is a
    buffer, and moves in `update` by `ema_update_` (which see):

        quantized = quantizer(latents)
        loss.backward(); optimizer.step()
        quantizer.update(latents, quantized.codes)

    So evaluation in training mode, recomputation and several forwards cannot move it. With
    micro-batches, concatenate their latents and codes and update once. Codes that nothing uses
    stay bit for bit where they are. Initialisation, revival and the rest are as in
    `VectorQuantizer`. A loss on the codebook, such as `orthogonality_loss`, cannot move a buffer
    and is refused.

    Args:
        dim: Channels of the latents.
        codebook_size: Number of codes.
        channel_dim: Where the channels are in the latents; -1 is last, 1 as in convolutions.
        cosine: Whether to compare directions: latents are scaled to length 1 first, and the codes
            are the directions of the running means of such, as in `vector-quantize-pytorch`. (The
            rule of BEiT v2, a running mean of directions scaled to length 1 after each step, weighs
            a code's every step alike, however few its tokens.) A latent of length 0 has no
            direction and moves nothing.
        commitment_weight: $\beta$, 0.25 as in the paper.
        decay: $\gamma$ of the running means, 0.99 as in the paper.
        estimator: `(latents, quantized) -> vectors`, the gradient of the step.
        search: `(tokens, codebook) -> codes` of `forward` in training mode.
        regularizer: `(tokens, codebook, valid) -> scalar`, added to the loss in training mode.
        generator: Source of the first codebook: normal with variance `1 / dim`.

    Attributes:
        weight: The buffer, `(codebook_size, dim)`; with `cosine` the running means, whose
            directions are the codes.
        counts: Running mean of the number of tokens of each code in a step; 1 at the start.

    Raises:
        ValueError: If a size is below 1, a weight below 0 or `decay` outside [0, 1].
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import EMAVectorQuantizer
        >>> quantizer = EMAVectorQuantizer(1, 2, decay=0.5)
        >>> quantizer.set_codebook(torch.tensor([[0.0], [10.0]]))
        >>> latents = torch.tensor([[2.0], [2.0]])
        >>> quantizer.update(latents, quantizer(latents).codes)
        >>> quantizer.codebook  # (0.5 * 0 + 0.5 * (2 + 2)) / (0.5 + 0.5 * 2)
        tensor([[ 1.3333],
                [10.0000]])

    References:
        van den Oord et al., *Neural discrete representation learning*, 2017,
        <https://arxiv.org/abs/1711.00937>, appendix A.1.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        channel_dim: int = -1,
        cosine: bool = False,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        estimator: Callable[[Tensor, Tensor], Tensor] = straight_through,
        search: Callable[[Tensor, Tensor], Tensor] = nearest_codes,
        regularizer: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            dim,
            codebook_size,
            channel_dim=channel_dim,
            cosine=cosine,
            commitment_weight=commitment_weight,
            codebook_weight=0.0,
            estimator=estimator,
            search=search,
            regularizer=regularizer,
            generator=generator,
        )
        check_ratio("EMAVectorQuantizer", "decay", decay)
        self.decay = decay

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor, *, weights: Tensor | None = None) -> None:
        """Move the used codes towards their tokens; once a step, with all of the step's codes.

        `weights`, `(codebook_size,)` in [0, 1], slow single codes down: see `ema_update_`.
        """
        flat = self._flatten(latents, None)
        codes = flat_codes(type(self).__name__, codes, flat, ())
        if self.cosine:
            codes = torch.where(has_direction(flat.tokens), codes, -1)
        weight = upcast(self.weight)  # itself, unless the module was converted to half precision
        tokens = self._raw(flat.tokens)
        ema_update_(weight, self.counts, tokens, codes, decay=self.decay, weights=weights)
        if weight is not self.weight:
            self.weight.copy_(weight)

    def _raw(self, tokens: Tensor) -> Tensor:
        """Return tokens in the coordinates of `weight`."""
        return tokens

    def _hold(self, start: Tensor) -> None:
        self.register_buffer("weight", start)
