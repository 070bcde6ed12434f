"""What quantizers with evenly spaced levels in each channel share: the bound, digits, and noise."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok._shared.derived import DerivedBuffers
from ssltok._shared.numerics import full_precision, upcast
from ssltok.quantizers._estimators import straight_through
from ssltok.quantizers._fsq import MOST_CODES
from ssltok.quantizers._layout import Flat
from ssltok.quantizers._quantized import Quantized
from ssltok.quantizers._single import SingleCode

__all__ = ["ScalarGrid"]


class ScalarGrid(SingleCode, DerivedBuffers):
    r"""Each channel is bound by tanh and put on one of its levels, which are symmetric about 0.

    $$c = \tfrac{1}{2} W \tanh z, \qquad
      d = \big\lfloor c + \tfrac{L}{2} \big\rfloor \in [0, L), \qquad
      q = s \big(d - \tfrac{L - 1}{2}\big)$$

    In training, in a share of the samples, $s (c + u)$ with $u$ uniform in $\pm \tfrac{1}{2}$
    stands for $q$. An heir says what $W$ and $s$ are, and which $c + u$ are out of bounds.
    """

    grid: Tensor
    worth: Tensor
    steps: Tensor
    widths: Tensor

    def __init__(
        self,
        levels: Sequence[int],
        *,
        noise: float,
        channel_dim: int,
        generator: torch.Generator | None,
    ) -> None:
        who = type(self).__name__
        check_at_least(who, "len(levels)", len(levels), 1)
        if not all(isinstance(level, Integral) for level in levels):
            raise ValueError(f"{who}: levels must be integers; got {list(levels)}")
        check_at_least(who, "min(levels)", min(levels), 2)
        check_ratio(who, "noise", noise)
        levels = [int(level) for level in levels]
        if math.prod(levels) > MOST_CODES:
            raise ValueError(
                f"{who}: the product of levels must be < 2**63; got {math.prod(levels)}"
            )
        super().__init__(len(levels), math.prod(levels), channel_dim=channel_dim)
        self.levels = levels
        self.noise = noise
        self.generator = generator
        self._register_derived()

    @property
    def codebook(self) -> Tensor:
        """All vectors, `(codebook_size, dim)`, built on demand."""
        return self._to_vectors(torch.arange(self.codebook_size, device=self.steps.device))

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents; in training, add noise in a share of the samples instead."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            tokens = upcast(flat.tokens)
            centred = 0.5 * self.widths.to(tokens.dtype) * torch.tanh(tokens)
            digits = self._digits(centred)
            vectors = self._vectors(centred, digits, flat)
            loss = self._loss(tokens, flat)
        codes = self._to_codes(digits)
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def _vectors(self, centred: Tensor, digits: Tensor, flat: Flat) -> Tensor:
        """Put the places on their levels, or near them in the samples that get noise."""
        if not self.training or self.noise == 0:
            return self._rounded(centred, digits)
        noisy = self._scaled(self._shaken(centred))
        drawn = self._drawn(flat)
        if self.noise == 1:  # in all samples; which was drawn nevertheless, as for any share
            return noisy
        return torch.where(drawn[:, None], noisy, self._rounded(centred, digits))

    def _rounded(self, centred: Tensor, digits: Tensor) -> Tensor:
        """Put the places on their levels; the gradient goes straight through."""
        vectors = self._place(digits)
        lost = centred.detach().isnan()
        vectors = torch.where(lost, vectors.new_full((), torch.nan), vectors)
        return straight_through(self._scaled(centred), vectors)

    def _scaled(self, centred: Tensor) -> Tensor:
        return (self.steps.to(centred.dtype) * centred).to(self.steps.dtype)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents, int64, in their layout without the channels."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            tokens = upcast(flat.tokens)
            centred = 0.5 * self.widths.to(tokens.dtype) * torch.tanh(tokens)
            return flat.restore_codes(self._to_codes(self._digits(centred)))

    def _shaken(self, centred: Tensor) -> Tensor:
        """Return the places with uniform noise of up to half a level."""
        raise NotImplementedError

    def _spacing(self, level: int) -> tuple[float, float]:
        """Return the width $W$ of the bound in levels, and the distance $s$ of two levels."""
        raise NotImplementedError

    def _loss(self, tokens: Tensor, flat: Flat) -> Tensor:
        return self.steps.new_zeros((), dtype=tokens.dtype)

    def _uniform(self, centred: Tensor) -> Tensor:
        return torch.rand(
            centred.shape, generator=self.generator, device=centred.device, dtype=centred.dtype
        ).sub_(0.5)

    def _drawn(self, flat: Flat) -> Tensor:
        """Which tokens get noise, `(tokens,)`, the same within a sample."""
        samples, each = flat.shape[0], math.prod(flat.shape[1:])
        device = flat.tokens.device
        share = torch.rand(samples, generator=self.generator, device=device)
        return (share < self.noise).repeat_interleave(each)

    def _digits(self, centred: Tensor) -> Tensor:
        level = self.grid.to(centred.dtype)
        digits = (centred.detach() + level / 2).floor().nan_to_num()
        return torch.minimum(digits.clamp(min=0), level - 1).to(torch.int64)

    def _to_codes(self, digits: Tensor) -> Tensor:
        return (digits * self.worth).sum(dim=-1)

    def _to_vectors(self, codes: Tensor) -> Tensor:
        return self._place(codes.unsqueeze(-1) // self.worth % self.grid)

    def _place(self, digits: Tensor) -> Tensor:
        """Turn digits into values; training and decoding share this."""
        half = 0.5 * (self.grid - 1).to(self.steps.dtype)
        return (digits.to(self.steps.dtype) - half) * self.steps

    def _derive(self) -> dict[str, Tensor]:
        spacing = torch.tensor([self._spacing(n) for n in self.levels], dtype=torch.float64)
        worth = [math.prod(self.levels[:i]) for i in range(len(self.levels))]
        return {
            "grid": torch.tensor(self.levels),
            "worth": torch.tensor(worth),
            "widths": spacing[:, 0],
            "steps": spacing[:, 1],
        }

    def _derived_options(self) -> dict[str, Any]:
        return {"levels": self.levels}

    def _derived_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return upcast(torch.empty(0, dtype=dtype)).dtype

    @property
    def _dtype(self) -> torch.dtype:
        return self.steps.dtype

    def _lookup(self) -> Callable[[Tensor], Tensor]:
        return self._to_vectors
