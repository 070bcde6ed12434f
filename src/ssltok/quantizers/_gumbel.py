"""Gumbel-softmax quantization: codes drawn from predicted probabilities, with a gradient."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive
from ssltok._shared.numerics import full_precision, upcast
from ssltok.quantizers._quantized import Quantized
from ssltok.quantizers._single import SingleCode

__all__ = ["GumbelQuantizer"]


class GumbelQuantizer(SingleCode):
    r"""Predict a probability for every code, draw one, and let the gradient reach all of them.

    $$l = W z + b, \qquad k = \arg\max_i (l_i + g_i), \qquad
      y = \mathrm{softmax}\big((l + g) / \tau\big), \qquad \tilde q = e_k + (y - \mathrm{sg}[y]) E$$

    $$\mathcal{L} = \beta \, \mathbb{E}_z \sum_i p_i \log (K p_i), \qquad p = \mathrm{softmax}(l)$$

    with $g$ Gumbel noise in training and 0 in evaluation. The forward value is exactly $e_k$; the
    gradient of the logits is that of the soft mixture $y E$, that of the codebook goes to the code
    drawn alone. Unlike the quantizers that search, it holds a `tokens x codebook_size` matrix.
    Anneal by assigning `quantizer.temperature`.

    Args:
        dim: Channels of the latents and of the codes.
        codebook_size: The number of codes.
        temperature: $\tau$; 1 as in taming-transformers.
        kl_weight: $\beta$, the price of unequal probabilities; 5e-4 as in taming-transformers.
        channel_dim: Where the channels are.
        generator: Source of the noise, on the device of the latents. Activation checkpointing draws
            twice and restores torch's own source alone: there leave it out, or the gradients are
            those of other codes.
        weight_generator: Source of the first weights: uniform with bound $1 / \sqrt{dim}$ for the
            logits, as in `nn.Linear`, standard normal for the vectors.

    Raises:
        ValueError: If `dim` or `codebook_size` is below 1, `temperature` not positive or
            `kl_weight` negative.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import GumbelQuantizer
        >>> quantizer = GumbelQuantizer(2, 2, kl_weight=1.0).eval()
        >>> _ = torch.nn.init.constant_(quantizer.to_logits.weight, 0.0)
        >>> _ = torch.nn.init.constant_(quantizer.to_logits.bias, 0.0)
        >>> vectors, codes, loss = quantizer(torch.ones(3, 2))
        >>> codes, loss.detach()  # equal probabilities cost nothing; ties go to the lowest code
        (tensor([0, 0, 0]), tensor(0.))

    References:
        Jang et al., *Categorical Reparameterization with Gumbel-Softmax*, 2017,
        <https://arxiv.org/abs/1611.01144>, section 2.2 (straight-through).
        Esser et al., *Taming Transformers*, 2021, <https://arxiv.org/abs/2012.09841>, the code's
        `GumbelQuantize`.
    """

    learns_by_vectors = True

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        temperature: float = 1.0,
        kl_weight: float = 5e-4,
        channel_dim: int = -1,
        generator: torch.Generator | None = None,
        weight_generator: torch.Generator | None = None,
    ) -> None:
        check_at_least("GumbelQuantizer", "dim", dim, 1)
        check_at_least("GumbelQuantizer", "codebook_size", codebook_size, 1)
        check_positive("GumbelQuantizer", "temperature", temperature)
        check_at_least("GumbelQuantizer", "kl_weight", kl_weight, 0)
        super().__init__(dim, codebook_size, channel_dim=channel_dim)
        self.temperature = temperature
        self.kl_weight = kl_weight
        self.generator = generator
        self.weight_generator = None  # the weights are drawn once, here
        self.to_logits = nn.Linear(dim, codebook_size)
        if weight_generator is not None:  # otherwise they are drawn already
            for values in self.to_logits.parameters():
                nn.init.uniform_(values, -(dim**-0.5), dim**-0.5, generator=weight_generator)
        self.vectors = nn.Parameter(torch.randn(codebook_size, dim, generator=weight_generator))

    @property
    def codebook(self) -> Tensor:
        """The learned vectors, `(codebook_size, dim)`."""
        return self.vectors

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents, with the loss of unequal probabilities."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            logits = upcast(self.to_logits(flat.tokens))
            log_p = logits.log_softmax(dim=1)
            divergence = (log_p.exp() * log_p).sum(dim=1) + math.log(self.codebook_size)
            loss = self.kl_weight * flat.mean(divergence)
            if self.training:
                race = torch.empty_like(logits).exponential_(generator=self.generator)
                race = race.clamp(min=torch.finfo(race.dtype).tiny)
                logits = logits - race.log()
            codes = logits.argmax(dim=1)
            soft = (logits / self.temperature).softmax(dim=1).to(self.vectors.dtype)
            mixture = soft @ self.vectors.detach()
            vectors = F.embedding(codes, self.vectors) + (mixture - mixture.detach())
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the most probable codes, int64, in the layout without the channels."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            return flat.restore_codes(self.to_logits(flat.tokens).argmax(dim=1))

    @property
    def _dtype(self) -> torch.dtype:
        return self.vectors.dtype
