"""Vector quantization: the nearest of a set of vectors that learn by gradient."""

from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import ssltok.quantizers._tuning as tuning
from ssltok._shared.checks import check_at_least, check_floating
from ssltok._shared.numerics import full_precision, upcast
from ssltok.quantizers._ema import code_counts
from ssltok.quantizers._estimators import straight_through
from ssltok.quantizers._kmeans import kmeans
from ssltok.quantizers._layout import Flat, check_code_range, flat_codes, without_lost_rows
from ssltok.quantizers._nearest import nearest_codes
from ssltok.quantizers._pull_fast import pull_together_fast
from ssltok.quantizers._quantized import Quantized
from ssltok.quantizers._revival import revive_dead_codes_
from ssltok.quantizers._single import SingleCode
from ssltok.quantizers._unit import has_direction, unit_rows_plain
from ssltok.quantizers._unit_fast import unit_rows_fast

__all__ = ["VectorQuantizer"]


class VectorQuantizer(SingleCode):
    r"""Replace each vector by the nearest of a codebook that learns by gradient.

    $$k = \arg\min_j \lVert x - e_j \rVert^2, \quad q = e_k, \qquad
      \mathcal{L} = w\, \overline{\lVert \mathrm{sg}(x) - q \rVert^2}
                  + \beta\, \overline{\lVert x - \mathrm{sg}(q) \rVert^2}$$

    Means are over tokens and channels. `forward` and `encode` change nothing; `update` only counts
    how often codes are used. Two things are worth a line each before and during training:
    `quantizer.initialize(latents)` starts from the clusters of some latents, and
    `quantizer.revive(latents, quantized.codes)` moves dead codes.

    Low-dimensional codes are a `ProjectedQuantizer` around this one, heads a `GroupedQuantizer` of
    several (or of the same one several times: a shared codebook).

    Args:
        dim: Channels of the latents.
        codebook_size: Number of codes.
        channel_dim: Where the channels are in the latents; -1 is last, 1 as in convolutions.
        cosine: Whether to compare directions: latents and codes are scaled to length 1 first, and
            the vectors returned have length 1. Gradients pass through the scaling.
        commitment_weight: $\beta$, 0.25 as in the paper.
        codebook_weight: $w$, 1 as in the paper.
        estimator: `(latents, quantized) -> vectors`, the gradient of the step: `straight_through`
            or `rotation_trick`.
        search: `(tokens, codebook) -> codes` of `forward` in training mode: `nearest_codes`, or
            `partial(sample_codes, temperature=...)` to draw. Otherwise the nearest is taken. Under
            activation checkpointing give it no generator of its own: see `sample_codes`.
        regularizer: `(tokens, codebook, valid) -> scalar`, added to the loss in training mode,
            such as a weighted `codebook_entropy_loss` or `orthogonality_loss`. It sees the latents
            flat, and may wait for other processes, which evaluation does not.
        generator: Source of the first codebook: normal with variance `1 / dim`.

    Attributes:
        weight: The parameter, `(codebook_size, dim)`.
        counts: Running mean of the number of tokens of each code in a step, never in half
            precision, whatever the module is converted to.

    Raises:
        ValueError: If a size is below 1 or a weight below 0. The methods raise it for latents,
            masks and codes of wrong shapes, dtypes or ranges.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import VectorQuantizer
        >>> quantizer = VectorQuantizer(2, 3)
        >>> quantizer.set_codebook(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        >>> quantized = quantizer(torch.tensor([[0.9, 0.1], [0.2, 0.8]]))
        >>> quantized.codes
        tensor([1, 2])
        >>> round(quantized.loss.item() / 1.25, 4)  # (0.01 + 0.01 + 0.04 + 0.04) / 4
        0.025
        >>> quantizer.decode(torch.tensor([2, -1]))
        tensor([[0., 1.],
                [0., 0.]], grad_fn=<...>)

    References:
        van den Oord et al., *Neural discrete representation learning*, 2017,
        <https://arxiv.org/abs/1711.00937>, equations 1 to 3. `cosine`: Yu et al., *Vector-quantized
        image modeling with improved VQGAN*, 2021, <https://arxiv.org/abs/2110.04627>, section 3.2.
    """

    idle = False
    weight: Tensor
    counts: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        channel_dim: int = -1,
        cosine: bool = False,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        estimator: Callable[[Tensor, Tensor], Tensor] = straight_through,
        search: Callable[[Tensor, Tensor], Tensor] = nearest_codes,
        regularizer: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        who = type(self).__name__
        check_at_least(who, "dim", dim, 1)
        check_at_least(who, "codebook_size", codebook_size, 1)
        check_at_least(who, "commitment_weight", commitment_weight, 0)
        check_at_least(who, "codebook_weight", codebook_weight, 0)
        super().__init__(dim, codebook_size, channel_dim=channel_dim)
        self.cosine = cosine
        self.commitment_weight = commitment_weight
        self.codebook_weight = codebook_weight
        self.estimator = estimator
        self.search = search
        self.regularizer = regularizer
        start = torch.randn(codebook_size, dim, generator=generator) / dim**0.5
        self.register_buffer("counts", torch.ones(codebook_size))
        self._hold(unit_rows_plain(start) if cosine else start)

    @property
    def codebook(self) -> Tensor:
        """The vectors that codes stand for, `(codebook_size, dim)`; of length 1 with `cosine`."""
        if not self.cosine:
            return self.weight
        return unit_rows_plain(upcast(self.weight)).to(self.weight.dtype)

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents of any rank from 2; see `Quantized` for what comes back."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            codebook = self.codebook
            search = self.search if self.training else nearest_codes
            codes = search(flat.tokens.detach(), codebook.detach()).to(torch.int64)
            return self._quantized(flat, codebook, codes)

    def with_codes(self, latents: Tensor, codes: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents as `forward` does, to codes that were searched elsewhere.

        Args:
            latents: As in `forward`.
            codes: int64, the layout of the latents without its channels; -1, such as at padding,
                needs no code.
            valid: As in `forward`; what has the code -1 is not real either.

        Raises:
            ValueError: If latents or codes do not fit, or a code is none of the codebook's.
        """
        who, flat = type(self).__name__, self._flatten(latents, valid)
        rows = flat_codes(who, codes, flat, ())
        check_code_range(who, rows, self.codebook_size)
        real = rows >= 0 if flat.real is None else flat.real & (rows >= 0)
        flat = flat._replace(real=real, tokens=torch.where(real[:, None], flat.tokens, 0.0))
        with full_precision(latents):
            return self._quantized(flat, self.codebook, rows.clamp(min=0))

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the nearest codes, int64, -1 at padding."""
        flat = self._flatten(latents, valid)
        return flat.restore_codes(nearest_codes(flat.tokens, self.codebook))

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Count the use of the codes; once a step, with all of the step's codes."""
        who, flat = type(self).__name__, self._flatten(latents, None)
        codes = without_lost_rows(flat_codes(who, codes, flat, ()), flat.tokens)
        used = code_counts(codes, self.codebook_size).to(self.counts.dtype)
        weight = used.new_full((), 1 - tuning.USAGE_DECAY)
        self.counts.lerp_(used, torch.where(used.sum() > 0, weight, 0.0))

    @torch.no_grad()
    def initialize(
        self,
        latents: Tensor,
        valid: Tensor | None = None,
        *,
        steps: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:
        """Start from the clusters of some latents, by `kmeans` (which see); once, before training.

        Concatenate several batches for a large codebook. Processes of a group call it together.
        """
        flat = self._flatten(latents, valid)
        tokens = flat.tokens if flat.real is None else flat.tokens[flat.real]
        clusters = kmeans(
            tokens, self.codebook_size, steps=steps, cosine=self.cosine, generator=generator
        )
        self.weight.copy_(clusters.centers)
        self.counts.copy_(clusters.counts)

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

        Call it after `update`. It returns which codes were moved, `(codebook_size,)`.

        Raises:
            ValueError: If latents or codes do not fit, or a code is none of the codebook's.
        """
        who, flat = type(self).__name__, self._flatten(latents, None)
        valid = flat_codes(who, codes, flat, ()) >= 0
        check_code_range(who, codes, self.codebook_size)
        if self.cosine:
            valid = valid & has_direction(flat.tokens)
        return revive_dead_codes_(
            self.weight, self.counts, flat.tokens, valid, share=share, generator=generator
        )

    @torch.no_grad()
    def set_codebook(self, vectors: Tensor) -> None:
        """Replace the codebook, `(codebook_size, dim)`, and forget how it was used.

        Raises:
            ValueError: If the vectors have another shape or dtype, or are not finite.
            TypeError: If they are not a tensor.
        """
        who = type(self).__name__
        check_floating(who, "vectors", vectors)
        if vectors.shape != self.weight.shape:
            raise ValueError(
                f"{who}: vectors must have shape {tuple(self.weight.shape)}; "
                f"got {tuple(vectors.shape)}"
            )
        if vectors.device.type == "cpu" and not vectors.isfinite().all():
            raise ValueError(f"{who}: vectors must be finite; got NaN or infinity")
        self.weight.copy_(unit_rows_plain(upcast(vectors)) if self.cosine else vectors)
        self.counts.fill_(1)

    def extra_repr(self) -> str:
        """Say what the printed module should."""
        return f"{self.dim}, {self.codebook_size}, channel_dim={self.channel_dim}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:  # noqa: FBT001, FBT002
        """Convert and move as any module, but keep the counts out of half precision."""
        counts = self.counts
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if (
            upcast(self.counts[:0]).dtype != self.counts.dtype
        ):  # as integers they stay what they are
            self.counts = fn(counts.float().view(torch.int32)).view(torch.float32)
        return self

    def _quantized(self, flat: Flat, codebook: Tensor, codes: Tensor) -> Quantized:
        """Return the vectors of codes, `(tokens,)`, and the loss."""
        chosen = F.embedding(codes, codebook)
        vectors = self._estimate(flat.tokens, chosen)  # first: its gradient adds to the loss's
        loss = pull_together_fast(
            upcast(flat.tokens),
            upcast(chosen),
            flat.real,
            commitment_weight=self.commitment_weight,
            codebook_weight=self.codebook_weight,
            codebook=upcast(codebook),
            codes=codes,
        )
        if self.training and self.regularizer is not None:
            loss = loss + self.regularizer(flat.tokens, codebook, flat.real)
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def _estimate(self, tokens: Tensor, chosen: Tensor) -> Tensor:
        """Return the chosen codes' vectors with a gradient."""
        return self.estimator(tokens, chosen)

    def _hold(self, start: Tensor) -> None:
        """Keep the first codebook under the name `weight`."""
        self.weight = nn.Parameter(start)

    @property
    def _dtype(self) -> torch.dtype:
        return self.weight.dtype

    def directions(self, tokens: Tensor) -> Tensor:
        """Return tokens, `(tokens, dim)`, as they are compared with the codebook."""
        if not self.cosine:
            return tokens
        with full_precision(tokens):
            return unit_rows_fast(upcast(tokens)).to(self._dtype)

    def _flatten(self, latents: Tensor, valid: Tensor | None) -> Flat:
        flat = super()._flatten(latents, valid)
        return flat._replace(tokens=self.directions(flat.tokens)) if self.cosine else flat
