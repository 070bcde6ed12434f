"""Grouped (product) quantization: cut the channels into groups, one quantizer for each."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_floating, check_integer
from ssltok.quantizers._kmeans import check_vectors
from ssltok.quantizers._layout import Flat, channels_to, flatten
from ssltok.quantizers._nested import (
    NestedQuantizer,
    check_parts,
    each_once,
    last_axis_sizes,
    parts_of,
    split_codes,
    stack_codebooks,
)
from ssltok.quantizers._quantized import Quantized, Quantizer

__all__ = ["GroupedQuantizer"]


class GroupedQuantizer(NestedQuantizer):
    r"""Quantize groups of channels each on its own: $K^G$ combinations for $G K$ codes.

    $$q = [Q_1(z_{(1)}), \dots, Q_G(z_{(G)})], \qquad
      \mathcal{L} = \tfrac{1}{G} \sum_g \mathcal{L}_g$$

    The groups take consecutive channels, as many as each quantizer's `dim`. Any quantizers may be
    parts, residual ones among them. `[quantizer] * groups` shares one quantizer (and its
    codebook) between groups; it starts and learns once, from the tokens of all of them. The mean of
    the losses keeps squares averaged over all channels where groups are equally wide.

    Args:
        quantizers: One for each group, with `channel_dim=-1`.
        channel_dim: Where the channels are.

    Attributes:
        dim: The sum of the groups' `dim`.
        codebook_size: The largest of the groups' sizes, so that every group's codes are below.
        codebook_sizes: The size for each code of a vector.
        code_shape: The axes of a group's codes, then the groups.
        learns_by_vectors: Whether one of the groups does.

    Raises:
        TypeError: If a part is no quantizer: it misses a member of the protocol.
        ValueError: If there is none, one has another `channel_dim` or other codes than it says, or
            their codes differ in axes.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import FSQ, GroupedQuantizer
        >>> quantizer = GroupedQuantizer([FSQ([5]), FSQ([3, 3])])
        >>> quantizer.encode(torch.tensor([[9.0, -9.0, 0.0]]))  # top of 5; low and middle of 3
        tensor([[4, 3]])

    References:
        Jégou et al., *Product Quantization for Nearest Neighbor Search*, 2011, section II.B.
        Baevski et al., *vq-wav2vec*, 2020, <https://arxiv.org/abs/1910.05453>, section 3.3.
    """

    def __init__(self, quantizers: Sequence[nn.Module], *, channel_dim: int = -1) -> None:
        parts = check_parts("GroupedQuantizer", quantizers)
        super().__init__(
            parts,
            code_shape=(*parts[0].code_shape, len(parts)),
            codebook_sizes=last_axis_sizes(parts),
            learns_by_vectors=any(part.learns_by_vectors for part in parts),
        )
        self.quantizers = nn.ModuleList(quantizers)
        self.sizes = [part.dim for part in parts]
        self.dim = sum(self.sizes)
        check_integer("GroupedQuantizer", "channel_dim", channel_dim)
        self.channel_dim = channel_dim

    @property
    def codebook(self) -> Tensor:
        """The groups' codebooks, `(groups, codebook_size, dim / groups)`, if of one size."""
        return stack_codebooks("GroupedQuantizer", [part.codebook for part in self._parts()])

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents; the codes have a last axis of groups, the loss is the groups' mean."""
        flat = self._flatten(latents, valid)
        grid = flat.for_parts(training=self.training)
        groups = torch.split(grid.to_grid(flat.tokens), self.sizes, dim=-1)
        real = None if flat.real is None else grid.to_grid(flat.real)
        results = [part(tokens, real) for part, tokens in zip(self._parts(), groups, strict=True)]
        vectors = grid.to_rows(torch.cat([result.vectors for result in results], dim=-1))
        codes = grid.to_rows(torch.stack([result.codes for result in results], dim=-1))
        loss = torch.stack([result.loss for result in results]).mean()
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents, int64: their layout without channels, then the groups."""
        flat = self._flatten(latents, valid)
        codes = [
            part.encode(tokens, flat.real)
            for part, tokens in zip(
                self._parts(), torch.split(flat.tokens, self.sizes, dim=1), strict=True
            )
        ]
        return flat.restore_codes(torch.stack(codes, dim=-1))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes `(..., groups)`, 0 in a group whose code is -1."""
        split = zip(self._parts(), self._split(codes), strict=True)
        vectors = torch.cat([part.decode(part_codes) for part, part_codes in split], dim=-1)
        return channels_to("GroupedQuantizer", vectors, self.channel_dim, codes)

    def _parts(self) -> list[Quantizer]:
        return parts_of(self.quantizers)

    def _split(self, codes: Tensor) -> tuple[Tensor, ...]:
        return split_codes("GroupedQuantizer", codes, len(self.quantizers))

    def _given(self, tokens: Tensor, codes: list[Tensor]) -> list[Tensor]:
        return list(torch.split(tokens, self.sizes, dim=1))

    def _starts(self, flat: Flat) -> Iterator[tuple[Quantizer, Tensor, Tensor | None]]:
        """One that serves several groups starts from the channels of all of them."""
        check_vectors(flat.tokens)  # of all groups before the first one starts
        real = flat.tokens.new_ones(len(flat.tokens)).bool() if flat.real is None else flat.real
        groups = torch.split(flat.tokens, self.sizes, dim=1)
        for part, (tokens, group_real) in each_once(self._parts(), groups, [real] * len(groups)):
            yield part, tokens, group_real

    def _flatten(self, latents: Tensor, valid: Tensor | None) -> Flat:
        check_floating("GroupedQuantizer", "latents", latents)
        return flatten(
            "GroupedQuantizer", latents, valid, dim=self.dim, channel_dim=self.channel_dim,
            dtype=latents.dtype,
        )  # fmt: skip
