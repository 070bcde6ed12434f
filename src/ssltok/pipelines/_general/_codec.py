"""The network of the general tokenizer: patches, residual codes, and a summary of these."""

from typing import Any

from torch import Tensor, nn

from ssltok.nn import CosinePatchDecoder1d, CosinePatchEncoder1d
from ssltok.pipelines._general._summary import Summary
from ssltok.quantizers import EMAVectorQuantizer, ResidualQuantizer

__all__ = ["FRAME", "PATCHES", "GeneralCodec"]

PATCHES, FRAME = 16, 512  # patches of a frame, and the most samples it has by itself


class GeneralCodec(nn.Module):
    """Encoder, residual codes and decoder of frames of one channel, and a summary of the decoded.

    Args:
        dim: Coefficients of a patch.
        levels: Codes of a patch.
        codebook_size: Codes to choose from at each level.
        hidden_dim: Channels inside the encoder.
        decoder_dim: Channels inside the decoder.
        widths: Channels of the stages of the summary.
        dropout: Share of frames that train with fewer levels.
    """

    def __init__(
        self,
        *,
        dim: int = 32,
        levels: int = 3,
        codebook_size: int = 1024,
        hidden_dim: int = 96,
        decoder_dim: int = 96,
        widths: tuple[int, ...] = (32, 64, 96, 128),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "dim": dim, "levels": levels, "codebook_size": codebook_size, "hidden_dim": hidden_dim,
            "decoder_dim": decoder_dim, "widths": list(widths), "dropout": dropout,
        }  # fmt: skip
        self.dim, self.levels, self.codebook_size = dim, levels, codebook_size
        sizes = {"length": PATCHES * dim, "patch": dim}
        self.encoder = CosinePatchEncoder1d(dim, hidden_dim=hidden_dim, **sizes)
        self.quantizer = ResidualQuantizer(
            [EMAVectorQuantizer(dim, codebook_size, decay=0.98) for _ in range(levels)],
            dropout=dropout,
        )
        self.decoder = CosinePatchDecoder1d(dim, hidden_dim=decoder_dim, **sizes)
        self.summary = Summary(tuple(widths))

    def latents(self, frames: Tensor, observed: Tensor | None, *, patch: int) -> Tensor:
        """Encode scaled frames `(rows, samples)` as `(rows, patches, dim)`."""
        encoder = self.encoder.resized(length=frames.shape[1], patch=patch)
        latents: Tensor = encoder(frames[:, None], observed).transpose(1, 2)
        return latents

    def series(self, vectors: Tensor, *, length: int, patch: int) -> Tensor:
        """Decode vectors `(rows, patches, dim)` as scaled frames `(rows, length)`."""
        decoder = self.decoder.resized(length=length, patch=patch)
        series: Tensor = decoder(vectors.transpose(1, 2))[:, 0]
        return series

    def summarize(self, vectors: Tensor) -> Tensor:
        """Return features of frames, decoded as if each patch had `dim` samples."""
        features: Tensor = self.summary(
            self.series(vectors, length=vectors.shape[1] * self.dim, patch=self.dim)
        )
        return features
