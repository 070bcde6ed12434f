"""SimVQ: a frozen random codebook, seen through one learned linear map."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok._shared.numerics import full_precision, upcast
from ssltok.quantizers._estimators import straight_through
from ssltok.quantizers._nearest import nearest_codes
from ssltok.quantizers._pull_fast import pull_together_fast
from ssltok.quantizers._quantized import Quantized
from ssltok.quantizers._single import SingleCode

__all__ = ["SimVQ"]


class SimVQ(SingleCode):
    r"""Learn a basis for all codes at once, so that unused codes move with the used ones.

    $$e = c \, W, \qquad q = e_{k}, \quad k = \arg\min_i |z - e_i|^2, \qquad
      \mathcal{L} = \beta_e \, \overline{(\mathrm{sg}[z] - q)^2}
        + \beta \, \overline{(z - \mathrm{sg}[q])^2}$$

    with $c$, `(codebook_size, dim)`, drawn once from $N(0, 1 / dim)$ and never changed, and $W$,
    `(dim, dim)`, learned without a bias. Squares are averaged over tokens and channels. The
    gradient goes straight through to the latents. A step costs one product of
    `codebook_size * dim * dim` more than a free codebook.

    Args:
        dim: Channels of the latents.
        codebook_size: The number of codes.
        codebook_weight: $\beta_e$, the pull of codes to latents; 1 as in VQ-VAE.
        commitment_weight: $\beta$, the pull of latents to codes; 0.25 as in the authors' runs.
        channel_dim: Where the channels are.
        generator: Source of the random codebook and map.

    Raises:
        ValueError: If `dim` or `codebook_size` is below 1, or a weight negative.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import SimVQ
        >>> quantizer = SimVQ(2, 3)
        >>> frozen = quantizer.frozen.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]))
        >>> _ = torch.nn.init.eye_(quantizer.weight)
        >>> _, codes, loss = quantizer(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        >>> codes, loss.detach()  # (1 + 0.25) * 1**2 / 4
        (tensor([0, 1]), tensor(0.3125))

    References:
        Zhu et al., *Addressing Representation Collapse in Vector Quantized Models with One Linear
        Layer*, 2024, <https://arxiv.org/abs/2411.02038>, equation 6 and algorithm 1.
    """

    frozen: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        codebook_weight: float = 1.0,
        commitment_weight: float = 0.25,
        channel_dim: int = -1,
        generator: torch.Generator | None = None,
    ) -> None:
        check_at_least("SimVQ", "dim", dim, 1)
        check_at_least("SimVQ", "codebook_size", codebook_size, 1)
        check_at_least("SimVQ", "codebook_weight", codebook_weight, 0)
        check_at_least("SimVQ", "commitment_weight", commitment_weight, 0)
        super().__init__(dim, codebook_size, channel_dim=channel_dim)
        self.codebook_weight = codebook_weight
        self.commitment_weight = commitment_weight
        frozen = torch.empty(codebook_size, dim).normal_(std=dim**-0.5, generator=generator)
        self.register_buffer("frozen", frozen)
        bound = dim**-0.5  # torch's own start for linear maps, as in the authors' code
        weight = torch.empty(dim, dim).uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(weight)

    @property
    def codebook(self) -> Tensor:
        """The mapped vectors, `(codebook_size, dim)`, with a gradient to the map."""
        with full_precision(self.frozen):
            return self.frozen @ self.weight.T

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents, with the codebook and commitment loss."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            codebook = self.codebook
            codes = nearest_codes(flat.tokens, codebook)
            quantized = F.embedding(codes, codebook)
            vectors = straight_through(flat.tokens, quantized)
            loss = pull_together_fast(
                upcast(flat.tokens), upcast(quantized), flat.real,
                commitment_weight=self.commitment_weight, codebook_weight=self.codebook_weight,
                codebook=upcast(codebook), codes=codes,
            )  # fmt: skip
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents, int64, in their layout without the channels."""
        flat = self._flatten(latents, valid)
        return flat.restore_codes(nearest_codes(flat.tokens, self.codebook))

    @property
    def _dtype(self) -> torch.dtype:
        return self.frozen.dtype
