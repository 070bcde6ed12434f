"""Binary spherical quantization: the corner of the cube, on the sphere, that the latent faces."""

import math

from torch import Tensor

from ssltok._shared.checks import check_integer
from ssltok.quantizers._layout import Flat
from ssltok.quantizers._signs import SignQuantizer
from ssltok.quantizers._unit import sphere_rows

__all__ = ["BSQ"]


class BSQ(SignQuantizer):
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
        TypeError: If an option is not a number.

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
        check_integer("BSQ", "dim", dim)
        super().__init__(
            dim,
            corner=max(dim, 1) ** -0.5,  # its bounds are checked there
            commitment_weight=commitment_weight,
            entropy_weight=entropy_weight,
            diversity_weight=diversity_weight,
            temperature=temperature,
            group_bits=group_bits,
            channel_dim=channel_dim,
        )

    def _turn(self, tokens: Tensor) -> Tensor:
        return sphere_rows(tokens)

    def _commitment(self, tokens: Tensor, corners: Tensor, flat: Flat) -> Tensor:
        return self.commitment_weight * flat.mean((tokens - corners).square().sum(dim=1))

    def _log_odds(self) -> float:
        return 4 / (math.sqrt(self.dim) * self.temperature)
