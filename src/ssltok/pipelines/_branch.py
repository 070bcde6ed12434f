"""One band of a tokenizer: an encoder, a quantizer and a decoder that fit each other."""

from typing import Any

import torch
from torch import Tensor, nn

from ssltok.pipelines._protocols import check_branch
from ssltok.quantizers import Quantized

__all__ = ["Branch"]


class Branch(nn.Module):
    """Encoder, quantizer and decoder of one band.

    Args:
        encoder: From a band to latents `(batch, dim, *grid)`; it has `dim` and `grid`, and takes
            `valid`, boolean `(batch, frames or samples)`, where series end before the band does.
        quantizer: Any quantizer with the encoder's `dim`, wherever it has its channels.
        decoder: From vectors `(batch, dim, *grid)` to the band; it takes `valid`, boolean
            `(batch, grid[-1])`, likewise.

    Raises:
        TypeError: If a part lacks a member of its protocol.
        ValueError: If encoder and quantizer differ in `dim`.

    Example:
        >>> import torch
        >>> from ssltok.nn import SpectrogramDecoder, SpectrogramEncoder
        >>> from ssltok.pipelines import Branch
        >>> from ssltok.quantizers import LFQ
        >>> sizes = {"bins": 3, "frames": 16, "width": 8, "blocks": 0}
        >>> branch = Branch(
        ...     SpectrogramEncoder(2, 4, **sizes), LFQ(4), SpectrogramDecoder(2, 4, **sizes)
        ... )
        >>> branch.grid, branch.codes(branch.latents(torch.randn(5, 2, 3, 16))).shape
        ((3, 8), torch.Size([5, 3, 8]))
    """

    encoder: Any
    decoder: Any
    quantizer: Any

    def __init__(self, encoder: nn.Module, quantizer: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        check_branch("Branch", encoder, quantizer, decoder)
        self.encoder = encoder
        self.decoder = decoder
        self.quantizer = quantizer

    @property
    def grid(self) -> tuple[int, ...]:
        """The places of the tokens: frequencies and frames, or frames alone."""
        return tuple(self.encoder.grid)

    def begins(self, length: int) -> Tensor:
        """Sample of a series of this length at which each column of the grid begins, `(columns,)`.

        An encoder that cuts its band into patches says how long they are by `patch`; the columns of
        others share the length evenly.
        """
        columns = torch.arange(self.grid[-1], dtype=torch.float64)  # products above 2^24 are exact
        patch = getattr(self.encoder, "patch", None)
        return (columns * length / self.grid[-1] if patch is None else columns * patch).float()

    @property
    def dim(self) -> int:
        """Channels of the latents and of the code vectors."""
        return int(self.encoder.dim)

    def latents(
        self, band: Tensor, within: Tensor | None = None, observed: Tensor | None = None
    ) -> Tensor:
        """Encode a band as `(batch, dim, *grid)`.

        `within` marks what is before a series' end; `observed`, of the shape of the band, what is
        no guess: an encoder of `gaps` is told.
        """
        latents: Tensor
        if observed is not None and getattr(self.encoder, "gaps", False):
            latents = self.encoder(band, within, observed)
        else:
            latents = self.encoder(band) if within is None else self.encoder(band, within)
        return latents

    def quantize(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents; codes are `(batch, *grid)`, and `(..., codes)` where several."""
        channel_dim = self.quantizer.channel_dim
        result: Quantized = self.quantizer(latents.movedim(1, channel_dim), valid)
        vectors = result.vectors.movedim(channel_dim, 1)
        return Quantized(vectors, self._in_a_row(result.codes), result.loss)

    def codes(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes of latents as in `quantize`; never random."""
        moved = latents.movedim(1, self.quantizer.channel_dim)
        return self._in_a_row(self.quantizer.encode(moved, valid))

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes as `quantize` gives them, `(batch, dim, *grid)`."""
        vectors: Tensor = self.quantizer.decode(self._shaped(codes))
        return vectors.movedim(self.quantizer.channel_dim, 1)

    def decode(self, vectors: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the band of vectors; `valid` marks real columns, `(batch, grid[-1])`."""
        band: Tensor = self.decoder(vectors) if valid is None else self.decoder(vectors, valid)
        return band

    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Let the quantizer learn from a step's latents and codes, both as in `quantize`."""
        self.quantizer.update(latents.movedim(1, self.quantizer.channel_dim), self._shaped(codes))

    def start(self, band: Tensor, within: Tensor) -> None:
        """Start the coder from training bands, if it has a start: a basis, not noise.

        Such an encoder has `initialize(band, valid)`, and its decoder `initialize(encoder)`.
        """
        if hasattr(self.encoder, "initialize"):
            self.encoder.initialize(band, within)
        if hasattr(self.decoder, "initialize"):
            self.decoder.initialize(self.encoder)

    def initialize(
        self, latents: Tensor, valid: Tensor, *, generator: torch.Generator | None = None
    ) -> None:
        """Start the quantizer from latents, if it has a start."""
        moved = latents.movedim(1, self.quantizer.channel_dim)
        self.quantizer.initialize(moved, valid, generator=generator)

    def revive(
        self, latents: Tensor, codes: Tensor, *, share: float, generator: torch.Generator | None
    ) -> None:
        """Move dead codes to latents of this step, if the quantizer has any."""
        moved = latents.movedim(1, self.quantizer.channel_dim)
        self.quantizer.revive(moved, self._shaped(codes), share=share, generator=generator)

    def _in_a_row(self, codes: Tensor) -> Tensor:
        """Codes with at most one axis for those of a token."""
        return codes.flatten(1 + len(self.grid)) if len(self.quantizer.code_shape) > 1 else codes

    def _shaped(self, codes: Tensor) -> Tensor:
        """Codes with the axes that the quantizer gives them."""
        return codes.reshape(*codes.shape[: 1 + len(self.grid)], *self.quantizer.code_shape)
