"""What is missing in a series, drawn anew: its tokens are hidden, guessed and decoded."""

import math

import torch
from torch import Generator, Tensor

from ssltok._shared.modes import evaluation_mode
from ssltok._shared.portions import AT_ONCE
from ssltok.data import SeriesSet
from ssltok.pipelines._fit import encode_series
from ssltok.pipelines._generate import Decoding, decode_tokens
from ssltok.pipelines._large._encode_rows import decode_rows
from ssltok.pipelines._prior import Prior
from ssltok.pipelines._stage_two._conditions import Conditions
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._uses._gaps import Residual, complete
from ssltok.signal import line_fill

__all__ = ["draw_missing", "hidden_tokens", "impute_series"]


def impute_series(
    tokenizer: Tokenizer,
    prior: Prior,
    data: SeriesSet,
    *,
    labels: Tensor,
    samples: int,
    decoding: Decoding,
    generator: Generator,
    conditions: Conditions | None = None,
    residual: Residual = "mean",
) -> Tensor:
    """Draw the missing values of series; known values stay as they are, bit for bit.

    A tokenizer that has a `fill` infers the tokens of which something is observed, and the prior
    draws those of which nothing is; then the fill completes what the decoded series leave over,
    given that where the series are observed. All of it is read from series with straight lines in
    their gaps, so nothing of the truth can reach it.

    For another tokenizer, tokens whose stretch of time holds a missing value are hidden and drawn
    again, given the other tokens; an encoder that sees far also sees the line, which is an
    approximation. `ssltok.decoding.receptive_field` is the exact way for encoders that see little.

    Args:
        tokenizer: Trained.
        prior: Trained on its tokens.
        data: Series in their own units; `valid` is False where a value is missing.
        labels: int64 `(cases,)`, -1 for no label.
        samples: Draws of each series, at least 1.
        decoding: The rules, such as those of `build_decoding`.
        generator: The only source of randomness.
        conditions: What a `ConditionedPrior` is told of each series, at the model's scale.
        residual: What is added of the rest that tokens leave: `"mean"`, what is expected of it,
            `"drawn"`, one draw, or `"none"`; only where the tokenizer has a fill.

    Returns:
        `(samples, cases, channels, length)` in the units of the series, NaN beyond their ends. A
        channel of a series without any value is NaN throughout, but for a tokenizer with a fill.
        float64 where there is an offset.
    """
    filled = draw_missing(
        tokenizer, prior, data, labels=labels, samples=samples, decoding=decoding,
        generator=generator, conditions=conditions, residual=residual,
    )  # fmt: skip
    if tokenizer.fill is not None:
        return filled
    return filled.masked_fill(~data.valid.any(dim=2, keepdim=True), torch.nan)


@torch.no_grad()
def draw_missing(
    tokenizer: Tokenizer,
    prior: Prior,
    data: SeriesSet,
    *,
    labels: Tensor,
    samples: int,
    decoding: Decoding,
    generator: Generator,
    conditions: Conditions | None = None,
    residual: Residual = "mean",
) -> Tensor:
    """As `impute_series`, with values drawn also in a channel without any: it may have some before.

    Such is a window of a longer series.
    """
    within = torch.arange(tokenizer.length) < data.lengths[:, None]
    missing = ~data.valid & within[:, None]
    scaled = tokenizer.scaled(data)
    if tokenizer.fill is None:
        where = hidden_tokens(tokenizer, missing)
    else:
        scaled = scaled._replace(values=line_fill(scaled.values, scaled.valid))
        where = ~hidden_tokens(tokenizer, data.valid, margin=0) & tokenizer.valid_tokens(
            data.lengths
        )
    codes = encode_series(tokenizer, scaled)
    unknown = where if codes.ndim == 2 else where[..., None]
    hidden = codes.masked_fill(unknown & (codes >= 0), prior.mask_index)

    def decode(tokens: Tensor) -> Tensor:
        cases = torch.arange(len(labels)).repeat(len(tokens) // len(labels))
        return torch.cat(
            [
                decode_tokens(
                    prior, part, labels=labels[rows], decoding=decoding, generator=generator,
                    conditions=None if conditions is None else conditions.take(rows),
                )
                for part, rows in zip(tokens.split(AT_ONCE), cases.split(AT_ONCE), strict=True)
            ]
        )  # fmt: skip

    with evaluation_mode(tokenizer, prior):
        drawn = decode(hidden.repeat(samples, *[1] * (hidden.ndim - 1))).unflatten(0, (samples, -1))
        decoded = decode_rows(tokenizer, drawn.flatten(0, 1))
        generated = tokenizer.in_units(
            complete(tokenizer.fill, scaled, decoded, residual=residual, generator=generator)
        )
    generated = generated.unflatten(0, (samples, -1))
    filled = torch.where(missing, generated, data.in_units())
    return filled.masked_fill(~within[:, None], torch.nan)


def hidden_tokens(tokenizer: Tokenizer, missing: Tensor, *, margin: int | None = None) -> Tensor:
    """Find the tokens whose stretch of time, and half an STFT frame around it, misses a value.

    Args:
        tokenizer: Gives the grids.
        missing: Boolean `(cases, channels, length)`.
        margin: Samples around a stretch that count as its own; None is half an STFT frame.

    Returns:
        Boolean `(cases, tokens)`, low branch first.
    """
    gone = missing if tokenizer.channelwise else missing.any(dim=1, keepdim=True)
    margin = int(tokenizer.transform.margin) if margin is None else margin
    times, parts = torch.arange(tokenizer.length), []
    for branch in tokenizer.parts:
        edges = torch.nn.functional.pad(
            branch.begins(tokenizer.length), (0, 1), value=float(tokenizer.length)
        )
        stretch = (times >= edges[:-1, None] - margin) & (times < edges[1:, None] + margin)
        seen = (gone.float() @ stretch.float().T) > 0
        parts.append(seen.repeat(1, 1, math.prod(branch.grid[:-1])).flatten(1))
    return torch.cat(parts, dim=1)
