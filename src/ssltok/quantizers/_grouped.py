"""Grouped (product) quantization: cut the channels into groups, one quantizer for each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_floating
from ssltok.quantizers._kmeans import check_vectors
from ssltok.quantizers._layout import Flat, channels_to, flatten
from ssltok.quantizers._nested import (
    all_idle,
    check_part_codes,
    check_parts,
    each_once,
    flat_codes,
    initialize_part,
    parts_of,
    revive_parts,
    split_codes,
    stack_codebooks,
    update_parts,
)
from ssltok.quantizers._quantized import Quantized

__all__ = ["GroupedQuantizer"]


class GroupedQuantizer(nn.Module):
    r"""Quantize groups of channels each on its own: $K^G$ combinations for $G K$ codes.

    $$q = [Q_1(z_{(1)}), \dots, Q_G(z_{(G)})], \qquad
      \mathcal{L} = \tfrac{1}{G} \sum_g \mathcal{L}_g$$

    The groups take consecutive channels, as many as each quantizer's `dim`. Any quantizers may be
    parts, residual ones among them. `[quantizer] * groups` shares one quantizer (and its
    codebook) between groups; it learns once a step, from the tokens of all of them. The mean of
    the losses keeps squares averaged over all channels where groups are equally wide.

    Args:
        quantizers: One for each group, with `channel_dim=-1`.
        channel_dim: Where the channels are.

    Attributes:
        dim: The sum of the groups' `dim`.
        codebook_size: The largest of the groups' sizes, so that every group's codes are below.

    Raises:
        TypeError: If a part is no quantizer.
        ValueError: If there is none, one has another `channel_dim`, or their codes differ in axes.

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
        super().__init__()
        shape = check_parts("GroupedQuantizer", quantizers)
        self._code_shape = (*shape, len(quantizers))
        self.quantizers = nn.ModuleList(quantizers)
        self.sizes = [part.dim for part in parts_of(self.quantizers)]
        self.dim = sum(self.sizes)
        self.idle = all_idle(parts_of(self.quantizers))
        self.codebook_size = max(part.codebook_size for part in parts_of(self.quantizers))
        self.channel_dim = channel_dim

    @property
    def codebook(self) -> Tensor:
        """The groups' codebooks, `(groups, codebook_size, dim / groups)`, if of one size."""
        return stack_codebooks(
            "GroupedQuantizer", [part.codebook for part in parts_of(self.quantizers)]
        )

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents; the codes have a last axis of groups, the loss is the groups' mean."""
        flat = self._flatten(latents, valid)
        grid = flat.for_parts(training=self.training)
        groups = torch.split(grid.to_grid(flat.tokens), self.sizes, dim=-1)
        real = None if flat.real is None else grid.to_grid(flat.real)
        results = [
            part(tokens, real)
            for part, tokens in zip(parts_of(self.quantizers), groups, strict=True)
        ]
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
                parts_of(self.quantizers), torch.split(flat.tokens, self.sizes, dim=1), strict=True
            )
        ]
        return flat.restore_codes(torch.stack(codes, dim=-1))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes `(..., groups)`, 0 in a group whose code is -1."""
        split = split_codes("GroupedQuantizer", codes, len(self.quantizers))
        parts = zip(parts_of(self.quantizers), split, strict=True)
        vectors = torch.cat([part.decode(own) for part, own in parts], dim=-1)
        return channels_to("GroupedQuantizer", vectors, self.channel_dim, codes)

    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Hand each group's latents and codes to its quantizer."""
        update_parts(parts_of(self.quantizers), *self._groups(latents, codes))

    @torch.no_grad()
    def initialize(
        self,
        latents: Tensor,
        valid: Tensor | None = None,
        *,
        steps: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:
        """Start each group's quantizer from the clusters of its channels, if it has a start.

        A quantizer that serves several groups starts from the channels of all of them.
        """
        flat = self._flatten(latents, valid)
        check_vectors(flat.tokens)  # of all groups before the first one starts
        real = flat.tokens.new_ones(len(flat.tokens)).bool() if flat.real is None else flat.real
        groups = torch.split(flat.tokens, self.sizes, dim=1)
        reals = [real] * len(groups)
        for part, (tokens, known) in each_once(parts_of(self.quantizers), groups, reals):
            initialize_part(part, tokens, known, steps=steps, generator=generator)

    @torch.no_grad()
    def revive(
        self,
        latents: Tensor,
        codes: Tensor,
        *,
        share: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, ...]:
        """Move dead codes of each group to its channels of this step's latents.

        Call it after `update`. It returns which codes were moved, `(codebook_size,)` for each
        quantizer inside that has codes to move, in order and each once.
        """
        groups, own = self._groups(latents, codes)
        return revive_parts(
            parts_of(self.quantizers), groups, own, share=share, generator=generator
        )

    def _groups(self, latents: Tensor, codes: Tensor) -> tuple[Sequence[Tensor], list[Tensor]]:
        """Return the tokens and the codes of each group, flat."""
        flat = self._flatten(latents, None)
        split_codes("GroupedQuantizer", codes, len(self.quantizers))
        own = list(flat_codes("GroupedQuantizer", codes, flat, self._code_shape).unbind(-1))
        check_part_codes(parts_of(self.quantizers), own)
        return torch.split(flat.tokens, self.sizes, dim=1), own

    def _flatten(self, latents: Tensor, valid: Tensor | None) -> Flat:
        check_floating("GroupedQuantizer", "latents", latents)
        return flatten(
            "GroupedQuantizer", latents, valid, dim=self.dim, channel_dim=self.channel_dim,
            dtype=latents.dtype,
        )  # fmt: skip
