"""Lookup-free quantization: the signs of the channels are the code."""

from torch import Tensor

from ssltok._shared.numerics import upcast
from ssltok.quantizers._layout import Flat
from ssltok.quantizers._pull_fast import pull_together_fast
from ssltok.quantizers._signs import SignQuantizer

__all__ = ["LFQ"]


class LFQ(SignQuantizer):
    r"""Keep the sign of each channel: `dim` bits, $2^{dim}$ codes, and no search.

    $$q_j = \begin{cases} 1 & z_j > 0 \\ -1 & z_j \le 0 \end{cases}, \qquad
      \text{code} = \sum_j 2^{j - 1} [z_j > 0]$$

    $$\mathcal{L} = \beta \, \overline{(z - q)^2}
      + w \big( \mathbb{E}_z H(p(c \mid z)) - \gamma H(\mathbb{E}_z \, p(c \mid z)) \big), \qquad
      p(c \mid z) \propto \exp(-|z - c|^2 / T)$$

    The first entropy makes each vector sure of its code, the second spreads the vectors over all
    codes. Given $z$ the bits are independent, $p(z_j > 0) = \sigma(4 z_j / T)$, so the first is a
    sum over bits and exact. The second is exact up to `group_bits` bits, at a cost of
    `tokens x codes` multiplications but no such memory. Longer codes are cut into groups and the
    groups' entropies added, an upper bound (Zhao et al., equation 8). In training mode, inside a
    process group, both are those of the rows of all processes.

    Latents of another width: `ProjectedQuantizer`.

    Args:
        dim: Channels, at most 62; each is a bit.
        commitment_weight: $\beta$, the price of distance to the code; 0.25 as in VQ-VAE.
        entropy_weight: $w$, the price of both entropies; 0.1 as in MaskGIT.
        diversity_weight: $\gamma$, the weight of the second entropy against the first.
        temperature: $T$ of the soft codes; 0.01 as in MAGVIT's code.
        group_bits: How many bits the exact mean distribution may have. Memory is
            $2^{\text{group bits}}$ numbers.
        channel_dim: Where the channels are.

    Attributes:
        codebook_size: $2^{dim}$.

    Raises:
        ValueError: If `dim` is not in 1 to 62, `temperature` not positive, `group_bits` below 1,
            or a weight negative.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import LFQ
        >>> quantizer = LFQ(3, entropy_weight=0.0)
        >>> vectors, codes, loss = quantizer(torch.tensor([[1.0, -1.0, 3.0]]))
        >>> vectors, codes, loss  # 1 + 4, and 0.25 * (3 - 1) ** 2 / 3
        (tensor([[ 1., -1.,  1.]]), tensor([5]), tensor(0.3333))

    References:
        Yu et al., *Language Model Beats Diffusion: Tokenizer is Key to Visual Generation*
        (MAGVIT-v2), 2023, <https://arxiv.org/abs/2310.05737>, equations 3 to 5.
        Zhao et al., *Image and Video Tokenization with Binary Spherical Quantization*, 2024,
        <https://arxiv.org/abs/2406.07548>, equation 8.
    """

    def __init__(
        self,
        dim: int,
        *,
        commitment_weight: float = 0.25,
        entropy_weight: float = 0.1,
        diversity_weight: float = 1.0,
        temperature: float = 0.01,
        group_bits: int = 18,
        channel_dim: int = -1,
    ) -> None:
        super().__init__(
            dim,
            corner=1.0,
            commitment_weight=commitment_weight,
            entropy_weight=entropy_weight,
            diversity_weight=diversity_weight,
            temperature=temperature,
            group_bits=group_bits,
            channel_dim=channel_dim,
        )

    def _commitment(self, tokens: Tensor, corners: Tensor, flat: Flat) -> Tensor:
        return pull_together_fast(
            tokens, upcast(corners), flat.real, commitment_weight=self.commitment_weight
        )

    def _log_odds(self) -> float:
        return 4 / self.temperature
