"""Ordered tokens: drop the tail at random in training, so that the first tokens say the most."""

import math

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.quantizers._layout import check_codes_layout
from ssltok.quantizers._quantized import Quantized
from ssltok.quantizers._wrapping import WrappingQuantizer

__all__ = ["OrderedQuantizer"]


class OrderedQuantizer(WrappingQuantizer):
    r"""Keep the first $k$ of a sample's $N$ tokens in training, with $k$ uniform in 1 to $N$.

    $$q_t = \begin{cases} Q(x_t) & t < k \\ 0 & \text{otherwise} \end{cases}$$

    Each prefix becomes a code of its own: what matters goes to the front, and a decoder takes any
    number of tokens, more of them for more quality. The first axis of the latents are samples; the
    others, in a row, are the tokens. Those left out have the code -1 and decode to 0, as padding,
    and take no part in the loss or in an update. Encoding and evaluation keep all; `shorten` keeps
    some at decoding. It makes sense where tokens are not bound to places of the series, or where
    their order is one of importance; else the tail of the series is what goes first.

    Args:
        quantizer: Any quantizer with `channel_dim=-1`.
        dropout: Share of samples that lose a tail, 1 by default: all of them.
        fewest: The smallest $k$ that is drawn.
        channel_dim: Where the channels are.
        generator: Source of $k$, on the device of the latents. Activation checkpointing draws
            twice and restores torch's own source alone: there leave it out.

    Attributes:
        codebook_size: That of the wrapped quantizer, as are `codebook_sizes` and `code_shape`.

    Raises:
        TypeError: If `quantizer` is none: it misses a member of the protocol.
        ValueError: If it has another `channel_dim`, other codes than it says or vectors of another
            width than its `dim`, `dropout` lies outside [0, 1] or `fewest < 1`.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import FSQ, OrderedQuantizer
        >>> quantizer = OrderedQuantizer(FSQ([3])).eval()
        >>> codes = quantizer.encode(torch.tensor([[[9.0], [-9.0], [9.0]]]))
        >>> quantizer.decode(quantizer.shorten(codes, 2))
        tensor([[[ 1.],
                 [-1.],
                 [ 0.]]])

    References:
        Rippel et al., *Learning Ordered Representations with Nested Dropout*, 2014,
        <https://arxiv.org/abs/1402.0915>; Bachmann et al., *FlexTok*, 2025,
        <https://arxiv.org/abs/2502.13967>.
    """

    def __init__(
        self,
        quantizer: nn.Module,
        *,
        dropout: float = 1.0,
        fewest: int = 1,
        channel_dim: int = -1,
        generator: torch.Generator | None = None,
    ) -> None:
        check_ratio("OrderedQuantizer", "dropout", dropout)
        check_at_least("OrderedQuantizer", "fewest", fewest, 1)
        super().__init__(quantizer, channel_dim=channel_dim)
        self.dropout = dropout
        self.fewest = fewest
        self.generator = generator

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents, in training without the tail of some samples."""
        flat = self._flatten(latents, valid)
        if self.training and self.dropout > 0:
            samples, each = flat.shape[0], math.prod(flat.shape[1:])
            count = self._draw_counts(samples, each, flat.tokens.device)
            shown = (torch.arange(each, device=count.device) < count[:, None]).reshape(-1)
            real = shown if flat.real is None else flat.real & shown
            tokens = torch.where(real[:, None], flat.tokens, 0.0)
            flat = flat._replace(real=real, tokens=tokens)
        grid = flat.for_parts(training=self.training)
        real_grid = None if flat.real is None else grid.to_grid(flat.real)
        vectors, codes, loss = self._inner(grid.to_grid(flat.tokens), real_grid)
        vectors, codes = grid.to_rows(vectors), grid.to_rows(codes)
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def shorten(self, codes: Tensor, count: int) -> Tensor:
        """Keep the first `count` tokens of each sample's codes; the others become -1.

        Args:
            codes: As `encode` returns them, `(batch, ..., *code_shape)`.
            count: At least 1.

        Raises:
            ValueError: If the codes are not int64 or have another layout, or `count` is less than
                1.
            TypeError: If the codes are not a tensor, or `count` is not a number.
        """
        check_at_least("OrderedQuantizer", "count", count, 1)
        check_codes_layout("OrderedQuantizer", codes, self.code_shape)
        places = codes.shape[1 : codes.ndim - len(self.code_shape)]
        shown = torch.arange(math.prod(places), device=codes.device) < count
        shown = shown.reshape(*places, *[1] * len(self.code_shape))
        return torch.where(shown, codes, -1)

    def _draw_counts(self, samples: int, each: int, device: torch.device) -> Tensor:
        """How many tokens each sample keeps, `(samples,)`."""
        fewer = torch.rand(samples, generator=self.generator, device=device) < self.dropout
        low = min(self.fewest, each)
        drawn = torch.randint(low, each + 1, (samples,), generator=self.generator, device=device)
        return torch.where(fewer, drawn, each)
