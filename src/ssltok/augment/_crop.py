"""Crops: parts of a series, stretched to a length or kept with their overlap."""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from ssltok._shared.checks import check_at_least
from ssltok.augment._draw import (
    check_range,
    check_series,
    gather_real,
    on_real_samples,
    uniform,
)
from ssltok.augment._resample import read_between

__all__ = ["MultiCrop", "OverlappingCrops", "crop_resize", "multi_crop", "overlapping_crops"]


class MultiCrop(NamedTuple):
    """Views of two sizes.

    Attributes:
        global_views: The large views, `(global_views, batch, channels, length)`.
        local_views: The small ones, `(local_views, batch, channels, local_length)`.
    """

    global_views: Tensor
    local_views: Tensor


class OverlappingCrops(NamedTuple):
    """Two crops of each series, and where they show the same samples.

    Attributes:
        first: The one crop, `(batch, channels, length)`.
        second: The other, of its own length.
        first_overlap: Slice of the time axis of `first` that shows what `second` shows too.
        second_overlap: The slice of `second` with the same samples of the series.
        starts: Where the first sample of both lies in the series, `(batch,)`.
        first_valid: Which samples of `first` are real, `(batch, length)`.
        second_valid: The same of `second`.
    """

    first: Tensor
    second: Tensor
    first_overlap: slice
    second_overlap: slice
    starts: Tensor
    first_valid: Tensor
    second_valid: Tensor


def crop_resize(
    series: Tensor,
    *,
    ratio_range: tuple[float, float] = (0.9, 0.9),
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Cut a random part out of each series and stretch it to the length of the whole.

    The part has $w$ = round($r L$) samples, two at least, $r \sim U$`ratio_range`, and starts at a
    place drawn from 0 ... $L - w$. With the default this is "window slicing".

    Args:
        series: `(batch, channels, length)`, length 2 or more.
        ratio_range: Least and largest share of the series, in (0, 1]; always 0.9 in the paper.
        valid: True where a sample is real, `(batch, length)`. The others stay as they are and are
            not read; the part is stretched over the real ones. By default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The stretched parts, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import crop_resize
        >>> view = crop_resize(torch.arange(5.0).expand(1, 1, -1), ratio_range=(0.6, 0.6))[0, 0]
        >>> view.diff()  # three samples over five places
        tensor([0.5000, 0.5000, 0.5000, 0.5000])

    References:
        Le Guennec, Malinowski and Tavenard, *Data Augmentation for Time Series Classification
        using Convolutional Neural Networks*, 2016, section 3.1.
    """
    check_series("crop_resize", series, valid, generator, least_length=2)
    _check_share("crop_resize", "ratio_range", ratio_range)
    draws = uniform((2, series.shape[0], 1), series, generator)

    def kernel(together: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(series.shape[-1], device=series.device, dtype=draws.dtype)
        return read_between(together, _crop_positions(draws, ratio_range, lengths, steps))

    return on_real_samples(series, valid, kernel)


def multi_crop(
    series: Tensor,
    *,
    local_length: int,
    global_views: int = 2,
    local_views: int = 8,
    global_range: tuple[float, float] = (0.4, 1.0),
    local_range: tuple[float, float] = (0.05, 0.4),
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> MultiCrop:
    """Make a few large and many small views of each series, each a stretched random part.

    Large parts are stretched to the length of the series, small parts to `local_length`. Every
    view of every series is drawn on its own, as in `crop_resize`. All samples of a view are real,
    because a part is cut out of the real samples only.

    Args:
        series: `(batch, channels, length)`, length 2 or more.
        local_length: The length of the small views, 2 or more. DINO's are 96/224 of the large.
        global_views: The number of large views, 1 or more; 2 in SwAV and DINO.
        local_views: The number of small views, 0 or more; 8 in DINO, 6 in SwAV.
        global_range: Least and largest share of the series in a large view; DINO's by default.
        local_range: The same of a small view; DINO's by default.
        valid: True where a sample is real, `(batch, length)`; the others are not read. By default
            all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        `MultiCrop(global_views, local_views)`, `(views, batch, channels, length)` each.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import multi_crop
        >>> crops = multi_crop(torch.zeros(4, 3, 50), local_length=20)
        >>> crops.global_views.shape, crops.local_views.shape
        (torch.Size([2, 4, 3, 50]), torch.Size([8, 4, 3, 20]))

    References:
        Caron et al., *Unsupervised Learning of Visual Features by Contrasting Cluster
        Assignments*, 2020, <https://arxiv.org/abs/2006.09882>, section 3.2.
        Caron et al., *Emerging Properties in Self-Supervised Vision Transformers*, 2021,
        <https://arxiv.org/abs/2104.14294>, section 3.1.
    """
    check_series("multi_crop", series, valid, generator, least_length=2)
    check_at_least("multi_crop", "local_length", local_length, 2)
    check_at_least("multi_crop", "global_views", global_views, 1)
    check_at_least("multi_crop", "local_views", local_views, 0)
    _check_share("multi_crop", "global_range", global_range)
    _check_share("multi_crop", "local_range", local_range)
    together, lengths = gather_real(series, valid)
    batch, _, length = series.shape

    def views(count: int, ratio_range: tuple[float, float], size: int) -> Tensor:
        draws = uniform((2, batch, count, 1), series, generator)
        steps = torch.arange(size, device=series.device, dtype=draws.dtype)
        steps = steps * ((lengths[:, None] - 1).to(steps.dtype) / (size - 1))
        places = _crop_positions(draws, ratio_range, lengths[:, None], steps)
        read = read_between(together, places.reshape(batch, count * size))
        pattern = "batch channels (views length) -> views batch channels length"
        return rearrange(read, pattern, length=size)

    return MultiCrop(
        views(global_views, global_range, length), views(local_views, local_range, local_length)
    )


def overlapping_crops(
    series: Tensor,
    *,
    least_overlap: int = 2,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> OverlappingCrops:
    """Cut two parts out of each series that share some samples, and say which.

    As in TS2Vec: the overlap has a random number of samples, the first part begins at or before
    it and the second ends at or behind it. These sizes are drawn once for the batch, so that each
    part is one tensor; the place of the pair is drawn for each series. A layer that looks at
    both parts must give the same for the overlap whatever lies around it.

    With `valid`, the place is drawn from those where the overlap holds a real sample (the authors'
    code draws from all). A series so short that no place does has none there: such a row shows in
    `first_valid[:, first_overlap].any(1)`.

    The sizes decide the shapes of the result, so they are drawn on the processor or, with a
    generator on another device, fetched from there: once per call, this waits for the device (and
    breaks the graph of `torch.compile`).

    Args:
        series: `(batch, channels, length)`, length `least_overlap` or more.
        least_overlap: The fewest samples shared, 1 or more; 2 in the authors' code, which takes
            a power of 2.
        valid: True where a sample is real, `(batch, length)`; it is cut alike. By default all are.
        generator: The source of randomness, on the device of `series`.

    Returns:
        `OverlappingCrops`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import overlapping_crops
        >>> crops = overlapping_crops(torch.randn(4, 3, 50))
        >>> shared = crops.first[..., crops.first_overlap]
        >>> torch.equal(shared, crops.second[..., crops.second_overlap])
        True

    References:
        Yue et al., *TS2Vec: Towards Universal Representation of Time Series*, 2022,
        <https://arxiv.org/abs/2106.10466>, section 3.2.
    """
    check_at_least("overlapping_crops", "least_overlap", least_overlap, 1)
    check_series("overlapping_crops", series, valid, generator, least_length=least_overlap)
    batch, _, length = series.shape
    device = torch.device("cpu") if generator is None else generator.device
    draws = torch.rand(4, generator=generator, device=device, dtype=torch.float64).tolist()
    overlap = least_overlap + int(draws[0] * (length - least_overlap + 1))
    left = int(draws[1] * (length - overlap + 1))
    first_left = int(draws[2] * (left + 1))
    right = left + overlap
    second_right = right + int(draws[3] * (length - right + 1))
    room = length - (second_right - first_left)
    moved = uniform((batch, 1), series, generator)
    if valid is None:
        valid = torch.ones(batch, length, dtype=torch.bool, device=series.device)
        moved = (moved * (room + 1)).long().clamp(max=room)
    else:
        seen = functional.pad(valid[:, left - first_left :].cumsum(1), (1, 0))[
            :, : room + overlap + 1
        ]
        moved = _draw_place(moved, seen[:, overlap:] > seen[:, :-overlap])

    def cut(start: int, end: int) -> tuple[Tensor, Tensor]:
        index = moved + torch.arange(start - first_left, end - first_left, device=series.device)
        wide = index[:, None].expand(-1, series.shape[1], -1)
        return series.gather(2, wide), valid.gather(1, index)

    first, first_valid = cut(first_left, right)
    second, second_valid = cut(left, second_right)
    return OverlappingCrops(
        first,
        second,
        slice(left - first_left, right - first_left),
        slice(0, overlap),
        moved[:, 0] + left - first_left,
        first_valid,
        second_valid,
    )


def _draw_place(draws: Tensor, allowed: Tensor) -> Tensor:
    """Turn draws from U[0, 1), `(batch, 1)`, into places where `allowed` `(batch, places)` is True.

    In a row that allows none, every place counts.
    """
    ranks = (allowed | ~allowed.any(1, keepdim=True)).cumsum(1)
    count = ranks[:, -1:]
    rank = (draws * count).long().minimum(count - 1)
    return (ranks <= rank).sum(1, keepdim=True)


def _check_share(who: str, name: str, bounds: tuple[float, float]) -> None:
    check_range(who, name, bounds)
    if bounds[1] > 1:
        raise ValueError(f"{who}: {name} must not exceed 1; got {bounds}")


def _crop_positions(
    draws: Tensor, ratio_range: tuple[float, float], lengths: Tensor, steps: Tensor
) -> Tensor:
    """Squeeze `steps` in 0 ... lengths - 1 into a part drawn by `draws` `(2, ..., 1)`."""
    ratios = ratio_range[0] + (ratio_range[1] - ratio_range[0]) * draws[0]
    sizes = (lengths * ratios).round().long().clamp(min=2).minimum(lengths)
    starts = (draws[1] * (lengths - sizes + 1)).long().minimum(lengths - sizes)
    pace = (sizes - 1).to(draws.dtype) / (lengths - 1).clamp(min=1)
    return starts + steps * pace
