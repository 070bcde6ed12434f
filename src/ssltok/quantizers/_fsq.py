"""Finite scalar quantization: bound every channel and round it; the grid is the codebook."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ssltok._shared.checks import check_at_least
from ssltok._shared.numerics import full_precision, upcast
from ssltok.quantizers._layout import flatten, look_up
from ssltok.quantizers._quantized import Quantized

__all__ = ["FSQ"]

EPS = 1e-3
MOST_CODES = 2**63 - 1
EXACT = 2**53
"""Integers up to here are exact in float64, whose products are faster than those of int64."""


class FSQ(nn.Module):
    r"""Round each channel to one of a few levels: no codebook to learn, none to collapse.

    $$f_i(z) = h_i \tanh(z + s_i) - o_i, \qquad h_i = \tfrac{1}{2} (L_i - 1)(1 - 10^{-3}), \qquad
      q_i = \mathrm{round}\big(f_i(z_i)\big) \Big/ \lfloor L_i / 2 \rfloor$$

    with $o_i = 1/2$ for an even number of levels $L_i$, else 0, and $s_i$ such that $f_i(0) = 0$.
    Even numbers of levels reach one step further down than up, as in the paper. The gradient goes
    straight through the rounding, not through the bound. Code $\sum_i d_i \prod_{j<i} L_j$ counts
    the digits $d_i \in [0, L_i)$, the first channel being worth 1.

    The paper recommends at least 5 levels in every channel: `[8, 6, 5]` for about $2^8$ codes,
    `[8, 5, 5, 5]` for $2^{10}$, `[7, 5, 5, 5, 5]` for $2^{12}$, `[8, 8, 8, 6, 5]` for $2^{14}$,
    `[8, 8, 8, 5, 5, 5]` for $2^{16}$. Latents of another width: `ProjectedQuantizer`. A latent with
    NaN stays visible: its vector has NaN, and its code, the middle one, is in range.

    Departures: the published code has $s = \tan(o / h)$, which its author calls a mistake for
    $\operatorname{artanh}$, used here; they differ by less than 0.0004. Two levels would put the
    only threshold in a saturated tail and are refused; `LFQ` is made for two.

    Args:
        levels: $L$, one for each channel, each 3 or more.
        channel_dim: Where the channels are.

    Attributes:
        dim: The number of levels given.
        codebook_size: Their product.

    Raises:
        ValueError: If `levels` is empty, holds a number below 3 or no integer, or their product
            is $2^{63}$ or more.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import FSQ
        >>> quantizer = FSQ([5, 5])
        >>> quantizer(torch.tensor([[0.0, 9.0], [-9.0, 0.0]]))  # middle is 2, top is 4
        Quantized(vectors=tensor([[ 0.,  1.],
                [-1.,  0.]]), codes=tensor([22, 10]), loss=tensor(0.))

    References:
        Mentzer et al., *Finite Scalar Quantization: VQ-VAE Made Simple*, 2023,
        <https://arxiv.org/abs/2309.15505>, section 3.1, table 1 and the listing of appendix A.1;
        the correction: <https://github.com/lucidrains/vector-quantize-pytorch/issues/94>.
    """

    idle = True
    levels: Tensor
    steps: Tensor
    worth: Tensor
    table: Tensor

    def __init__(self, levels: Sequence[int], *, channel_dim: int = -1) -> None:
        super().__init__()
        check_at_least("FSQ", "len(levels)", len(levels), 1)
        if not all(isinstance(level, Integral) for level in levels):
            raise ValueError(f"FSQ: levels must be integers; got {list(levels)}")
        check_at_least("FSQ", "min(levels)", min(levels), 3)
        self.codebook_size = math.prod(levels)
        if self.codebook_size > MOST_CODES:
            raise ValueError(
                f"FSQ: the product of levels must be < 2**63; got {self.codebook_size}"
            )
        self.dim = len(levels)
        self.channel_dim = channel_dim
        worth = [math.prod(levels[:i]) for i in range(self.dim)]
        self.middle = sum(level // 2 * each for level, each in zip(levels, worth, strict=True))
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("worth", torch.tensor(worth), persistent=False)
        halves = torch.tensor([level // 2 for level in levels], dtype=torch.get_default_dtype())
        self.register_buffer("steps", halves, persistent=False)
        table = _table(self.levels, torch.float64).float()
        self.register_buffer("table", table.view(torch.int32), persistent=False)

    @property
    def codebook(self) -> Tensor:
        """All vectors, `(codebook_size, dim)`, built on demand."""
        return self._to_vectors(torch.arange(self.codebook_size, device=self.steps.device))

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents; the loss is 0."""
        flat = flatten(
            "FSQ", latents, valid, dim=self.dim, channel_dim=self.channel_dim,
            dtype=self.steps.dtype,
        )  # fmt: skip
        with full_precision(latents):
            tokens = upcast(flat.tokens)
            shift, span, low, half, slope = self._constants(tokens.dtype).unbind()
            squashed = torch.add(shift, tokens.detach(), alpha=2).sigmoid_()
            places = torch.addcmul(low, squashed, span).round_().add_(0.0)  # no -0
            codes = self._to_codes(places)
            rounded = places.div_(half).to(self.steps.dtype)
            vectors = _Bound.apply(tokens, rounded, squashed, slope)  # type: ignore[no-untyped-call]
        loss = self.steps.new_zeros(())
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents, int64, in their layout without the channels."""
        codes: Tensor = self(latents, valid).codes
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes, 0 for -1."""
        return look_up(
            "FSQ", codes, self.codebook_size, self._to_vectors, channel_dim=self.channel_dim
        )

    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Do nothing: the codebook is fixed."""

    def _constants(self, dtype: torch.dtype) -> Tensor:
        """Return `_table`; its bits pose as integers, which no conversion of the module rounds."""
        return self.table.view(dtype) if dtype == torch.float32 else _table(self.levels, dtype)

    def _to_codes(self, places: Tensor) -> Tensor:
        if self.codebook_size <= EXACT and places.device.type != "mps":  # which has no float64
            codes = torch.mv(places.double(), self.worth.double()).nan_to_num_().to(torch.int64)
        else:
            codes = (places.nan_to_num().to(torch.int64) * self.worth).sum(dim=-1)
        return codes.add_(self.middle)

    def _to_vectors(self, codes: Tensor) -> Tensor:
        digits = codes.unsqueeze(-1) // self.worth % self.levels
        return _place(digits.to(upcast(self.steps).dtype), self.levels).to(self.steps.dtype)


def _table(levels: Tensor, dtype: torch.dtype) -> Tensor:
    r"""Return what the bound of each channel adds, multiplies by and divides by, `(5, dim)`.

    With $\tanh(x) = 2 \sigma(2 x) - 1$ the bound is
    $(L - 1) (1 - \epsilon) \, \sigma(2 z + 2 s) + (L - 1) \epsilon / 2 - \lfloor L / 2 \rfloor$.
    """
    span, half = (levels - 1).to(dtype), (levels // 2).to(dtype)
    shift = ((0.5 - 0.5 * levels.remainder(2)) / (span * ((1 - EPS) / 2))).atanh()
    slope = 2 * (1 - EPS) * span / half
    return torch.stack([2 * shift, span * (1 - EPS), span * (EPS / 2) - half, half, slope])


class _Bound(torch.autograd.Function):
    """The rounded values, with the gradient of the bound at the tokens."""

    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, rounded: Tensor, squashed: Tensor, slope: Tensor
    ) -> Tensor:
        ctx.save_for_backward(squashed, slope)
        return rounded.view_as(rounded)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        squashed, slope = ctx.saved_tensors
        bounded: Tensor = torch.ops.aten.sigmoid_backward(grad.to(slope.dtype), squashed)
        return bounded.mul_(slope), None, None, None


def _place(digits: Tensor, levels: Tensor) -> Tensor:
    """Turn digits in `[0, levels)` into values in [-1, 1]; training and decoding share this."""
    half = (levels // 2).to(digits.dtype)
    return (digits - half).div_(half)
