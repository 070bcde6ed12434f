"""Finite scalar quantization: bound every channel and round it; the grid is the codebook."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

import ssltok.quantizers._tuning as tuning
from ssltok._shared.checks import check_at_least
from ssltok._shared.derived import DerivedBuffers
from ssltok._shared.numerics import full_precision, upcast
from ssltok.quantizers._quantized import Quantized
from ssltok.quantizers._rounding import place_digits
from ssltok.quantizers._rounding_fast import level_table, round_to_levels_fast
from ssltok.quantizers._single import SingleCode

__all__ = ["FSQ"]

MOST_CODES = 2**63 - 1
"""Codes are int64."""


class FSQ(SingleCode, DerivedBuffers):
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
        TypeError: If an option is not a number.

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

    grid: Tensor
    steps: Tensor
    worth: Tensor
    table: Tensor

    def __init__(self, levels: Sequence[int], *, channel_dim: int = -1) -> None:
        check_at_least("FSQ", "len(levels)", len(levels), 1)
        if not all(isinstance(level, Integral) for level in levels):
            raise ValueError(f"FSQ: levels must be integers; got {list(levels)}")
        check_at_least("FSQ", "min(levels)", min(levels), 3)
        levels = [int(level) for level in levels]
        codebook_size = math.prod(levels)
        if codebook_size > MOST_CODES:
            raise ValueError(f"FSQ: the product of levels must be < 2**63; got {codebook_size}")
        super().__init__(len(levels), codebook_size, channel_dim=channel_dim)
        self.levels = levels
        worth = self._digit_worth()
        self.middle = sum(level // 2 * each for level, each in zip(levels, worth, strict=True))
        self._register_derived()

    @property
    def codebook(self) -> Tensor:
        """All vectors, `(codebook_size, dim)`, built on demand."""
        return self._to_vectors(torch.arange(self.codebook_size, device=self.steps.device))

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents; the loss is 0."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            tokens = upcast(flat.tokens)
            vectors, places = round_to_levels_fast(
                tokens, self.grid, self.steps.dtype, table=self._constants(tokens.dtype)
            )
            codes = self._to_codes(places)
        loss = self.steps.new_zeros(())
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents, int64, in their layout without the channels."""
        codes: Tensor = self(latents, valid).codes
        return codes

    def _derive(self) -> dict[str, Tensor]:
        grid = torch.tensor(self.levels)
        return {
            "grid": grid,
            "worth": torch.tensor(self._digit_worth()),
            "steps": (grid // 2).double(),
            "table": level_table(grid, torch.float64).float().view(torch.int32),
        }

    def _derived_options(self) -> dict[str, Any]:
        return {"levels": self.levels}

    def _digit_worth(self) -> list[int]:
        return [math.prod(self.levels[:i]) for i in range(self.dim)]

    @property
    def _dtype(self) -> torch.dtype:
        return self.steps.dtype

    def _lookup(self) -> Callable[[Tensor], Tensor]:
        return self._to_vectors

    def _constants(self, dtype: torch.dtype) -> Tensor:
        """Return `level_table`, whose bits pose as integers: no conversion of the module rounds."""
        return self.table.view(dtype) if dtype == torch.float32 else level_table(self.grid, dtype)

    def _to_codes(self, places: Tensor) -> Tensor:
        exact = self.codebook_size <= 2**tuning.EXACT_BITS
        if exact and places.device.type != "mps":  # which has no float64
            codes = torch.mv(places.double(), self.worth.double()).nan_to_num_().to(torch.int64)
        else:
            codes = (places.nan_to_num().to(torch.int64) * self.worth).sum(dim=-1)
        return codes.add_(self.middle)

    def _to_vectors(self, codes: Tensor) -> Tensor:
        digits = codes.unsqueeze(-1) // self.worth % self.grid
        return place_digits(digits.to(upcast(self.steps).dtype), self.grid).to(self.steps.dtype)
