"""What the quantizers of signs share: `LFQ` looks at latents, `BSQ` at their directions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import ssltok.quantizers._tuning as tuning
from ssltok._shared.checks import check_at_least, check_integer, check_positive
from ssltok._shared.derived import DerivedBuffers
from ssltok._shared.numerics import full_precision, upcast
from ssltok.quantizers._binary import bits_to_codes, codes_to_bits
from ssltok.quantizers._binary_fast import bit_entropies_fast
from ssltok.quantizers._estimators import straight_through
from ssltok.quantizers._layout import Flat
from ssltok.quantizers._quantized import Quantized
from ssltok.quantizers._single import SingleCode

__all__ = ["SignQuantizer"]


class SignQuantizer(SingleCode, DerivedBuffers):
    r"""Each channel is a bit: the code is the corner of a cube on the side of the latents.

    $$q_j = \pm c, \qquad \mathcal{L} = \beta \, \mathcal{C}
      + w \big( \mathbb{E} H(p) - \gamma H(\mathbb{E} p) \big)$$

    An heir says what `corner` $c$ is, what the latents are turned into, what the commitment
    $\mathcal{C}$ is, and which log-odds a unit of the turned latents is.
    """

    corner: Tensor

    def __init__(
        self,
        dim: int,
        *,
        corner: float,
        commitment_weight: float,
        entropy_weight: float,
        diversity_weight: float,
        temperature: float,
        group_bits: int,
        channel_dim: int,
    ) -> None:
        who = type(self).__name__
        check_integer(who, "dim", dim)
        if not 1 <= dim <= tuning.MOST_BITS:
            raise ValueError(f"{who}: dim must lie in [1, {tuning.MOST_BITS}]; got {dim}")
        check_at_least(who, "commitment_weight", commitment_weight, 0)
        check_at_least(who, "entropy_weight", entropy_weight, 0)
        check_at_least(who, "diversity_weight", diversity_weight, 0)
        check_positive(who, "temperature", temperature)
        check_at_least(who, "group_bits", group_bits, 1)
        super().__init__(dim, 2**dim, channel_dim=channel_dim)
        self.commitment_weight = commitment_weight
        self.entropy_weight = entropy_weight
        self.diversity_weight = diversity_weight
        self.temperature = temperature
        self.group_bits = group_bits
        self._corner = corner
        self._register_derived()

    @property
    def codebook(self) -> Tensor:
        """All vectors, `(codebook_size, dim)`, built on demand."""
        return self._corners(torch.arange(self.codebook_size, device=self.corner.device))

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents, with the commitment and entropy loss."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            tokens = self._turn(upcast(flat.tokens))
            positive = flat.tokens > 0
            corners = torch.where(positive, self.corner, -self.corner)
            vectors = straight_through(tokens.to(corners.dtype), corners)
            loss = self._commitment(tokens, corners, flat)
            if self.entropy_weight > 0:
                per_sample, batch = bit_entropies_fast(
                    tokens,
                    flat.real,
                    scale=self._log_odds(),
                    group_bits=self.group_bits,
                    over_ranks=self.training,
                )
                loss = loss + self.entropy_weight * (per_sample - self.diversity_weight * batch)
        codes = bits_to_codes(positive)
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents, int64, in their layout without the channels."""
        flat = self._flatten(latents, valid)
        return flat.restore_codes(bits_to_codes(flat.tokens > 0))

    def _turn(self, tokens: Tensor) -> Tensor:
        """Return what is compared with the corners, and gets the gradient of the vectors."""
        return tokens

    def _commitment(self, tokens: Tensor, corners: Tensor, flat: Flat) -> Tensor:
        """Return the weighted distance of turned tokens to their corners."""
        raise NotImplementedError

    def _log_odds(self) -> float:
        """Return the log-odds of a bit whose turned channel is 1."""
        raise NotImplementedError

    def _derive(self) -> dict[str, Tensor]:
        return {"corner": torch.tensor(self._corner, dtype=torch.float64)}

    def _derived_options(self) -> dict[str, Any]:
        return {"dim": self.dim, "corner": self._corner}

    @property
    def _dtype(self) -> torch.dtype:
        return self.corner.dtype

    def _lookup(self) -> Callable[[Tensor], Tensor]:
        return self._corners

    def _corners(self, codes: Tensor) -> Tensor:
        return torch.where(codes_to_bits(codes, self.dim), self.corner, -self.corner)
