"""Act 1, one step: what a batch costs the tokenizer, and what its codebooks learn from it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok.distributed import reduce_sum
from ssltok.nn import average_max_pool
from ssltok.pipelines._token_features import Pool, TokenFeatures
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.quantizers import Quantized
from ssltok.signal import line_fill
from ssltok.training import Objective, ObjectiveBatch, ObjectiveOutput

__all__ = [
    "EncodedViews",
    "TokenizerBatch",
    "TokenizerOutput",
    "TokenizerTerms",
    "encode_views",
    "reconstruction_errors",
    "tokenizer_step",
]

MANY_CODES = 2**16  # beyond, codes in use are counted without a bin for each code


class TokenizerBatch(NamedTuple):
    """What a step needs: scaled series, their views, and what is real.

    Attributes:
        series: `(batch, channels, length)`.
        views: Augmented series of the same shape, none or more.
        valid: Boolean of the shape of `series`: False at missing samples and padding.
        lengths: int64 `(batch,)`, samples before the padding.
        padded: Whether any series of the whole batch, over all processes, ends early.
        labels: int64 `(batch,)`, -1 for none; None where the objective reads none.
        draws: What the objective drew for these rows.
        seed: For what the objective draws once for the whole batch.
        observed: Boolean of the shape of `series`: what the encoder is shown of them, where some
            is hidden from it; the loss is of all that is `valid`.
    """

    series: Tensor
    views: tuple[Tensor, ...]
    valid: Tensor
    lengths: Tensor
    padded: bool = False
    labels: Tensor | None = None
    draws: tuple[Tensor, ...] = ()
    seed: int = 0
    observed: Tensor | None = None


class TokenizerTerms(NamedTuple):
    """The unweighted terms of the loss; each is a scalar.

    Attributes:
        time: Error of the rebuilt series, point by point.
        spectrogram: Error of its spectrogram.
        quantization: The quantizers' losses, added.
        view: Both errors of the rebuilt view; 0 where it is not rebuilt.
        agreement: The objective's loss; 0 without one.
    """

    time: Tensor
    spectrogram: Tensor
    quantization: Tensor
    view: Tensor
    agreement: Tensor


class TokenizerOutput(NamedTuple):
    """The loss, its terms, and what is learned from after the optimizer's step.

    Attributes:
        loss: The scalar to minimise.
        logged: `loss`, the terms, and the share of codes in use.
        terms: The unweighted terms.
        latents: Those of the series, by branch, detached: for the quantizers' `update`.
        codes: Those of the series, by branch.
        memory: What the objective's `update` needs; empty without an objective.
    """

    loss: Tensor
    logged: dict[str, Tensor]
    terms: TokenizerTerms
    latents: tuple[Tensor, ...]
    codes: tuple[Tensor, ...]
    memory: tuple[Tensor, ...]


class EncodedViews(NamedTuple):
    """Series and views behind the encoders, by branch and by input: 0 is the series, 1 a view.

    Attributes:
        targets: The bands that were encoded, all inputs in one batch.
        latents: The latents of each input.
        quantized: The series, quantised.
        masks: Which tokens are real.
    """

    targets: list[Tensor]
    latents: list[tuple[Tensor, ...]]
    quantized: list[Quantized]
    masks: list[Tensor]


def tokenizer_step(
    tokenizer: Tokenizer,
    batch: TokenizerBatch,
    *,
    objective: Objective | None = None,
    objective_weight: float = 1.0,
    view_weight: float = 0.0,
    compared: tuple[int, ...] = (0, 1),
    quantized: tuple[bool, ...] = (True, False),
    pool: Pool | None = average_max_pool,
) -> TokenizerOutput:
    r"""One batch through the tokenizer: rebuild the series, commit to codes, learn from views.

    $$L = L_{time}(x) + L_{stft}(x) + L_{vq} + \alpha\,(L_{time}(x') + L_{stft}(x'))
          + w\,L_{objective}$$

    where the original $x$ is quantised, $x'$ is the first view, and the objective compares
    features of the inputs that `compared` names. With $\alpha = 0$ the view is not rebuilt, and
    its term is 0. With two branches the high branch's time term is an absolute error, as in
    TimeVQVAE; where the band is the series itself its error is counted once. Missing samples and
    padding count nowhere. Under several processes every term but one is that of the whole batch:
    the quantizers' is that of the process's own tokens, of which DDP averages the gradients.

    Departures from NC-VQVAE: both views pass the encoder in one batch, so that BatchNorm sees
    one set of statistics; the codebook is not touched here (`Branch.update` does that).

    Args:
        tokenizer: The parts.
        batch: Scaled series, their views, and what is real.
        objective: What is learned from views (`ssltok.training.Objective`); None leaves them out.
        objective_weight: $w$.
        view_weight: $\alpha$.
        compared: Which inputs the objective compares, in its order: 0 is the series, 1 the first
            view and so on; as many as it wants views.
        quantized: Which of these are code vectors (with the quantizer's gradient) and which are
            latents.
        pool: From vectors `(rows, dim, *grid)` and which are real to one vector; None compares
            token by token.

    Returns:
        The loss, its terms, and what is learned from after the step.

    Example:
        >>> import torch
        >>> from ssltok.data import read_series
        >>> from ssltok.pipelines import TokenizerBatch, TokenizerConfig
        >>> from ssltok.pipelines import build_tokenizer, tokenizer_step
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> series = read_series(torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(0)))
        >>> values, valid, lengths, _ = series
        >>> batch = TokenizerBatch(values, (values + 0.1,), valid, lengths)
        >>> output = tokenizer_step(tokenizer, batch)
        >>> output.terms.agreement, output.codes[0].shape  # no objective
        (tensor(0.), torch.Size([4, 5, 8]))

    References:
        Mathisen et al., *NC-VQVAE*, 2024, <https://arxiv.org/abs/2408.16613>.
    """
    encoded = encode_views(tokenizer, batch)
    code_vectors = [part.vectors for part in encoded.quantized]
    compares = _compared(tokenizer, encoded, compared, quantized) if objective is not None else []
    shown = code_vectors
    if view_weight:  # one new tensor, laid out alike with and without a view
        view = _rebuilt_view(encoded, compares, compared, quantized)
        shown = [torch.cat(pair) for pair in zip(code_vectors, view, strict=True)]
    rebuilt = tokenizer.rebuild(shown, _columns(tokenizer, batch, len(shown[0])))
    rows = len(code_vectors[0])
    errors = [
        reconstruction_errors(
            tokenizer,
            [target[part] for target in encoded.targets],
            [guess[part] for guess in rebuilt],
            batch.valid,
        )
        for part in (slice(0, rows), slice(rows, 2 * rows))
        if len(rebuilt[0][part])
    ]
    zero = batch.series.new_zeros(())
    learned = None
    if objective is not None:
        encoder = TokenFeatures(tokenizer, pool=pool)
        learned = _learn(objective, encoder, batch, compared, compares, encoded.masks)
    terms = TokenizerTerms(
        time=errors[0][0],
        spectrogram=errors[0][1],
        quantization=sum((part.loss for part in encoded.quantized), zero),
        view=errors[1][0] + errors[1][1] if len(errors) == 2 else zero,
        agreement=zero if learned is None else learned.loss,
    )
    loss = (
        terms.time
        + terms.spectrogram
        + terms.quantization
        + view_weight * terms.view
        + objective_weight * terms.agreement
    )
    codes = tuple(part.codes for part in encoded.quantized)
    logged = {"loss": loss, **terms._asdict(), "codes used": _used(tokenizer, codes)}
    latents = tuple(part[0].detach() for part in encoded.latents)
    memory = () if learned is None else learned.memory
    return TokenizerOutput(loss, logged, terms, latents, codes, memory)


def encode_views(tokenizer: Tokenizer, batch: TokenizerBatch) -> EncodedViews:
    """Pass series and views through the encoders in one batch, and quantise the series.

    Example:
        >>> import torch
        >>> from ssltok.data import read_series
        >>> from ssltok.pipelines import TokenizerBatch, TokenizerConfig
        >>> from ssltok.pipelines import build_tokenizer, encode_views
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> series = read_series(torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(0)))
        >>> values, valid, lengths, _ = series
        >>> batch = TokenizerBatch(values, (values + 0.1,), valid, lengths)
        >>> encoded = encode_views(tokenizer, batch)
        >>> len(encoded.latents[0]), encoded.quantized[0].codes.shape  # series and view
        (2, torch.Size([4, 5, 8]))
    """
    inputs = torch.cat([batch.series, *batch.views]) if batch.views else batch.series
    targets = tokenizer.bands(inputs)
    masks = tokenizer.token_valid(batch.lengths)
    lengths = batch.lengths.repeat(1 + len(batch.views)) if batch.padded else None
    count = 1 + len(batch.views)
    shown, observed = targets, batch.observed
    if observed is not None:
        partial = line_fill(batch.series, observed)
        shown = tokenizer.bands(torch.cat([partial, *batch.views]))
        observed = torch.cat([observed, *map(_everything, batch.views)])
    latents = []
    for part in tokenizer.latents(shown, lengths, observed):
        rows = len(part) // count
        latents.append(tuple(part[i * rows : (i + 1) * rows] for i in range(count)))
    quantized = [
        branch.quantize(part[0], mask)
        for branch, part, mask in zip(tokenizer.parts, latents, masks, strict=True)
    ]
    return EncodedViews(targets, latents, quantized, masks)


def reconstruction_errors(
    tokenizer: Tokenizer, targets: Sequence[Tensor], rebuilt: Sequence[Tensor], valid: Tensor
) -> tuple[Tensor, Tensor]:
    """Measure errors in time and in the bands, summed over branches, over what is real.

    Args:
        tokenizer: Gives the transform.
        targets: Bands of scaled series.
        rebuilt: The decoders' bands.
        valid: Boolean `(batch, channels, length)`, False where nothing is known.

    Returns:
        Two scalars: mean squared error of the series (absolute for bands after the first), mean
        squared error of the bands (0 where the band is the series). Of all processes together.

    Example:
        >>> import torch
        >>> from ssltok.data import read_series
        >>> from ssltok.pipelines import TokenizerConfig, build_tokenizer, reconstruction_errors
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> series = read_series(torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(0)))
        >>> bands = tokenizer.bands(series.values)
        >>> time, spectrogram = reconstruction_errors(tokenizer, bands, bands, series.valid)
        >>> time.item(), spectrogram.item()
        (0.0, 0.0)
    """
    transform = tokenizer.transform
    known = valid.flatten(0, 1).unsqueeze(1) if tokenizer.channelwise else valid
    real = transform.real(known)
    # The inverse is linear: the error of the series is the series of the error.
    off = [target - guess for target, guess in zip(targets, rebuilt, strict=True)]
    time = targets[0].new_zeros(())
    spectrogram = targets[0].new_zeros(())
    for number, (band, wave) in enumerate(zip(off, tokenizer.waves(off), strict=True)):
        time = time + _mean(wave.abs() if number else wave.square(), valid)
        if not transform.in_time:
            spectrogram = spectrogram + _mean(band.square(), real[number].expand_as(band))
    return time, spectrogram


def _compared(
    tokenizer: Tokenizer,
    encoded: EncodedViews,
    compared: tuple[int, ...],
    quantized: tuple[bool, ...],
) -> list[list[Tensor]]:
    """The vectors of each compared input, by branch."""
    inputs = []
    for number, through_codes in zip(compared, quantized, strict=True):
        vectors = []
        for branch, latents, read, mask in zip(
            tokenizer.parts, encoded.latents, encoded.quantized, encoded.masks, strict=True
        ):
            if not through_codes:
                vectors.append(latents[number])
            elif number == 0:
                vectors.append(read.vectors)
            else:
                vectors.append(branch.quantize(latents[number], mask).vectors)
        inputs.append(vectors)
    return inputs


def _rebuilt_view(
    encoded: EncodedViews,
    compares: list[list[Tensor]],
    compared: tuple[int, ...],
    quantized: tuple[bool, ...],
) -> list[Tensor]:
    """What is rebuilt beside the series, by branch: the first view as it is compared, if any."""
    if len(encoded.latents[0]) == 1:
        return [part[0][:0] for part in encoded.latents]
    if compares and 1 in compared and quantized[compared.index(1)]:
        return compares[compared.index(1)]
    return [part[1] for part in encoded.latents]


def _learn(
    objective: Objective,
    encoder: TokenFeatures,
    batch: TokenizerBatch,
    compared: tuple[int, ...],
    compares: list[list[Tensor]],
    masks: list[Tensor],
) -> ObjectiveOutput:
    inputs = (batch.series, *batch.views)
    times = torch.arange(batch.series.shape[2], device=batch.lengths.device)
    return objective(
        encoder,
        ObjectiveBatch(
            views=tuple(inputs[number] for number in compared),
            valid=times < batch.lengths[:, None] if batch.padded else None,
            labels=batch.labels,
            features=tuple(encoder.of(vectors, masks) for vectors in compares),
            draws=batch.draws,
            seed=batch.seed,
        ),
    )


def _everything(series: Tensor) -> Tensor:
    return torch.ones_like(series, dtype=torch.bool)


def _columns(tokenizer: Tokenizer, batch: TokenizerBatch, rows: int) -> list[Tensor] | None:
    if not batch.padded:
        return None
    return [mask.repeat(rows // len(mask), 1) for mask in tokenizer.columns(batch.lengths)]


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over what is valid on all processes; 0 where nothing is."""
    sums = reduce_sum(torch.stack([(values * valid).sum(), valid.sum().to(values.dtype)]))
    return sums[0] / sums[1].clamp(min=1.0)


def _used(tokenizer: Tokenizer, codes: tuple[Tensor, ...]) -> Tensor:
    """Mean share of the codebooks that this batch uses."""
    shares = []
    for part, sizes in zip(codes, tokenizer.codebook_sizes, strict=True):
        for level, size in zip(part.reshape(-1, len(sizes)).unbind(1), sizes, strict=True):
            real = level[level >= 0]
            if size > MANY_CODES:
                shares.append(torch.tensor(len(real.unique()) / size, device=part.device))
            else:
                shares.append((torch.bincount(real, minlength=size) > 0).float().mean())
    return torch.stack(shares).mean()
