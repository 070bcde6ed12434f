"""Residual quantization: each level codes what the levels before have left."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_floating,
    check_integer,
    check_positive,
    check_ratio,
)
from ssltok._shared.numerics import full_precision
from ssltok.quantizers._beam import beam_prefixes
from ssltok.quantizers._estimators import straight_through
from ssltok.quantizers._layout import Flat, channels_to, flatten
from ssltok.quantizers._nested import (
    NestedQuantizer,
    check_given_codes,
    check_parts,
    check_widths,
    last_axis_sizes,
    parts_of,
    split_codes,
    stack_codebooks,
)
from ssltok.quantizers._quantized import Quantized, Quantizer

__all__ = ["ResidualQuantizer"]


class ResidualQuantizer(NestedQuantizer):
    r"""Quantize, subtract, quantize the rest: $K^Q$ combinations for $Q K$ codes.

    $$r_1 = z, \qquad q_i = s_i \, Q_i(r_i / s_i), \qquad r_{i + 1} = r_i - \mathrm{sg}[q_i],
      \qquad q = \sum_i q_i, \qquad \mathcal{L} = \sum_i \mathcal{L}_i$$

    Every level's loss reaches the latents, because only quantised values are subtracted; the
    gradient of $q$ goes straight through once, over the sum. So levels learn from their own loss
    or from `update`. Those that say `learns_by_vectors` (`ProjectedQuantizer`, as DAC's levels,
    `GumbelQuantizer`, and groups with one of them) get the gradient of their vectors: where all
    levels do, the gradient of $q$ is the sum of the levels' own, none goes straight through, and
    one level is as that level alone. Some levels of either kind would count the latents' gradient
    twice and are refused.
    `[quantizer] * levels` shares one quantizer between levels; it learns once a step, and starts at
    its first level. `initialize` starts level by level, from what the levels before leave.

    With `dropout`, in training, some samples (entries of the first axis) use a random number of
    levels, 1 or more, so that each prefix of levels becomes a code of its own. Codes of levels
    left out are -1, decode to 0, and take no part in a loss or an update. A level's loss is the
    mean over the tokens that reach it.

    With `beams` above 1 the codes of all levels are searched together, by `beam_codes` (which see),
    in training and evaluation: the sum comes closer, at `beams` searches a level.

    Args:
        quantizers: The levels, with one `dim` and `channel_dim=-1`.
        dropout: Share of samples that use fewer levels; DAC trains with 0.5.
        scales: $s_i$, a positive number for each level: codebooks with a fixed range (`FSQ`, `LFQ`)
            need smaller steps at later levels. All 1 by default.
        beams: Sums kept by the search; the levels must be `VectorQuantizer`s or heirs.
        channel_dim: Where the channels are.
        generator: Source of the number of levels, on the device of the latents. Activation
            checkpointing draws twice and restores torch's own source alone: there leave it out, or
            the gradients are those of other codes.

    Attributes:
        dim: The levels' `dim`.
        codebook_size: The largest of the levels' sizes, so that every level's codes are below.
        codebook_sizes: The size for each code of a vector.
        code_shape: The axes of a level's codes, then the levels.
        learns_by_vectors: As the levels.

    Raises:
        TypeError: If a level is no quantizer: it misses a member of the protocol. With several
            beams: if it cannot be given codes that were searched elsewhere.
        ValueError: If there is none, if one has other codes than it says, if they differ in `dim`
            or in the axes of their codes, have vectors of another width or another `channel_dim`,
            if some but not all learn from the gradient of their vectors, if `dropout` is outside
            [0, 1], or `scales` are not as many positive numbers.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import LFQ, ResidualQuantizer
        >>> levels = [LFQ(1, entropy_weight=0.0) for _ in range(3)]
        >>> quantizer = ResidualQuantizer(levels, scales=[1.0, 0.5, 0.25])
        >>> vectors, codes, _ = quantizer(torch.tensor([[1.3]]))
        >>> vectors, codes  # 1.3 = 1 + 0.5 - 0.25 + the rest
        (tensor([[1.2500]]), tensor([[1, 1, 0]]))

    References:
        Zeghidour et al., *SoundStream*, 2021, <https://arxiv.org/abs/2107.03312>, algorithm 1 and
        section III.C (dropout).
        Kumar et al., *High-Fidelity Audio Compression with Improved RVQGAN* (DAC), 2023,
        <https://arxiv.org/abs/2306.06546>, sections 3.1 (factorised codes) and 3.2 (dropout for a
        share of the samples).
    """

    def __init__(
        self,
        quantizers: Sequence[nn.Module],
        *,
        dropout: float = 0.0,
        scales: Sequence[float] | None = None,
        beams: int = 1,
        channel_dim: int = -1,
        generator: torch.Generator | None = None,
    ) -> None:
        who = "ResidualQuantizer"
        parts = check_parts(who, quantizers)
        check_ratio(who, "dropout", dropout)
        if len({part.learns_by_vectors for part in parts}) > 1:
            raise ValueError(
                f"{who}: all levels must learn from the gradient of their vectors, or none; "
                f"got {[type(part).__name__ for part in parts]}"
            )
        check_at_least(who, "beams", beams, 1)
        if beams > 1:
            check_given_codes(who, parts)
        dims = [part.dim for part in parts]
        if len(set(dims)) > 1:
            raise ValueError(f"{who}: levels must share one dim; got {dims}")
        check_widths(who, parts)
        super().__init__(
            parts,
            code_shape=(*parts[0].code_shape, len(parts)),
            codebook_sizes=last_axis_sizes(parts),
            learns_by_vectors=parts[0].learns_by_vectors,
        )
        self.quantizers = nn.ModuleList(quantizers)
        self.scales = [1.0] * len(quantizers) if scales is None else list(scales)
        if len(self.scales) != len(quantizers):
            raise ValueError(
                f"{who}: scales must be as many as levels; "
                f"got {len(self.scales)} for {len(quantizers)} levels"
            )
        check_positive(who, "min(scales)", min(self.scales))
        self.dim = dims[0]
        self.dropout = dropout
        self.beams = beams
        check_integer("ResidualQuantizer", "channel_dim", channel_dim)
        self.channel_dim = channel_dim
        self.generator = generator

    @property
    def codebook(self) -> Tensor:
        """The levels' codebooks, scaled, `(levels, codebook_size, dim)`, if of one size."""
        books = [part.codebook for part in self._parts()]
        scaled = [_scale(book, scale) for book, scale in zip(books, self.scales, strict=True)]
        return stack_codebooks("ResidualQuantizer", scaled)

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents; the codes have a last axis of levels, the loss is the levels' sum."""
        flat = self._flatten(latents, valid)
        depth = self._draw_depth(flat) if self.training and self.dropout > 0 else None
        codes, losses, grid = [], [], flat.for_parts(training=self.training)
        with full_precision(latents):
            searched = self._search(flat, depth) if self.beams > 1 else None
            rest = total = flat.tokens
            for i, (part, scale) in enumerate(self._levels(), 1):
                real = flat.real
                if depth is not None:
                    real = depth >= i if real is None else real & (depth >= i)
                real = None if real is None else grid.to_grid(real)
                tokens = grid.to_grid(_scale(rest, 1 / scale))
                if searched is None:
                    vectors, known, loss = part(tokens, real)
                else:
                    given = grid.to_grid(searched[:, i - 1])
                    vectors, known, loss = cast("Any", part).with_codes(tokens, given, real)
                if not self.learns_by_vectors:
                    vectors = vectors.detach()
                vectors = _scale(grid.to_rows(vectors), scale)
                if i < len(self.scales):
                    rest = rest - vectors.detach()
                if i > 2 and torch.promote_types(total.dtype, vectors.dtype) == total.dtype:
                    total.add_(vectors)  # by now the sum is no level's own tensor
                else:
                    total = vectors if i == 1 else total + vectors
                del vectors  # not to be held while the next level works
                codes.append(grid.to_rows(known))
                losses.append(loss)
            vectors = total if self.learns_by_vectors else straight_through(flat.tokens, total)
        loss = torch.stack(losses).sum()
        stacked = torch.stack(codes, dim=-1)
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(stacked), loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents, int64: their layout without channels, then the levels."""
        flat = self._flatten(latents, valid)
        codes, rest = [], flat.tokens
        with full_precision(latents):
            if self.beams > 1:
                return flat.restore_codes(self._search(flat, None))
            for part, scale in self._levels():
                codes.append(part.encode(_scale(rest, 1 / scale), flat.real))
                rest = rest - _scale(part.decode(codes[-1]).detach(), scale)
        return flat.restore_codes(torch.stack(codes, dim=-1))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes `(..., levels)`; a level whose code is -1 adds 0."""
        first, *others = (
            _scale(part.decode(level_codes), scale)
            for (part, scale), level_codes in zip(self._levels(), self._split(codes), strict=True)
        )
        return channels_to("ResidualQuantizer", sum(others, first), self.channel_dim, codes)

    def _parts(self) -> list[Quantizer]:
        return parts_of(self.quantizers)

    def _split(self, codes: Tensor) -> tuple[Tensor, ...]:
        return split_codes("ResidualQuantizer", codes, len(self.quantizers))

    def _given(self, tokens: Tensor, codes: list[Tensor]) -> list[Tensor]:
        rests, rest = [_scale(tokens, 1 / self.scales[0])], tokens
        for (part, scale), level_codes, after in zip(
            self._levels()[:-1], codes[:-1], self.scales[1:], strict=True
        ):
            rest = rest - _scale(part.decode(level_codes), scale)
            rests.append(_scale(rest, 1 / after))
        return rests

    def _starts(self, flat: Flat) -> Iterator[tuple[Quantizer, Tensor, Tensor | None]]:
        """Level by level, from what the levels before leave; a shared one starts at its first."""
        started: list[Quantizer] = []
        rest = flat.tokens
        for part, scale in self._levels():
            scaled = _scale(rest, 1 / scale)
            if all(part is not other for other in started):
                yield part, scaled, flat.real
                started.append(part)
            rest = rest - _scale(part.decode(part.encode(scaled, flat.real)), scale)

    def _levels(self) -> list[tuple[Quantizer, float]]:
        return list(zip(self._parts(), self.scales, strict=True))

    def _search(self, flat: Flat, depth: Tensor | None) -> Tensor:
        """Search all levels together; -1 at levels that a token does not use."""
        books = [_scale(part.codebook.detach(), scale) for part, scale in self._levels()]
        prefixes = beam_prefixes(flat.tokens.detach(), books, beams=self.beams)
        codes = prefixes.pop()
        if depth is not None:
            for level, prefix in enumerate(prefixes, 1):
                shorter = F.pad(prefix, (0, codes.shape[1] - level), value=-1)
                codes = torch.where((depth == level)[:, None], shorter, codes)
        return codes

    def _draw_depth(self, flat: Flat) -> Tensor:
        """How many levels each token uses, `(tokens,)`, the same within a sample."""
        levels, device = len(self.quantizers), flat.tokens.device
        samples, each = flat.shape[0], math.prod(flat.shape[1:])
        fewer = torch.rand(samples, generator=self.generator, device=device) < self.dropout
        drawn = torch.randint(1, levels + 1, (samples,), generator=self.generator, device=device)
        return torch.where(fewer, drawn, levels).repeat_interleave(each)

    def _flatten(self, latents: Tensor, valid: Tensor | None) -> Flat:
        check_floating("ResidualQuantizer", "latents", latents)
        return flatten(
            "ResidualQuantizer", latents, valid, dim=self.dim, channel_dim=self.channel_dim,
            dtype=torch.promote_types(latents.dtype, torch.float32),
        )  # fmt: skip


def _scale(tensor: Tensor, scale: float) -> Tensor:
    return tensor if scale == 1 else tensor * scale
