"""Late quantization: vectors stay continuous at first, and become codes by and by."""

import math

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok._shared.ranks import sum_over_ranks
from ssltok.quantizers._layout import flat_codes, without_lost_rows
from ssltok.quantizers._quantized import Quantized
from ssltok.quantizers._wrapping import WrappingQuantizer

__all__ = ["LateQuantizer"]


class LateQuantizer(WrappingQuantizer):
    r"""Hand latents on as they are for the first steps of training, and quantize later.

    $$\tilde q = \begin{cases} Q(x) & \text{with probability } \rho_t \\ x & \text{otherwise}
        \end{cases}, \qquad
      \mathcal{L} = \rho_t \mathcal{L}_Q, \qquad
      \rho_t = \min\Big(1, \max\Big(0, \frac{t - w + 1}{r + 1}\Big)\Big)$$

    A codebook that quantizes from the first step anchors in the narrow space of an untrained
    encoder. Here the encoder spreads for $w$ steps, and over $r$ more the samples (entries of the
    first axis) are quantized more and more often; $t$ counts calls of `update` with a real token.
    Codes are those of the quantizer at all times, and `update` hands them on, so a codebook of
    running means follows the latents meanwhile, and `revive` works. One that learns by gradient
    does not learn before its time: call `initialize` then. Evaluation always quantizes. While
    $\rho_t < 1$, vectors in training are not all `decode(codes)`.

    Args:
        quantizer: Any quantizer with `channel_dim=-1`.
        wait: $w$, steps without quantization.
        ramp: $r$, steps from none to all.
        channel_dim: Where the channels are.
        generator: Source of who is quantized, on the device of the latents. Activation
            checkpointing draws twice and restores torch's own source alone: there leave it out.

    Attributes:
        steps: $t$, a buffer.
        codebook_size: That of the wrapped quantizer, as are `codebook_sizes` and `code_shape`.

    Raises:
        TypeError: If `quantizer` is none: it misses a member of the protocol.
        ValueError: If it has another `channel_dim`, other codes than it says or vectors of another
            width than its `dim`, or if `wait` or `ramp` is negative.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import FSQ, LateQuantizer
        >>> quantizer = LateQuantizer(FSQ([3]), wait=1)
        >>> latents = torch.tensor([[0.7]])
        >>> quantizer(latents).vectors
        tensor([[0.7000]])
        >>> quantizer.update(latents, quantizer(latents).codes)
        >>> quantizer(latents).vectors
        tensor([[1.]])

    References:
        *Early Quantization Shrinks Codebook: A Simple Fix for Diversity-Preserving Tokenization*,
        2026, <https://arxiv.org/abs/2603.17052> (deferred quantization), after its abstract: there
        the change is at once (`ramp=0`).
    """

    steps: Tensor

    def __init__(
        self,
        quantizer: nn.Module,
        *,
        wait: int,
        ramp: int = 0,
        channel_dim: int = -1,
        generator: torch.Generator | None = None,
    ) -> None:
        check_at_least("LateQuantizer", "wait", wait, 0)
        check_at_least("LateQuantizer", "ramp", ramp, 0)
        super().__init__(quantizer, channel_dim=channel_dim)
        self.wait = wait
        self.ramp = ramp
        self.generator = generator
        self.idle = False
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def share(self) -> Tensor:
        r"""The probability $\rho_t$ that a sample is quantized, a scalar."""
        return ((self.steps - self.wait + 1) / (self.ramp + 1)).clamp(0, 1)

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents: in training a share of the samples, else all."""
        flat = self._flatten(latents, valid)
        grid = flat.for_parts(training=self.training)
        real = None if flat.real is None else grid.to_grid(flat.real)
        vectors, codes, loss = self._inner(grid.to_grid(flat.tokens), real)
        vectors = grid.to_rows(vectors)
        if self.training:
            share = self.share.to(loss.dtype)
            samples, each = flat.shape[0], math.prod(flat.shape[1:])
            draw = torch.rand(samples, generator=self.generator, device=vectors.device)
            late = (draw < share).repeat_interleave(each)[:, None]
            vectors = torch.where(late, vectors, flat.tokens.to(vectors.dtype))
            loss = share * loss
        return Quantized(
            flat.restore_vectors(vectors), flat.restore_codes(grid.to_rows(codes)), loss
        )

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Hand the quantizer what it was given, and count the step."""
        flat = self._flatten(latents, None)
        rows = flat_codes("LateQuantizer", codes, flat, self.code_shape)
        real = (without_lost_rows(rows, flat.tokens) >= 0).any().to(torch.int64)
        if not self._inner.idle:
            super().update(latents, codes)
        self.steps.add_(sum_over_ranks(real).clamp(max=1))
