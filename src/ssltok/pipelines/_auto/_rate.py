"""How much of the data tokens can say, measured before anything is trained: k-means on patches."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from ssltok.data import SeriesSet
from ssltok.quantizers import EMAVectorQuantizer
from ssltok.training import keyed_generator

__all__ = ["RatePoint", "codes_for", "measure_rate", "strides_for"]

STRIDES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
FEWEST_TOKENS = 9  # of a channel: fewer say little about where things happen
FEWEST_CODES, MOST_CODES = 16, 256
PATCHES_A_CODE = 4  # training patches that a code should have at least
MOST_PATCHES = 8192  # that k-means reads
LARGEST = 2**27  # values that are cut at once


class RatePoint(NamedTuple):
    """One point of the curve: tokens of `stride` samples, and what they explain."""

    stride: int
    """Samples of a token."""
    tokens: int
    """Tokens of a series, over all channels."""
    codes: int
    """Size of the codebook."""
    explained: float
    """Share of the variance of held-out training series that k-means on raw patches explains."""


def strides_for(length: int) -> list[int]:
    """The strides worth measuring for series of this length."""
    return [s for s in STRIDES if s == 1 or length >= FEWEST_TOKENS * s]


def codes_for(patches: int) -> int:
    """Codes for so many training patches: a power of two from 16 to 256."""
    wanted = max(patches // PATCHES_A_CODE, 1).bit_length() - 1
    return min(max(1 << wanted, FEWEST_CODES), MOST_CODES)


@torch.no_grad()
def measure_rate(
    scaled: SeriesSet, *, strides: Sequence[int], ordered: bool = False, channelwise: bool = True
) -> list[RatePoint]:
    r"""Measure what codes of patches explain on a fifth of the series that they were not fitted to.

    Every channel is cut into patches of `stride` samples; k-means of four fifths of the series
    gives the codes, and the rest is rebuilt from its nearest codes:

    $$R^2 = 1 - \frac{\sum (x - \hat x)^2}{\sum x^2}$$

    over known samples of series at the scale of the model (mean 0, so that this is the share of
    the variance).

    Args:
        scaled: Training series, `(cases, channels, length)`, every channel scaled to mean 0.
        strides: Samples of a token, one number for each point.
        ordered: Whether the series lie in time, as windows of a long one do: then the last fifth
            is held out, for neighbours share samples.
        channelwise: Cut each channel for itself, or all channels together.

    Returns:
        A point for each stride.

    Example:
        >>> import torch
        >>> from ssltok.data import read_series
        >>> from ssltok.pipelines import measure_rate
        >>> steps = torch.randn(200, 1, 8, generator=torch.Generator().manual_seed(0)).sign()
        >>> points = measure_rate(read_series(steps.repeat_interleave(4, 2)), strides=[4])
        >>> points[0].tokens, round(points[0].explained, 3)  # four equal samples: two codes do
        (8, 1.0)

    References:
        Lloyd, *Least squares quantization in PCM*, 1982.
    """
    cases, channels, length = scaled.values.shape
    held = min(max(2, cases // 5), cases - 1)
    order = torch.arange(cases)
    if not ordered:
        order = torch.randperm(cases, generator=keyed_generator(0, "rate"))
    most = max(held + 1, LARGEST // max(channels * length, 1))
    rest, rows = order[: cases - held][-most:], order[cases - held :][-most:]
    points = []
    for stride in strides:
        patches, known = _cut(scaled, rest, stride, channelwise=channelwise)
        generator = keyed_generator(0, "rate", stride)
        chosen = torch.randperm(len(patches), generator=generator)[:MOST_PATCHES]
        frames = -(-length // stride) * (channels if channelwise else 1)
        codes = codes_for(len(patches))
        quantizer = EMAVectorQuantizer(patches.shape[1], codes)
        quantizer.initialize(patches[chosen], generator=generator)
        patches, known = _cut(scaled, rows, stride, channelwise=channelwise)
        error = (quantizer.decode(quantizer.encode(patches)) - patches).square()
        whole = (patches.square() * known).double().sum()
        explained = 1 - float((error * known).double().sum() / whole) if whole > 0 else 1.0
        points.append(RatePoint(stride, frames, codes, explained))
    return points


def _cut(
    scaled: SeriesSet, rows: Tensor, stride: int, *, channelwise: bool
) -> tuple[Tensor, Tensor]:
    """Patches with any known sample, and which of their samples are known."""
    length = scaled.values.shape[2]
    tail = (0, -length % stride)
    values = functional.pad(scaled.values[rows], tail, mode="replicate").nan_to_num()
    known = functional.pad(scaled.valid[rows].to(values.dtype), tail)
    values, known = values.unfold(2, stride, stride), known.unfold(2, stride, stride)
    together = "(cases channels tokens) patch" if channelwise else "(cases tokens) (channels patch)"
    pattern = f"cases channels tokens patch -> {together}"
    values, known = rearrange(values, pattern), rearrange(known, pattern)
    some = known.any(dim=1)
    return values[some].contiguous(), known[some]
