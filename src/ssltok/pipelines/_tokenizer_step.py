"""Act 1, one step: what a batch costs the tokenizer, and what its codebooks learn from it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok.distributed import gather, reduce_sum
from ssltok.nn import IterNorm, Projector, average_max_pool
from ssltok.pipelines._config import TokenizerConfig
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.quantizers import Quantized

__all__ = [
    "TokenizerBatch",
    "TokenizerOutput",
    "TokenizerTerms",
    "build_projector",
    "tokenizer_step",
]


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
