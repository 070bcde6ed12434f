"""What quantizers around one other quantizer share: its codes, its codebook, its layout."""

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from ssltok._shared.checks import check_codes, check_floating, check_integer
from ssltok.quantizers._layout import Flat, channels_to, flatten
from ssltok.quantizers._nested import NestedQuantizer, check_parts, check_widths
from ssltok.quantizers._quantized import Quantizer

__all__ = ["WrappingQuantizer"]


class WrappingQuantizer(NestedQuantizer):
    """One that codes latents as the quantizer inside does, in its dimensions.

    An heir has `forward`, and what it does otherwise.
    """

    def __init__(self, quantizer: nn.Module, *, channel_dim: int) -> None:
        who = type(self).__name__
        parts = check_parts(who, [quantizer])
        check_widths(who, parts)
        super().__init__(
            parts,
            code_shape=parts[0].code_shape,
            codebook_sizes=tuple(parts[0].codebook_sizes),
            learns_by_vectors=parts[0].learns_by_vectors,
        )
        self.quantizer = quantizer
        self.dim = parts[0].dim
        check_integer(type(self).__name__, "channel_dim", channel_dim)
        self.channel_dim = channel_dim

    @property
    def codebook(self) -> Tensor:
        """The codebook of the wrapped quantizer."""
        return self._inner.codebook

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes only, int64, -1 at padding."""
        flat = self._flatten(latents, valid)
        return flat.restore_codes(self._inner.encode(flat.tokens, flat.real))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes with the channels at `channel_dim`; 0 for -1."""
        vectors = self._inner.decode(codes)
        return channels_to(type(self).__name__, vectors, self.channel_dim, codes)

    def _parts(self) -> list[Quantizer]:
        return [self._inner]

    def _split(self, codes: Tensor) -> tuple[Tensor, ...]:
        check_codes(type(self).__name__, "codes", codes)
        return (codes,)

    def _given(self, tokens: Tensor, codes: list[Tensor]) -> list[Tensor]:
        return [tokens]

    def _starts(self, flat: Flat) -> Iterator[tuple[Quantizer, Tensor, Tensor | None]]:
        yield self._inner, flat.tokens, flat.real

    def _flatten(self, latents: Tensor, valid: Tensor | None) -> Flat:
        check_floating(type(self).__name__, "latents", latents)
        return flatten(
            type(self).__name__, latents, valid, dim=self.dim, channel_dim=self.channel_dim,
            dtype=latents.dtype,
        )  # fmt: skip

    @property
    def _inner(self) -> Quantizer:
        return cast("Quantizer", self.quantizer)
