"""Series longer than the model: continued by rolling on, filled and rebuilt window by window."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from einops import rearrange
from torch import Generator, Tensor

from ssltok._shared.portions import AT_ONCE
from ssltok.data import SeriesSet, Windows, stitch
from ssltok.pipelines._fit import encode_series
from ssltok.pipelines._folders._artifact import Artifact
from ssltok.pipelines._stage_two._conditions import Conditions
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._uses._gaps import Residual, usual_residual
from ssltok.pipelines._uses._impute import draw_missing, impute_series

__all__ = [
    "cut_windows",
    "encode_long",
    "forecast_long",
    "impute_long",
    "reconstruct_long",
    "widen",
]


def widen(data: SeriesSet, length: int) -> SeriesSet:
    """The set padded to `length` samples; unchanged where it holds more."""
    return cut_windows(data, torch.zeros_like(data.lengths), max(length, data.values.shape[-1]))


def forecast_long(
    artifact: Artifact,
    data: SeriesSet,
    *,
    labels: Tensor,
    horizon: int,
    samples: int,
    generator: Generator,
    conditions: Conditions | None = None,
) -> Tensor:
    """Continue series, each from its own end, as far as asked for.

    Where the longest series and the horizon fit the model together, all is drawn at once. Else it
    rolls on: each round draws at most half of the model's length, given as many samples before it
    as fit, known ones and drawn ones; every draw goes on from itself.

    Args:
        artifact: The model.
        data: Series of any lengths.
        labels: int64 `(cases,)`, -1 for no label.
        horizon: Samples to draw, at least 1.
        samples: Draws of each series, at least 1.
        generator: The only source of randomness.
        conditions: What a `ConditionedPrior` is told of each series, at the model's scale; known
            channels to the end of the horizon.

    Returns:
        `(samples, cases, channels, horizon)` in the units of the series, NaN in a channel of a
        series without any value. float64 where there is an offset.
    """
    room, cases = artifact.tokenizer.length, len(data.values)
    silent = ~data.valid.any(dim=2)[:, :, None]
    whole = int(data.lengths.max()) + horizon <= room
    parts: list[Tensor] = []
    left = horizon
    while left:
        block = left if whole else min(left, room // 2)
        starts = (data.lengths - (room - block)).clamp(min=0)
        context = cut_windows(data, starts, room) if whole else _window(data, starts, room)
        times = context.lengths[:, None] + torch.arange(block)
        filled = draw_missing(
            artifact.tokenizer, artifact.prior,
            context._replace(lengths=context.lengths + block), labels=labels,
            samples=1 if parts else samples, decoding=artifact.decoding, generator=generator,
            conditions=None if conditions is None else conditions.cut(starts, room),
            residual=usual_residual(artifact.tokenizer.fill, 2),
        ).flatten(0, 1)  # fmt: skip
        if conditions is not None:  # windows begin where this one does
            conditions = conditions.cut(starts, room + left)
        if not parts:  # from here on, each draw is a series of its own
            again = torch.arange(cases).repeat(samples)
            data, labels, times = context.take(again), labels[again], times[again]
            conditions = None if conditions is None else conditions.take(again)
        else:
            data = context
        new = filled.gather(2, times[:, None].expand(-1, filled.shape[1], -1))
        parts.append(new)
        data = data._replace(
            values=data.values.scatter(2, times[:, None].expand_as(new), _less(new, data.offset)),
            valid=data.valid.scatter(2, times[:, None].expand_as(new), torch.ones_like(new).bool()),
            lengths=data.lengths + block,
        )
        left -= block
    drawn = torch.cat(parts, dim=2)
    drawn = rearrange(drawn, "(samples cases) ... -> samples cases ...", samples=samples)
    return drawn.masked_fill(silent, torch.nan)


def impute_long(
    artifact: Artifact,
    data: SeriesSet,
    *,
    labels: Tensor,
    samples: int,
    generator: Generator,
    conditions: Conditions | None = None,
    residual: Residual = "mean",
) -> Tensor:
    """Draw the missing values of series of any lengths.

    A series longer than the model is read in windows that overlap by half. A missing value is
    drawn in the window whose middle it is nearest to, so it has a quarter of the model's length on
    either side; windows go from left to right where one holds what another has drawn, so a draw is
    one series and not an average of several.

    Args:
        artifact: The model.
        data: Series in their own units, as wide as the model at least.
        labels: int64 `(cases,)`, -1 for no label.
        samples: Draws of each series, at least 1.
        generator: The only source of randomness.
        conditions: What a `ConditionedPrior` is told of each series, at the model's scale.
        residual: As in `impute_series`.

    Returns:
        `(samples, cases, channels, length)` in the units of the series, NaN beyond their ends and,
        but for a tokenizer with a fill, in a channel of a series without any value; known values to
        the bit. float64 where there is an offset.
    """
    width, room, cases = data.values.shape[-1], artifact.tokenizer.length, len(data.values)
    if width == room:
        return impute_series(
            artifact.tokenizer, artifact.prior, data, labels=labels, samples=samples,
            decoding=artifact.decoding, generator=generator, residual=residual,
            conditions=None if conditions is None else conditions.cut(data.lengths * 0, room),
        )  # fmt: skip
    within = torch.arange(width) < data.lengths[:, None]
    missing = ~data.valid & within[:, None]
    rounds = _rounds(missing.any(dim=1), data.lengths, room)
    again = torch.arange(cases).repeat(samples)
    silent = ~data.valid.any(dim=2)[again]
    if artifact.tokenizer.fill is not None:
        silent = torch.zeros_like(silent)
    data, missing, labels = data.take(again), missing[again], labels[again]
    conditions = None if conditions is None else conditions.take(again)
    filled = data.in_units()
    for jobs in rounds:
        rows = torch.cat([torch.tensor([j[0] for j in jobs]) + cases * s for s in range(samples)])
        starts, begins, ends = (
            torch.tensor([job[k] for job in jobs]).repeat(samples) for k in (1, 2, 3)
        )
        part = _window(data.take(rows), starts, room)
        drawn = draw_missing(
            artifact.tokenizer, artifact.prior, part, labels=labels[rows], samples=1,
            decoding=artifact.decoding, generator=generator, residual=residual,
            conditions=None if conditions is None else conditions.take(rows).cut(starts, room),
        )[0]  # fmt: skip
        for row, start, begin, end, window in zip(
            rows.tolist(), starts.tolist(), begins.tolist(), ends.tolist(), drawn, strict=True
        ):
            stretch = slice(begin, end)
            new = window[:, begin - start : end - start]
            gone = missing[row, :, stretch]
            filled[row, :, stretch] = torch.where(gone, new, filled[row, :, stretch])
            data.values[row, :, stretch] = torch.where(
                gone, _less(new, data.offset), data.values[row, :, stretch]
            )
            data.valid[row, :, stretch] |= gone
    filled = filled.masked_fill(~within[again][:, None] | silent[:, :, None], torch.nan)
    return rearrange(filled, "(samples cases) ... -> samples cases ...", samples=samples)


def reconstruct_long(artifact: Artifact, data: SeriesSet) -> Tensor:
    """Take series of any lengths through the tokens and back.

    Windows overlap by half and are put together by `ssltok.data.stitch`.

    Args:
        artifact: The model.
        data: Series in their own units, as wide as the model at least.

    Returns:
        `(cases, channels, length)` in the units of the series, NaN beyond their ends and throughout
        a channel of a series without any value.
    """
    tokenizer, width = artifact.tokenizer, data.values.shape[-1]
    room = tokenizer.length
    starts = [_starts(int(length), room) for length in data.lengths]
    cases = torch.tensor([case for case, each in enumerate(starts) for _ in each])
    firsts = torch.tensor([start for each in starts for start in each])
    part = _window(data.take(cases), firsts, room)
    waves = decode_codes(tokenizer, encode_series(tokenizer, tokenizer.scaled(part)))
    whole = waves.new_full((len(data.values), waves.shape[1], width), torch.nan)
    for case, (each, windows) in enumerate(
        zip(starts, waves.split([len(each) for each in starts]), strict=True)
    ):
        length = each[-1] + room
        whole[case, :, :length] = stitch(Windows(windows, torch.tensor(each).numpy(), length))
    beyond = torch.arange(width) >= data.lengths[:, None]
    silent = ~data.valid.any(dim=2, keepdim=True)
    return whole.masked_fill(beyond[:, None] | silent, torch.nan)


def encode_long(artifact: Artifact, data: SeriesSet) -> Tensor:
    """Turn series of any lengths into codes, one stretch of the model's length after the other.

    Args:
        artifact: The model.
        data: Series in their own units, as wide as the model at least.

    Returns:
        int64 `(cases, stretches * tokens)`, -1 beyond a series' end; with several codes a token
        `(cases, stretches * tokens, codes)`.
    """
    tokenizer, cases = artifact.tokenizer, len(data.values)
    stretches = -(-data.values.shape[-1] // tokenizer.length)
    starts = torch.arange(stretches) * tokenizer.length
    rows = torch.arange(cases).repeat_interleave(stretches)
    part = _window(data.take(rows), starts.repeat(cases), tokenizer.length)
    held = part.lengths > 0
    real = encode_series(tokenizer, tokenizer.scaled(part.take(torch.nonzero(held)[:, 0])))
    codes = real.new_full((len(rows), *real.shape[1:]), -1)
    codes[held] = real
    return rearrange(
        codes, "(cases stretches) tokens ... -> cases (stretches tokens) ...", cases=cases
    )


def decode_codes(tokenizer: Tokenizer, codes: Tensor, *, tokens: int | None = None) -> Tensor:
    """Series of codes in their units, in batches; several stretches follow each other."""
    stretches = codes.shape[1] // sum(tokenizer.sizes)
    codes = rearrange(
        codes, "cases (stretches tokens) ... -> (cases stretches) tokens ...", stretches=stretches
    )
    with torch.no_grad():
        waves = torch.cat(
            [
                tokenizer.in_units(tokenizer.decode(part, tokens=tokens))
                for part in torch.split(codes, AT_ONCE)
            ]
        )
    return rearrange(
        waves, "(cases stretches) channels length -> cases channels (stretches length)",
        stretches=stretches,
    )  # fmt: skip


def _less(drawn: Tensor, offset: Tensor) -> Tensor:
    """Drawn values, in units, as a set with this offset holds them."""
    return (drawn - offset[:, None]).float() if bool(offset.any()) else drawn


def cut_windows(data: SeriesSet, starts: Tensor, size: int) -> SeriesSet:
    """`size` samples of each case from its start on; past its end its last values, not valid."""
    times = starts[:, None] + torch.arange(size)
    index = times.clamp(max=data.values.shape[-1] - 1)[:, None].expand(-1, data.values.shape[1], -1)
    within = (times < data.lengths[:, None])[:, None]
    return data._replace(
        values=data.values.gather(2, index),
        valid=data.valid.gather(2, index) & within,
        lengths=(data.lengths - starts).clamp(0, size),
    )


def _window(data: SeriesSet, starts: Tensor, size: int) -> SeriesSet:
    """As `cut_windows`, each read as `read_series` reads a series: lines lead over its gaps."""
    part = cut_windows(data, starts, size)
    if size == data.values.shape[-1]:
        return part
    for values, valid in zip(part.values.flatten(0, 1), part.valid.flatten(0, 1), strict=True):
        if valid.any() and not valid.all():
            known = torch.nonzero(valid)[:, 0].numpy()
            line = np.interp(np.arange(size), known, values[valid].double().numpy())
            values.copy_(torch.from_numpy(line))
    return part


def _starts(length: int, size: int) -> list[int]:
    """Of windows that overlap by half and hold everything, the last one to the end."""
    stride = max(1, size // 2)
    starts = list(range(0, max(length - size, 0) + 1, stride))
    return starts if starts[-1] + size >= length else [*starts, length - size]


def _rounds(missing: Tensor, lengths: Tensor, size: int) -> Iterator[list[tuple[int, ...]]]:
    """Windows to draw in, `(case, start, begin, end)`: what is drawn is between begin and end.

    A window comes in a later round than those whose draws it holds.
    """
    rounds: dict[int, list[tuple[int, ...]]] = {}
    for case, (gone, length) in enumerate(zip(missing, lengths.tolist(), strict=True)):
        starts = _starts(length, size)
        edges = [(a + b + size) // 2 for a, b in itertools.pairwise(starts)]
        last, number = slice(0, 0), -1  # where the window before draws, and in which round
        for start, begin, end in zip(starts, [0, *edges], [*edges, length], strict=True):
            if not gone[begin:end].any():
                continue
            held = gone[max(last.start, start) : max(last.stop, start)].any()
            last, number = slice(begin, end), number + 1 if held else 0
            rounds.setdefault(number, []).append((case, start, begin, end))
    for number in sorted(rounds):
        yield rounds[number]
