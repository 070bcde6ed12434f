"""Act 1. Series become tokens and series again, while two views of a series agree.

One branch reads all frequencies (NC-VQVAE); or one reads the low and one the high ones
(TimeVQVAE). A branch is an encoder, a quantizer and a decoder; the rest is arithmetic.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok.distributed import gather, reduce_sum
from ssltok.nn import (
    IterNorm,
    Projector,
    SpectrogramDecoder,
    SpectrogramEncoder,
    average_max_pool,
)
from ssltok.pipelines._config import TokenizerConfig
from ssltok.quantizers import EMAVectorQuantizer, Quantized, VectorQuantizer
from ssltok.signal import ISTFT, STFT, ChannelScaler, split_bands

__all__ = [
    "Branch",
    "Tokenizer",
    "TokenizerBatch",
    "TokenizerOutput",
    "TokenizerTerms",
    "build_projector",
    "tokenizer_step",
]


class Branch(nn.Module):
    """Encoder, quantizer and decoder of one band of frequencies."""

    def __init__(
        self, config: TokenizerConfig, *, channels: int, bins: int, frames: int, width: int
    ) -> None:
        super().__init__()
        sizes = {"bins": bins, "frames": frames, "width": width, "blocks": config.blocks}
        self.encoder = SpectrogramEncoder(2 * channels, config.dim, **sizes)
        self.decoder = SpectrogramDecoder(2 * channels, config.dim, **sizes)
        self.quantizer: VectorQuantizer | EMAVectorQuantizer
        if config.quantizer == "ema":
            self.quantizer = EMAVectorQuantizer(
                config.dim,
                config.codebook_size,
                decay=config.decay,
                commitment_weight=config.commitment_weight,
                channel_dim=1,
            )
        else:
            self.quantizer = VectorQuantizer(
                config.dim,
                config.codebook_size,
                commitment_weight=config.commitment_weight,
                channel_dim=1,
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Frequency bins and frames of the tokens."""
        return self.encoder.grid


class TokenizerBatch(NamedTuple):
    """What a step needs: scaled series, their view, `(batch, channels, length)`, and what is real.

    `valid` is boolean of the same shape; `lengths` is int64 `(batch,)`.
    """

    series: Tensor
    view: Tensor
    valid: Tensor
    lengths: Tensor


class TokenizerTerms(NamedTuple):
    """The unweighted terms of the loss; each is a scalar."""

    time: Tensor
    spectrogram: Tensor
    quantization: Tensor
    view: Tensor
    agreement: Tensor


class TokenizerOutput(NamedTuple):
    """The loss, its terms, and what the codebooks learn from: latents and codes by branch."""

    loss: Tensor
    logged: dict[str, Tensor]
    terms: TokenizerTerms
    latents: tuple[Tensor, ...]
    codes: tuple[Tensor, ...]


class Tokenizer(nn.Module):
    """STFT, branches and scaler: everything that turns series into tokens and back.

    Args:
        config: Sizes and options.
        channels: Channels of the series.
        length: Samples of the longest series.

    Attributes:
        grids: Frequency bins and frames of each branch's tokens.
        sizes: Tokens of each branch.
    """

    def __init__(self, config: TokenizerConfig, *, channels: int, length: int) -> None:
        super().__init__()
        self.config, self.channels, self.length = config, channels, length
        self.stft = STFT(n_fft=config.n_fft, hop=config.hop)
        self.scaler = ChannelScaler().fit(torch.zeros(1, channels, 1))
        frames, bins = self.stft.frames(length), self.stft.bins
        edges = [0, bins] if len(config.widths) == 1 else [0, config.edge, bins]
        bands = list(pairwise(edges))
        self.inverses = nn.ModuleList(
            ISTFT(n_fft=config.n_fft, hop=config.hop, band=band) for band in bands
        )
        self.branches = nn.ModuleList(
            Branch(config, channels=channels, bins=end - first, frames=frames, width=width)
            for (first, end), width in zip(bands, config.widths, strict=True)
        )
        self.grids = tuple(branch.grid for branch in self.parts)
        self.sizes = tuple(freq * frames for freq, frames in self.grids)

    @property
    def parts(self) -> list[Branch]:
        """The branches, low frequencies first."""
        return [part for part in self.branches if isinstance(part, Branch)]

    def scale(self, values: Tensor, valid: Tensor) -> Tensor:
        """Bring series `(batch, channels, length)` to the scale of the model; NaN becomes 0."""
        scaled: Tensor = self.scaler(values)
        return torch.where(valid.any(dim=-1, keepdim=True), scaled, 0.0)

    def bands(self, series: Tensor) -> list[Tensor]:
        """The spectrogram of scaled series, by branch."""
        spectrogram: Tensor = self.stft(series)
        if len(self.parts) == 1:
            return [spectrogram]
        return list(split_bands(spectrogram, edge=self.config.edge))

    def waves(self, bands: list[Tensor]) -> list[Tensor]:
        """Each branch's share of the scaled series; their sum is the series."""
        return [
            inverse(band, self.length) for inverse, band in zip(self.inverses, bands, strict=True)
        ]

    def token_valid(self, lengths: Tensor) -> list[Tensor]:
        """Which tokens stand for real samples, `(batch, freq, frames)` by branch.

        A token is real if its share of the time axis begins before the series ends.
        """
        masks = []
        for freq, frames in self.grids:
            begins = torch.arange(frames, device=lengths.device) * self.length / frames
            real = begins < lengths[:, None]
            masks.append(real[:, None, :].expand(-1, freq, -1))
        return masks

    def encode(self, series: Tensor, lengths: Tensor) -> Tensor:
        """Codes of scaled series, int64 `(batch, tokens)`, -1 at padding; low branch first."""
        codes = [
            branch.quantizer.encode(branch.encoder(band), valid)
            for branch, band, valid in zip(
                self.parts, self.bands(series), self.token_valid(lengths), strict=True
            )
        ]
        return torch.cat([c.flatten(1) for c in codes], dim=1)

    def vectors(self, codes: Tensor) -> list[Tensor]:
        """The vectors of codes `(batch, tokens)`, `(batch, dim, freq, frames)` by branch."""
        parts = torch.split(codes, list(self.sizes), dim=1)
        return [
            branch.quantizer.decode(part.reshape(-1, *grid))
            for branch, part, grid in zip(self.parts, parts, self.grids, strict=True)
        ]

    def decode(self, codes: Tensor) -> Tensor:
        """Scaled series of codes `(batch, tokens)`."""
        bands = [
            branch.decoder(vectors)
            for branch, vectors in zip(self.parts, self.vectors(codes), strict=True)
        ]
        return torch.stack(self.waves(bands)).sum(dim=0)


def tokenizer_step(
    tokenizer: Tokenizer,
    batch: TokenizerBatch,
    *,
    projector: nn.Module | None = None,
    ssl_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> TokenizerOutput:
    r"""One batch through the tokenizer: rebuild the series, commit to codes, agree with a view.

    $$L = L_{time}(x) + L_{stft}(x) + L_{vq} + \alpha\,(L_{time}(x') + L_{stft}(x'))
          + w\,L_{SSL}(p, p')$$

    where the original $x$ is quantised and the view $x'$ is not (unless the config says so), and
    $p$ are projections of the pooled latents of both. With $\alpha = 0$ the view is not rebuilt,
    and its term is 0. With two branches the high branch's time term is an absolute error, as in
    TimeVQVAE. Missing samples and padding count nowhere. Under several processes every term is
    that of the whole batch.

    Departures from NC-VQVAE: both views pass the encoder in one batch, so that BatchNorm sees
    one set of statistics; the codebook is not touched here (`quantizer.update` does that).

    Args:
        tokenizer: The parts; its config gives the weights.
        batch: Scaled series, their view, and what is real.
        projector: From pooled latents `(batch, 2 * dim * branches)` to projections; None compares
            the pooled latents themselves. It is needed in training only, so the tokenizer does
            not own it.
        ssl_loss: From two projections `(batch, dim)` to a scalar; None leaves the view out.

    Returns:
        The loss, its terms, latents and codes.

    References:
        Mathisen et al., *NC-VQVAE*, 2024, <https://arxiv.org/abs/2408.16613>.
    """
    config, count = tokenizer.config, batch.series.shape[0]
    inputs = batch.series if ssl_loss is None else torch.cat([batch.series, batch.view])
    targets = tokenizer.bands(inputs)
    masks = tokenizer.token_valid(batch.lengths)
    rebuilt, latents, quantized, pooled = [], [], [], []
    for branch, target, valid in zip(tokenizer.parts, targets, masks, strict=True):
        encoded = branch.encoder(target)
        own, other = encoded[:count], encoded[count:]
        result: Quantized = branch.quantizer(own, valid)
        if len(other) and config.quantize_view:
            other = branch.quantizer(other, valid).vectors
        shown = torch.cat([result.vectors, other]) if config.view_weight else result.vectors
        rebuilt.append(branch.decoder(shown))
        latents.append(own.detach())
        quantized.append(result)
        if ssl_loss is not None:
            pooled.append((average_max_pool(result.vectors, valid), average_max_pool(other, valid)))
    errors = [
        _errors(tokenizer, [t[rows] for t in targets], [r[rows] for r in rebuilt], batch.valid)
        for rows in (slice(0, count), slice(count, None))
        if len(rebuilt[0][rows])
    ]
    zero = batch.series.new_zeros(())
    terms = TokenizerTerms(
        time=errors[0][0],
        spectrogram=errors[0][1],
        quantization=sum((q.loss for q in quantized), zero),
        view=errors[1][0] + errors[1][1] if len(errors) == 2 else zero,
        agreement=zero if ssl_loss is None else _agreement(projector, pooled, ssl_loss),
    )
    loss = (
        terms.time
        + terms.spectrogram
        + terms.quantization
        + config.view_weight * terms.view
        + config.ssl_weight * terms.agreement
    )
    codes = tuple(q.codes for q in quantized)
    logged = {"loss": loss, **terms._asdict(), "codes used": _used(codes, config.codebook_size)}
    return TokenizerOutput(loss, logged, terms, tuple(latents), codes)


def _agreement(
    projector: nn.Module | None,
    pooled: list[tuple[Tensor, Tensor]],
    ssl_loss: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    own = torch.cat([a for a, _ in pooled], dim=1)
    other = torch.cat([b for _, b in pooled], dim=1)
    if projector is not None:
        own, other = projector(torch.cat([own, other])).chunk(2)
    return ssl_loss(gather(own), gather(other))


def _errors(
    tokenizer: Tokenizer, targets: list[Tensor], rebuilt: list[Tensor], valid: Tensor
) -> tuple[Tensor, Tensor]:
    """Time and spectrogram errors, summed over the branches, over the real samples of all ranks."""
    config = tokenizer.config
    gaps = functional.max_pool1d(
        functional.pad((~valid).to(targets[0].dtype), [config.n_fft // 2] * 2),
        config.n_fft,
        config.hop,
    )
    real_frames = (gaps == 0).repeat_interleave(2, dim=1)[:, :, None, : targets[0].shape[-1]]
    # The inverse is linear: the error of the series is the series of the error.
    off = [target - guess for target, guess in zip(targets, rebuilt, strict=True)]
    time = targets[0].new_zeros(())
    spectrogram = targets[0].new_zeros(())
    for place, (band, wave) in enumerate(zip(off, tokenizer.waves(off), strict=True)):
        time = time + _mean(wave.abs() if place else wave.square(), valid)
        spectrogram = spectrogram + _mean(band.square(), real_frames.expand_as(band))
    return time, spectrogram


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over what is valid on all processes; 0 where nothing is."""
    sums = reduce_sum(torch.stack([(values * valid).sum(), valid.sum().to(values.dtype)]))
    return sums[0] / sums[1].clamp(min=1.0)


def _used(codes: tuple[Tensor, ...], codebook_size: int) -> Tensor:
    shares = [
        (torch.bincount(c[c >= 0], minlength=codebook_size) > 0).float().mean() for c in codes
    ]
    return torch.stack(shares).mean()


def build_projector(config: TokenizerConfig, *, batch: int) -> Projector:
    """The projector of the SSL loss: three linear layers, and whitening for VIbCReg.

    Args:
        config: Its width, and which loss.
        batch: Series in a batch of one process: whitening works in groups of 64 features, or of
            fewer where the batch is smaller.

    Returns:
        The module, for pooled latents `(batch, 2 * dim * branches)`.
    """
    dim = config.projector_dim
    whiten = None
    if config.ssl == "vibcreg":
        whiten = IterNorm(dim, group_size=math.gcd(dim, 1 << min(6, batch.bit_length() - 1)))
    pooled = 2 * config.dim * len(config.widths)
    return Projector(pooled, hidden_dim=dim, out_dim=dim, whiten=whiten)
