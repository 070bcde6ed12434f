"""Scales: the first level codes long stretches of time, each further one shorter stretches."""

import math
from collections.abc import Iterator, Sequence
from numbers import Integral

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_floating, check_integer
from ssltok._shared.numerics import full_precision
from ssltok.quantizers._cells import Cells
from ssltok.quantizers._estimators import straight_through
from ssltok.quantizers._layout import Flat, channels_to, check_code_range, flatten
from ssltok.quantizers._nested import (
    ByPlace,
    NestedQuantizer,
    check_parts,
    check_widths,
    last_axis_sizes,
    parts_of,
    split_codes,
    stack_codebooks,
)
from ssltok.quantizers._quantized import Quantized, Quantizer

__all__ = ["MultiScaleQuantizer"]


class MultiScaleQuantizer(NestedQuantizer, ByPlace):
    r"""Residual quantization over time: each level codes the mean of what is left in its cells.

    $$q_i = \mathrm{up}_{s_i} Q_i(\mathrm{down}_{s_i} r_i), \qquad
      r_{i + 1} = r_i - \mathrm{sg}[q_i], \qquad q = \sum_i q_i, \qquad
      \mathcal{L} = \sum_i \mathcal{L}_i$$

    with $\mathrm{down}_s$ the mean over `s` neighbours along the last axis of places (time), and
    $\mathrm{up}_s$ their repetition. With strides 8, 4, 2, 1 the first level says with few codes
    how a series goes, and the last adds detail. A mean is over the real tokens of a cell, so
    padding cannot leak. All places of a cell carry its code, so that codes have the layout of the
    latents; `decode` reads a cell's first real one. The gradient goes straight through the sum, or
    is the levels' own where they learn by vectors, as in `ResidualQuantizer`.

    VAR resizes to given numbers of tokens and smooths by convolutions after each; here strides are
    given, as in SNAC, so that a longer series has more cells and a shorter one the same.

    Args:
        quantizers: The levels, coarse first, with one `dim` and `channel_dim=-1`; one may serve
            several levels, as in VAR.
        strides: Places of a cell for each level, not rising.
        channel_dim: Where the channels are.

    Attributes:
        dim: The levels' `dim`.
        codebook_size: The largest of the levels' sizes.
        code_shape: The axes of a level's codes, then the levels.

    Raises:
        TypeError: If a level is no quantizer: it misses a member of the protocol.
        ValueError: If levels do not fit each other as in `ResidualQuantizer`, or `strides` are not
            as many integers of 1 or more that do not rise.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import LFQ, MultiScaleQuantizer
        >>> levels = [LFQ(1, entropy_weight=0.0) for _ in range(2)]
        >>> quantizer = MultiScaleQuantizer(levels, strides=[2, 1])
        >>> vectors, codes, _ = quantizer(torch.tensor([[[4.0], [0.5], [-0.5], [-4.0]]]))
        >>> vectors[0, :, 0], codes[0, :, 0]  # 1 and -1 for two places each, then 1, -1, 1, -1
        (tensor([ 2.,  0.,  0., -2.]), tensor([1, 1, 0, 0]))

    References:
        Tian et al., *Visual Autoregressive Modeling* (VAR), 2024,
        <https://arxiv.org/abs/2404.02905>, algorithms 1 and 2.
        Siuzdak et al., *SNAC: Multi-Scale Neural Audio Codec*, 2024,
        <https://arxiv.org/abs/2410.14411>, section 2.
    """

    def __init__(
        self,
        quantizers: Sequence[nn.Module],
        *,
        strides: Sequence[int],
        channel_dim: int = -1,
    ) -> None:
        who = "MultiScaleQuantizer"
        parts = check_parts(who, quantizers)
        if len({(part.learns_by_vectors, part.dim) for part in parts}) > 1:
            raise ValueError(
                f"{who}: levels must share one dim, and all or none learn from the gradient of "
                f"their vectors; got {[(type(part).__name__, part.dim) for part in parts]}"
            )
        check_widths(who, parts)
        if not all(isinstance(stride, Integral) for stride in strides):
            raise ValueError(f"{who}: strides must be integers; got {list(strides)}")
        if len(strides) != len(parts) or list(strides) != sorted(strides, reverse=True):
            raise ValueError(
                f"{who}: strides must be as many as levels, {len(parts)}, and not rise; "
                f"got {list(strides)}"
            )
        check_at_least(who, "min(strides)", min(strides), 1)
        super().__init__(
            parts,
            code_shape=(*parts[0].code_shape, len(parts)),
            codebook_sizes=last_axis_sizes(parts),
            learns_by_vectors=parts[0].learns_by_vectors,
        )
        self.quantizers = nn.ModuleList(quantizers)
        self.strides = [int(stride) for stride in strides]
        self.dim = parts[0].dim
        check_integer("MultiScaleQuantizer", "channel_dim", channel_dim)
        self.channel_dim = channel_dim

    @property
    def codebook(self) -> Tensor:
        """The levels' codebooks, `(levels, codebook_size, dim)`, if of one size."""
        return stack_codebooks("MultiScaleQuantizer", [part.codebook for part in self._parts()])

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents; the codes have a last axis of levels, the loss is the levels' sum."""
        flat = self._flatten(latents, valid)
        codes, losses, sums, rest = [], [], [], flat.tokens
        with full_precision(latents):
            for part, stride in self._levels():
                cells = Cells.of(flat, stride)
                tokens, real = cells.mean(rest), cells.real
                if self.training:  # where a part may draw: samples stay apart
                    tokens = cells.by_sample(tokens)
                    real = None if real is None else cells.by_sample(real)
                vectors, known, loss = part(tokens, real)
                lead = 2 if self.training else 1
                vectors = cells.spread(vectors.flatten(0, lead - 1))
                if not self.learns_by_vectors:
                    vectors = vectors.detach()
                rest = rest - vectors.detach()
                sums.append(vectors)
                codes.append(cells.spread(known.flatten(0, lead - 1)))
                losses.append(loss)
            total = sum(sums[1:], sums[0])
            vectors = total if self.learns_by_vectors else straight_through(flat.tokens, total)
        stacked = torch.stack(codes, dim=-1)
        loss = torch.stack(losses).sum()
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(stacked), loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents, int64: their layout without channels, then the levels."""
        flat = self._flatten(latents, valid)
        codes, rest = [], flat.tokens
        with full_precision(latents):
            for part, stride in self._levels():
                cells = Cells.of(flat, stride)
                known = part.encode(cells.mean(rest), cells.real)
                rest = rest - cells.spread(part.decode(known)).detach()
                codes.append(cells.spread(known))
        return flat.restore_codes(torch.stack(codes, dim=-1))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes `(..., levels)`; a place whose code is -1 adds 0.

        Raises:
            ValueError: If a code is none of its level's.
        """
        levels = []
        for (part, stride), level in zip(self._levels(), self._split(codes), strict=True):
            shape = level.shape[: level.ndim - len(part.code_shape)]
            check_code_range("MultiScaleQuantizer", level, part.codebook_size)
            rows = level.reshape(math.prod(shape), *part.code_shape)
            here = _is_known(rows)
            cells = Cells.of(Flat(rows, here, tuple(shape), -1), stride)
            vectors = cells.spread(part.decode(cells.first(rows)))
            vectors = torch.where(here[:, None], vectors, 0.0)
            levels.append(vectors.reshape(*shape, self.dim))
        total = sum(levels[1:], levels[0])
        return channels_to("MultiScaleQuantizer", total, self.channel_dim, codes)

    def _levels(self) -> list[tuple[Quantizer, int]]:
        return list(zip(self._parts(), self.strides, strict=True))

    def _parts(self) -> list[Quantizer]:
        return parts_of(self.quantizers)

    def _split(self, codes: Tensor) -> tuple[Tensor, ...]:
        return split_codes("MultiScaleQuantizer", codes, len(self.quantizers))

    @torch.no_grad()
    def _inside(self, latents: Tensor, codes: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        _, split = super()._inside(latents, codes)
        flat = self._flatten(latents.detach(), None)
        here = torch.stack([_is_known(part) for part in split]).any(dim=0)
        rest = torch.where(here[:, None], flat.tokens, 0.0)
        given, known = [], []
        for (part, stride), level in zip(self._levels(), split, strict=True):
            cells = Cells.of(flat._replace(real=here), stride)
            known.append(cells.first(level))
            given.append(cells.mean(rest))
            rest = rest - cells.spread(part.decode(known[-1]))
        return given, known

    def _given(self, tokens: Tensor, codes: list[Tensor]) -> list[Tensor]:
        return []  # `_inside` knows the cells

    def _starts(self, flat: Flat) -> Iterator[tuple[Quantizer, Tensor, Tensor | None]]:
        """Level by level, from what the levels before leave; a shared one starts at its first."""
        started: list[Quantizer] = []
        rest = flat.tokens
        for part, stride in self._levels():
            cells = Cells.of(flat, stride)
            tokens = cells.mean(rest)
            if all(part is not other for other in started):
                yield part, tokens, cells.real
                started.append(part)
            rest = rest - cells.spread(part.decode(part.encode(tokens, cells.real)))

    def _flatten(self, latents: Tensor, valid: Tensor | None) -> Flat:
        check_floating("MultiScaleQuantizer", "latents", latents)
        return flatten(
            "MultiScaleQuantizer", latents, valid, dim=self.dim, channel_dim=self.channel_dim,
            dtype=torch.promote_types(latents.dtype, torch.float32),
        )  # fmt: skip


def _is_known(codes: Tensor) -> Tensor:
    """Which rows of `(tokens, *code_shape)` have a code, `(tokens,)`."""
    known = codes >= 0
    return known if known.ndim == 1 else known.flatten(1).any(dim=1)
