"""Series to codes and back, frame by frame, in portions of memory."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from ssltok.data import SeriesSet
from ssltok.pipelines._general._codec import GeneralCodec
from ssltok.pipelines._general._frames import Cut, cut_of, level_codes, level_of

__all__ = [
    "channels_of",
    "code_set",
    "decode_frames",
    "encode_frames",
    "frames_of",
    "series_of",
    "tokens_of",
]

ROWS = 512  # frames of one channel in a portion


class Frames(NamedTuple):
    """Frames of one size: codes `(cases, frames, channels, 1 + patches, levels)`, and samples."""

    codes: Tensor
    samples: int
    first: int


@torch.no_grad()
def encode_frames(codec: GeneralCodec, frames: Tensor, observed: Tensor, *, patch: int) -> Tensor:
    """Code frames of one channel, int64 `(rows, 1 + patches, levels)`, level and size first.

    Args:
        codec: In evaluation mode.
        frames: float64 `(rows, samples)`.
        observed: Boolean, of that shape. Rows without any sample get -1.
        patch: Samples of a patch.
    """
    portions = []
    for some, known in zip(frames.split(ROWS), observed.split(ROWS), strict=True):
        empty = ~known.any(dim=1)
        here = known | empty[:, None]
        level = level_codes(torch.where(known, some, 0.0), here)
        size = torch.where(level.size > 0, level.size, 1.0)[:, None]
        scaled = ((some - level.offset[:, None]) / size).masked_fill(~known, 0.0).float()
        latents = codec.latents(scaled, None if bool(known.all()) else here, patch=patch)
        codes = torch.cat([level.codes[:, None], codec.quantizer.encode(latents)], dim=1)
        portions.append(codes.masked_fill(empty[:, None, None], -1))
    return torch.cat(portions)


@torch.no_grad()
def decode_frames(codec: GeneralCodec, codes: Tensor, *, samples: int, patch: int) -> Tensor:
    """Turn codes of `encode_frames` back into float64 `(rows, samples)`; NaN for rows of -1."""
    portions = []
    for some in codes.split(ROWS):
        empty = (some[:, 0] < 0).any(dim=1)
        offset, size = level_of(some[:, 0].clamp(min=0))
        vectors = codec.quantizer.decode(some[:, 1:])
        scaled = codec.series(vectors, length=samples, patch=patch).double()
        series = torch.where(size[:, None] > 0, scaled, 0.0) * size[:, None] + offset[:, None]
        portions.append(series.masked_fill(empty[:, None], torch.nan))
    return torch.cat(portions)


def code_set(
    codec: GeneralCodec, data: SeriesSet, *, patch: int | None, levels: int, tokens: int
) -> Tensor:
    """Codes of series in their own units, int64 `(cases, tokens, levels)`, -1 behind a series' end.

    Frame by frame, channel by channel: the level's token, then the patches'. `tokens` is the number
    of the longest series, which need not be among these.
    """
    cases = data.shape[0]
    exact = data.values.double() + data.offset[:, None]
    result = torch.full((cases, tokens, codec.levels), -1, dtype=torch.int64)
    for length in data.lengths.unique().tolist():
        chosen = (data.lengths == length).nonzero()[:, 0]
        cut, parts = cut_of(length, patch=patch), []
        for first, count, samples in _groups(cut):
            window = slice(first, first + count * samples)
            pattern = "cases channels (frames samples) -> (cases frames channels) samples"
            part, known = (
                rearrange(x[chosen][:, :, window], pattern, samples=samples)
                for x in (exact, data.valid)
            )
            codes = encode_frames(codec, part, known, patch=cut.patch)
            codes[:, 1:, levels:] = -1
            parts.append(codes.reshape(len(chosen), -1, codec.levels))
        row = torch.cat(parts, dim=1)
        result[chosen, : row.shape[1]] = row
    return result


def frames_of(codes: Tensor, cut: Cut, channels: int) -> Iterator[Frames]:
    """The frames of codes of series of one length, those of one size together."""
    begin = 0
    for first, count, samples in _groups(cut):
        tokens = 1 + -(-samples // cut.patch)
        end = begin + count * channels * tokens
        part = codes[:, begin:end].reshape(len(codes), count, channels, tokens, codes.shape[2])
        yield Frames(part, samples, first)
        begin = end


def series_of(
    codec: GeneralCodec, codes: Tensor, lengths: Tensor, *, patch: int | None, channels: int
) -> Tensor:
    """Series of codes, float64 `(cases, channels, longest)`, NaN behind their ends.

    Args:
        codec: In evaluation mode.
        codes: As `code_set` gives them, checked.
        lengths: int64 `(cases,)`.
        patch: As there.
        channels: Of the series.
    """
    longest = int(lengths.max())
    result = torch.full((len(codes), channels, longest), torch.nan, dtype=torch.float64)
    for length in lengths.unique().tolist():
        chosen = (lengths == length).nonzero()[:, 0]
        cut = cut_of(length, patch=patch)
        for part in frames_of(codes[chosen], cut, channels):
            flat = part.codes.flatten(0, 2)
            series = decode_frames(codec, flat, samples=part.samples, patch=cut.patch)
            pattern = "(cases frames channels) samples -> cases channels (frames samples)"
            series = rearrange(series, pattern, cases=len(chosen), channels=channels)
            result[chosen, :, part.first : part.first + series.shape[2]] = series
    return result


def channels_of(codes: Tensor, lengths: Tensor, *, patch: int | None) -> int:
    """Channels of the series behind codes `(cases, tokens, levels)`, by their longest.

    Raises:
        ValueError: If no number of channels gives so many tokens.
    """
    each = tokens_of(int(lengths.max()), patch=patch)
    if codes.shape[1] % each or not codes.shape[1]:
        raise ValueError(
            f"decode: a channel of {int(lengths.max())} samples must have {each} tokens; "
            f"got {codes.shape[1]}, which is no multiple"
        )
    return codes.shape[1] // each


def tokens_of(length: int, *, patch: int | None) -> int:
    """Tokens of a channel of so many samples."""
    patches: Sequence[int] = cut_of(length, patch=patch).patches
    return sum(patches) + len(patches)


def _groups(cut: Cut) -> Iterator[tuple[int, int, int]]:
    """Frames of one size: their first sample, how many, and samples of each."""
    first = 0
    for samples in dict.fromkeys(cut.frames):
        count = cut.frames.count(samples)
        yield first, count, samples
        first += count * samples
