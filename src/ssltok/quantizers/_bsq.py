"""Binary spherical quantization: the corner of the cube, on the sphere, that the latent faces."""

import math

import torch
from torch import Tensor, nn

from ssltok._shared.numerics import full_precision, upcast
from ssltok.quantizers._binary import (
    bit_entropies,
    bits_to_codes,
    check_bit_options,
    codes_to_bits,
)
from ssltok.quantizers._estimators import straight_through
from ssltok.quantizers._layout import Flat, flatten, look_up
from ssltok.quantizers._quantized import Quantized

__all__ = ["BSQ"]


class BSQ(nn.Module):
    r"""Project on the unit sphere, then keep the signs: as `LFQ`, with a bounded error.

    $$u = z / |z|, \qquad q_j = \pm 1 / \sqrt{d} \text{ with the sign of } u_j, \qquad
      \text{code} = \sum_j 2^{j - 1} [u_j > 0]$$

    $$\mathcal{L} = \beta \, \overline{|u - q|^2}
      + w \big( \mathbb{E}_u H(p(c \mid u)) - \gamma H(\mathbb{E}_u \, p(c \mid u)) \big), \qquad
      p(c \mid u) \propto \exp(-|u - c|^2 / T)$$

    Distances are summed over channels and averaged over tokens. The entropies are those of `LFQ`,
    with $p(u_j > 0) = \sigma(4 u_j / (\sqrt{d} \, T))$: the first is exact, the second up to
    `group_bits` bits, beyond which the groups' entropies are added. The gradient goes straight
    through the sign, and through the projection on the sphere. A latent of length 0 is
    not projected, gets code 0 and its gradient as it is. Latents of another width:
    `ProjectedQuantizer`.

    Args:
        dim: Channels, at most 62; each is a bit.
        commitment_weight: $\beta$, the price of distance to the code; 0 in the authors' runs.
        entropy_weight: $w$, the price of both entropies; 0.1 in the authors' runs.
        diversity_weight: $\gamma$, the weight of the second entropy against the first.
        temperature: $T$ of the soft codes; 1 in the authors' runs.
        group_bits: How many bits the exact mean distribution may have (the authors' group size).
        channel_dim: Where the channels are.

    Attributes:
        codebook_size: $2^{dim}$.

    Raises:
        ValueError: If `dim` is not in 1 to 62, `temperature` not positive, `group_bits` below 1,
            or a weight negative.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import BSQ
        >>> quantizer = BSQ(4, commitment_weight=1.0, entropy_weight=0.0)
        >>> vectors, codes, loss = quantizer(torch.tensor([[3.0, -3.0, 3.0, 3.0]]))
        >>> vectors, codes, loss  # 1 + 4 + 8; the latent faces the corner exactly
        (tensor([[ 0.5000, -0.5000,  0.5000,  0.5000]]), tensor([13]), tensor(0.))

    References:
        Zhao et al., *Image and Video Tokenization with Binary Spherical Quantization*, 2024,
        <https://arxiv.org/abs/2406.07548>, equations 2 to 8.
    """

    idle = True
    corner: Tensor

    def __init__(
        self,
        dim: int,
        *,
        commitment_weight: float = 0.0,
        entropy_weight: float = 0.1,
        diversity_weight: float = 1.0,
        temperature: float = 1.0,
        group_bits: int = 18,
        channel_dim: int = -1,
    ) -> None:
        super().__init__()
        weights = {
            "commitment_weight": commitment_weight,
            "entropy_weight": entropy_weight,
            "diversity_weight": diversity_weight,
        }
        check_bit_options("BSQ", dim, weights, temperature, group_bits)
        self.dim = dim
        self.codebook_size = 2**dim
        self.commitment_weight = commitment_weight
        self.entropy_weight = entropy_weight
        self.diversity_weight = diversity_weight
        self.temperature = temperature
        self.group_bits = group_bits
        self.channel_dim = channel_dim
        self.register_buffer("corner", torch.tensor(dim**-0.5), persistent=False)

    @property
    def codebook(self) -> Tensor:
        """All vectors, `(codebook_size, dim)`, built on demand."""
        return self._to_vectors(torch.arange(self.codebook_size, device=self.corner.device))

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents, with the commitment and entropy loss."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            on_sphere = _normalize(upcast(flat.tokens))
            positive = flat.tokens > 0
            corners = torch.where(positive, self.corner, -self.corner)
            vectors = straight_through(on_sphere.to(corners.dtype), corners)
            loss = (on_sphere - corners).square().sum(dim=1)
            loss = self.commitment_weight * flat.mean(loss)
            if self.entropy_weight > 0:
                per_sample, batch = bit_entropies(
                    on_sphere, flat.real, scale=4 / (math.sqrt(self.dim) * self.temperature),
                    group_bits=self.group_bits, over_ranks=self.training,
                )  # fmt: skip
                loss = loss + self.entropy_weight * (per_sample - self.diversity_weight * batch)
        codes = bits_to_codes(positive)
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents, int64, in their layout without the channels."""
        flat = self._flatten(latents, valid)
        return flat.restore_codes(bits_to_codes(flat.tokens > 0))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes, 0 for -1."""
        return look_up(
            "BSQ", codes, self.codebook_size, self._to_vectors, channel_dim=self.channel_dim
        )

    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Do nothing: the codebook is fixed."""

    def _flatten(self, latents: Tensor, valid: Tensor | None) -> Flat:
        return flatten(
            "BSQ", latents, valid, dim=self.dim, channel_dim=self.channel_dim,
            dtype=self.corner.dtype,
        )  # fmt: skip

    def _to_vectors(self, codes: Tensor) -> Tensor:
        return torch.where(codes_to_bits(codes, self.dim), self.corner, -self.corner)


def _normalize(tokens: Tensor) -> Tensor:
    square = tokens.square().sum(dim=1, keepdim=True)
    return tokens * torch.where(square > 0, square, 1.0).rsqrt()
