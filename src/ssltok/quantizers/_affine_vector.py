"""A codebook whose mean and variance are those of the latents, so that all codes follow them."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_ratio
from ssltok._shared.numerics import upcast
from ssltok._shared.ranks import sum_over_ranks
from ssltok.quantizers._ema_vector import EMAVectorQuantizer
from ssltok.quantizers._estimators import straight_through
from ssltok.quantizers._layout import Flat, finite_rows, flat_codes
from ssltok.quantizers._nearest import nearest_codes

__all__ = ["AffineVectorQuantizer"]


class AffineVectorQuantizer(EMAVectorQuantizer):
    r"""Move and stretch the whole codebook with the latents, beside the move of single codes.

    $$e_k = \mu_x + \frac{\sigma_x}{\sigma_w} (w_k - \mu_w)$$

    by channel, with the running mean and variance $\mu_x, \sigma_x^2$ of the latents, and those of
    the stored vectors $w$ over all codes. When the encoder drifts, codes that nothing uses drift
    along. `update` moves the used $w_k$ as `EMAVectorQuantizer` does, in the coordinates of $w$,
    and then the statistics, those of all processes together. The first codebook is what is drawn,
    or what `set_codebook` is given; `initialize` takes the statistics of its latents. A channel in
    which all $w$ are equal only moves.

    Departures: statistics move in `update` and not before a search, those of the codes are exact
    (the papers' code runs them with a decay of 0.9), and nothing is added to variances, so that
    the scale of the latents does not matter.

    Args:
        dim: Channels of the latents.
        codebook_size: Number of codes.
        channel_dim: Where the channels are in the latents.
        commitment_weight: $\beta$, as in `EMAVectorQuantizer`.
        decay: Of the codes, as in `EMAVectorQuantizer`.
        statistics_decay: Of $\mu_x$ and $\sigma_x^2$ in a step; 0.99 as in
            `vector-quantize-pytorch`.
        estimator: As in `VectorQuantizer`.
        search: As in `VectorQuantizer`.
        regularizer: As in `VectorQuantizer`.
        generator: Source of the first codebook.

    Attributes:
        weight: $w$, a buffer.
        mean: $\mu_x$, `(dim,)`.
        variance: $\sigma_x^2$, `(dim,)`.

    Raises:
        ValueError: If a size is below 1, a weight below 0 or a decay outside [0, 1].
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import AffineVectorQuantizer
        >>> quantizer = AffineVectorQuantizer(1, 3, decay=1.0, statistics_decay=0.0)
        >>> quantizer.set_codebook(torch.tensor([[-1.0], [0.0], [1.0]]))
        >>> latents = torch.tensor([[98.0], [100.0], [102.0]])  # twice as wide, elsewhere
        >>> quantizer.update(latents, quantizer(latents).codes)
        >>> quantizer.codebook
        tensor([[ 98.],
                [100.],
                [102.]])

    References:
        Huh et al., *Straightening Out the Straight-Through Estimator*, 2023,
        <https://arxiv.org/abs/2305.08842> (affine parameterization); `affine_param` of
        `vector-quantize-pytorch`.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        channel_dim: int = -1,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        statistics_decay: float = 0.99,
        estimator: Callable[[Tensor, Tensor], Tensor] = straight_through,
        search: Callable[[Tensor, Tensor], Tensor] = nearest_codes,
        regularizer: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            dim, codebook_size, channel_dim=channel_dim, commitment_weight=commitment_weight,
            decay=decay, estimator=estimator, search=search, regularizer=regularizer,
            generator=generator,
        )  # fmt: skip
        check_ratio("AffineVectorQuantizer", "statistics_decay", statistics_decay)
        self.statistics_decay = statistics_decay

    @property
    def codebook(self) -> Tensor:
        """The moved and stretched vectors, `(codebook_size, dim)`."""
        middle, stretch = self._affine()
        moved = (upcast(self.weight) - middle) * stretch + upcast(self.mean)
        return moved.to(self.weight.dtype)

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor, *, weights: Tensor | None = None) -> None:
        """Move the used codes towards their tokens, then all of them with the latents."""
        super().update(latents, codes, weights=weights)
        flat = self._flatten(latents, None)
        real = flat_codes(type(self).__name__, codes, flat, ()) >= 0
        self._follow(flat.tokens, real, self.statistics_decay)

    @torch.no_grad()
    def initialize(
        self,
        latents: Tensor,
        valid: Tensor | None = None,
        *,
        steps: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:
        """Start from the clusters of some latents, and from their mean and variance."""
        super().initialize(latents, valid, steps=steps, generator=generator)
        flat = self._flatten(latents, valid)
        self._follow(flat.tokens, _all_real(flat), 0.0)

    @torch.no_grad()
    def revive(
        self,
        latents: Tensor,
        codes: Tensor,
        *,
        share: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Move dead codes to tokens of this step, by `revive_dead_codes_` (which see).

        The others' vectors stay where they are: where a code moves, all are stored as they are
        seen, and the statistics become their own.
        """
        before = [value.clone() for value in (self.weight, self.mean, self.variance)]
        self._take(self.codebook)
        moved = super().revive(latents, codes, share=share, generator=generator)
        self._take(self.weight.clone())
        values = (self.weight, self.mean, self.variance)
        for value, old in zip(values, before, strict=True):
            value.copy_(torch.where(moved.any(), value, old))
        return moved

    @torch.no_grad()
    def set_codebook(self, vectors: Tensor) -> None:
        """Replace the codebook, `(codebook_size, dim)`, and its statistics by its own."""
        super().set_codebook(vectors)
        self._take(self.weight.clone())

    def _hold(self, start: Tensor) -> None:
        super()._hold(start)
        self.register_buffer("mean", start.mean(dim=0))
        self.register_buffer("variance", start.var(dim=0, correction=0))

    def _affine(self) -> tuple[Tensor, Tensor]:
        """Return the mean of the stored vectors, and by how much they are stretched."""
        variance, mean = torch.var_mean(upcast(self.weight), dim=0, correction=0)
        spread = variance > 0
        ratio = upcast(self.variance) / torch.where(spread, variance, 1.0)
        return mean, torch.where(spread, ratio.sqrt(), 1.0)

    def _raw(self, tokens: Tensor) -> Tensor:
        middle, stretch = self._affine()
        stretch = torch.where(stretch > 0, stretch, 1.0)
        return ((upcast(tokens) - upcast(self.mean)) / stretch + middle).to(tokens.dtype)

    def _follow(self, tokens: Tensor, real: Tensor, decay: float) -> None:
        """Move the running statistics towards those of tokens."""
        mean, variance = upcast(self.mean), upcast(self.variance)
        use = (real & finite_rows(tokens))[:, None]
        shifted = torch.where(use, upcast(tokens) - mean, 0.0)
        sums = sum_over_ranks(torch.cat([shifted.sum(dim=0), use.sum()[None].to(mean)]))
        shift, count = sums[:-1] / sums[-1].clamp(min=1), sums[-1]
        squares = torch.where(use, shifted - shift, 0.0).square().sum(dim=0)
        spread = sum_over_ranks(squares) / count.clamp(min=1)
        share = torch.where(count > 0, mean.new_full((), 1 - decay), 0.0)
        self.mean.copy_(mean + share * shift)
        self.variance.copy_(variance.lerp(spread, share))

    def _take(self, vectors: Tensor) -> None:
        """Store vectors as they are, with statistics of their own."""
        variance, mean = torch.var_mean(upcast(vectors), dim=0, correction=0)
        self.weight.copy_(vectors)
        self.mean.copy_(mean)
        self.variance.copy_(variance)


def _all_real(flat: Flat) -> Tensor:
    if flat.real is not None:
        return flat.real
    return torch.ones(len(flat.tokens), dtype=torch.bool, device=flat.tokens.device)
