"""Two views of each series of a batch, cut into frames as the tokenizer cuts them."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

PATCHES = 16
PATCH_SIZES = (8, 32)


class Views(NamedTuple):
    """First views, then second views: scaled samples, which are observed, samples of a patch."""

    series: Tensor
    observed: Tensor
    patch: int


def draw_views(sources: Tensor, *, generator: Generator) -> Views:
    """Cut two windows of each source, `(cases, length)`, and change them a little.

    All have one number of patches and one size of patch. A window is 45 to 100 % of its source;
    half are noisy, half change in size on the way; a quarter of the batches have gaps.
    """
    low, high = PATCH_SIZES
    patch = int(torch.randint(low, high + 1, (), generator=generator))
    short = torch.rand((), generator=generator) < 0.3
    few = int(torch.randint(2, PATCHES + 1, (), generator=generator))
    samples = patch * (few if short else PATCHES)
    views = torch.cat([_view(sources, samples, generator) for _ in range(2)])
    observed = torch.ones_like(views, dtype=torch.bool)
    if torch.rand((), generator=generator) < 0.25:
        observed = ~_gaps(views.shape, generator)
    count = observed.sum(1, keepdim=True)
    mean = (views * observed).sum(1, keepdim=True) / count
    size = (((views - mean) * observed).square().sum(1, keepdim=True) / count).sqrt() + 1e-6
    return Views((views - mean) / size, observed, patch)


def mixed_sources(
    synthetic: Tensor, shipped: Tensor, *, cases: int, generator: Generator
) -> Tensor:
    """Draw sources: a series, or a convex mix of up to three (as TSMixup), a fifth of them real."""
    rows = torch.randint(len(synthetic), (cases, 3), generator=generator)
    real = torch.randint(len(shipped), (cases, 3), generator=generator)
    chosen = torch.rand(cases, 3, generator=generator) < 0.2
    parts = torch.where(chosen[..., None], shipped[real], synthetic[rows])
    count = torch.randint(1, 4, (cases, 1), generator=generator)
    count = torch.where(torch.rand(cases, 1, generator=generator) < 0.6, 1, count)
    weights = -torch.rand(cases, 3, generator=generator).clamp(min=1e-9).log()
    weights = weights * (torch.arange(3) < count)
    return (parts * (weights / weights.sum(1, keepdim=True))[..., None]).sum(1)


def _view(sources: Tensor, samples: int, generator: Generator) -> Tensor:
    cases = len(sources)
    x = _window(sources, samples, generator)
    noise = 0.15 * torch.rand(cases, 1, generator=generator)
    noise = noise * (torch.rand(cases, 1, generator=generator) < 0.5)
    x = x + noise * x.std(1, keepdim=True) * torch.randn(x.shape, generator=generator)
    knots = 0.25 * torch.randn(cases, 5, generator=generator)
    knots = 1 + knots * (torch.rand(cases, 1, generator=generator) < 0.5)
    sizes = nn.functional.interpolate(knots[:, None], samples, mode="linear", align_corners=True)
    return x * sizes[:, 0]


def _window(sources: Tensor, samples: int, generator: Generator) -> Tensor:
    """A random window of each row, resampled by straight lines."""
    cases, length = sources.shape
    share = 0.45 + 0.55 * torch.rand(cases, 1, generator=generator)
    start = torch.rand(cases, 1, generator=generator) * (1 - share)
    at = (start + share * torch.linspace(0, 1, samples)) * (length - 1)
    left = at.floor().clamp(max=length - 2)
    before, after = sources.gather(1, left.long()), sources.gather(1, left.long() + 1)
    return before + (at - left) * (after - before)


def _gaps(shape: tuple[int, ...] | torch.Size, generator: Generator) -> Tensor:
    """A stretch of up to a quarter of a row, or single samples."""
    rows, samples = shape
    start = torch.rand(rows, 1, generator=generator) * samples
    span = 0.25 * samples * torch.rand(rows, 1, generator=generator)
    at = torch.arange(samples)
    stretch = (at >= start) & (at < start + span)
    rate = 0.3 * torch.rand(rows, 1, generator=generator)
    points = torch.rand(rows, samples, generator=generator) < rate
    return torch.where(torch.rand(rows, 1, generator=generator) < 0.5, stretch, points)
