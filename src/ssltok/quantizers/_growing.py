"""Codebooks that grow along a sequence: few codes at its begin, all of them at its end."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import cast

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok._shared.numerics import full_precision
from ssltok.quantizers._layout import Flat
from ssltok.quantizers._nearest import nearest_codes
from ssltok.quantizers._nested import ByPlace, check_given_codes, check_parts
from ssltok.quantizers._quantized import Quantized
from ssltok.quantizers._vector import VectorQuantizer
from ssltok.quantizers._wrapping import WrappingQuantizer

__all__ = ["GrowingQuantizer", "growing_sizes"]


def growing_sizes(places: int, codebook_size: int, *, smallest: int = 2) -> list[int]:
    r"""Grow from few codes to all, by the same factor from place to place.

    $$K_t = \mathrm{round}\big(K_0 (K / K_0)^{t / (T - 1)}\big)$$

    Args:
        places: $T$, at least 1; one place has all codes.
        codebook_size: $K$, the size at the last place.
        smallest: $K_0$, the size at the first.

    Returns:
        Sizes that never fall.

    Raises:
        ValueError: If a number is below 1 or `smallest` is above `codebook_size`.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.quantizers import growing_sizes
        >>> growing_sizes(6, 64)
        [2, 4, 8, 16, 32, 64]
    """
    check_at_least("growing_sizes", "places", places, 1)
    check_at_least("growing_sizes", "smallest", smallest, 1)
    check_at_least("growing_sizes", "codebook_size", codebook_size, smallest)
    if places == 1:
        return [codebook_size]
    ratio = codebook_size / smallest
    return [round(smallest * ratio ** (t / (places - 1))) for t in range(places)]


class GrowingQuantizer(WrappingQuantizer, ByPlace):
    r"""Let the token at place $t$ choose among the first $K_t$ codes of one codebook.

    $$k_t = \arg\min_{k < K_t} \lVert x_t - e_k \rVert^2, \qquad K_0 \le K_1 \le \dots \le K$$

    With $K$ codes at each place a training set of $N$ series is told apart by the first
    $t^* = \lceil \log_2 N / \log_2 K \rceil$ tokens, and the rest can be learned by heart. Small
    codebooks at the begin put that off, and force the first tokens to say what is coarse. The first
    axis of the latents are samples; the others, in a row, are the places. Later places than there
    are sizes have the last one. `sizes_at` says how many codes a place has, for a prior, which
    must not draw others.

    Args:
        quantizer: A `VectorQuantizer` or an heir (with `channel_dim=-1`), whose codes are looked
            up; how it learns stays as it is. Its own `search` is not asked.
        sizes: $K_t$ for each place, such as `growing_sizes(...)`; the last is the codebook's size.
        channel_dim: Where the channels are.

    Attributes:
        codebook_size: That of the quantizer.

    Raises:
        TypeError: If `quantizer` cannot be given codes that were searched elsewhere.
        ValueError: If `sizes` is empty, falls, holds no integers or a number below 1, or does not
            end with the codebook's size.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import GrowingQuantizer, VectorQuantizer
        >>> inner = VectorQuantizer(1, 4)
        >>> inner.set_codebook(torch.tensor([[0.0], [4.0], [2.0], [1.0]]))
        >>> quantizer = GrowingQuantizer(inner, [2, 3, 4])
        >>> quantizer.encode(torch.full((1, 4, 1), 1.1))  # 0 of 2 codes, then 2, then 1
        tensor([[0, 2, 3, 3]])

    References:
        After the abstract and the published description of Zheng et al., *Taming the Entropy
        Cliff: Variable Codebook Size Quantization for Autoregressive Visual Generation*, 2026,
        <https://arxiv.org/abs/2605.06207>; the curve of its sizes was not to be had, so
        `growing_sizes` is geometric.
    """

    def __init__(
        self, quantizer: nn.Module, sizes: Sequence[int], *, channel_dim: int = -1
    ) -> None:
        who = "GrowingQuantizer"
        parts = check_parts(who, [quantizer])
        check_given_codes(who, parts)
        check_at_least(who, "len(sizes)", len(sizes), 1)
        if not all(isinstance(size, Integral) for size in sizes):
            raise ValueError(f"{who}: sizes must be integers; got {list(sizes)}")
        check_at_least(who, "min(sizes)", min(sizes), 1)
        if list(sizes) != sorted(sizes) or sizes[-1] != parts[0].codebook_size:
            raise ValueError(
                f"{who}: sizes must not fall and must end with the codebook's size, "
                f"{parts[0].codebook_size}; got {list(sizes)}"
            )
        super().__init__(quantizer, channel_dim=channel_dim)
        self.sizes = [int(size) for size in sizes]

    def sizes_at(self, places: int) -> list[int]:
        """Return how many codes each of so many places has."""
        return (self.sizes + self.sizes[-1:] * places)[:places]

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents, each with the codes of its place."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            codes = flat.to_rows(flat.restore_codes(self._search(flat)))
            vectors, codes, loss = self._coder.with_codes(flat.tokens, codes)
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents, int64, in their layout without the channels."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            return flat.restore_codes(self._search(flat))

    def _search(self, flat: Flat) -> Tensor:
        """Search each place among its codes; places with one size together."""
        codebook = self._inner.codebook.detach()
        places = math.prod(flat.shape[1:])
        tokens = self._coder.directions(flat.tokens.detach())  # of length 1 with cosine
        rows = tokens.reshape(flat.shape[0], places, self.dim)
        parts, begin = [rows.new_empty(len(rows), 0, dtype=torch.int64)], 0
        sizes = self.sizes_at(places)
        while begin < places:
            end = begin + sizes.count(sizes[begin])
            part = rows[:, begin:end]
            codes = nearest_codes(part.reshape(-1, self.dim), codebook[: sizes[begin]])
            parts.append(codes.reshape(part.shape[:2]))
            begin = end
        return torch.cat(parts, dim=1).reshape(-1)

    @property
    def _coder(self) -> VectorQuantizer:
        return cast("VectorQuantizer", self.quantizer)
