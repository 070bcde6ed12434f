"""Augmentations of the order: segments change places; all channels of a series alike."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.augment._draw import check_series, on_real_samples, uniform
from ssltok.augment._resample import reorder_segments

__all__ = ["flip", "permutation", "slice_and_shuffle"]


def slice_and_shuffle(
    series: Tensor,
    *,
    segments: int = 4,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Cut each series at random places and put the segments together in random order.

    The `segments - 1` cuts are drawn from 0 ... length - 1 with replacement, as published, so a
    segment may be short or empty; `permutation` cuts into equal parts. Where the class of a series
    lies in its order or its long shapes, this augmentation destroys it.

    Args:
        series: `(batch, channels, length)`.
        segments: How many segments, 1 or more; 4 in NC-VQVAE.
        valid: True where a sample is real, `(batch, length)`. The others stay where they are and
            the real samples are cut as if they were adjacent. By default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The shuffled series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import slice_and_shuffle
        >>> view = slice_and_shuffle(torch.arange(6.0).expand(2, 3, -1))
        >>> view.sort().values[0, 0]  # no sample is lost
        tensor([0., 1., 2., 3., 4., 5.])

    References:
        The NC-VQVAE code, <https://arxiv.org/abs/2408.16613>.
    """
    check_series("slice_and_shuffle", series, valid, generator)
    check_at_least("slice_and_shuffle", "segments", segments, 1)
    batch = series.shape[0]
    places = uniform((batch, segments - 1), series, generator).sort(-1).values
    order = uniform((batch, segments), series, generator).argsort(-1)

    def kernel(together: Tensor, lengths: Tensor) -> Tensor:
        cuts = (places * lengths).long().clamp(max=lengths)
        bounds = torch.cat([torch.zeros_like(lengths), cuts, lengths], 1)
        return reorder_segments(together, bounds, order)

    return on_real_samples(series, valid, kernel)


def permutation(
    series: Tensor,
    *,
    max_segments: int = 5,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Cut each series into a random number of equal parts and put them in random order.

    The number is drawn for each series from 1 ... `max_segments`; parts differ by one sample at
    most. Every channel is permuted (the code of TS-TCC copies the first into all).

    Args:
        series: `(batch, channels, length)`, length `max_segments` or more.
        max_segments: The most parts, 1 or more; 5 in TS-TCC's code.
        valid: True where a sample is real, `(batch, length)`. The others stay where they are and
            the real samples are cut as if they were adjacent; with fewer of them than parts,
            some parts are empty. By default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The permuted series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import permutation
        >>> view = permutation(torch.arange(6.0).expand(2, 3, -1))
        >>> view.sort().values[0, 0]  # no sample is lost
        tensor([0., 1., 2., 3., 4., 5.])

    References:
        Eldele et al., *Time-Series Representation Learning via Temporal and Contextual
        Contrasting*, 2021, <https://arxiv.org/abs/2106.14112>, section 3.1.
    """
    check_at_least("permutation", "max_segments", max_segments, 1)
    check_series("permutation", series, valid, generator, least_length=max_segments)
    batch = series.shape[0]
    share = uniform((batch, 1), series, generator)
    parts = (share * max_segments).long().clamp(max=max_segments - 1) + 1
    numbers = torch.arange(max_segments + 1, device=series.device)
    keys = uniform((batch, max_segments), series, generator)
    order = torch.where(numbers[:-1] < parts, keys, 2.0).argsort(-1)

    def kernel(together: Tensor, lengths: Tensor) -> Tensor:
        size, longer = lengths // parts, lengths % parts
        bounds = numbers * size + torch.minimum(numbers, longer)
        return reorder_segments(together, torch.minimum(bounds, lengths), order)

    return on_real_samples(series, valid, kernel)


def flip(
    series: Tensor,
    *,
    probability: float = 0.5,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Let time run backwards in some of the series.

    Args:
        series: `(batch, channels, length)`.
        probability: The chance of a series to be reversed, in [0, 1]. The default reverses every
            second one, so that the direction of a view says nothing.
        valid: True where a sample is real, `(batch, length)`. The others stay where they are and
            the real samples are reversed among themselves. By default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import flip
        >>> flip(torch.tensor([[[1.0, 2.0, 3.0]]]), probability=1.0)
        tensor([[[3., 2., 1.]]])

    References:
        The NC-VQVAE code, <https://arxiv.org/abs/2408.16613>.
    """
    check_series("flip", series, valid, generator)
    check_ratio("flip", "probability", probability)
    flipped = uniform((series.shape[0], 1), series, generator) < probability
    if valid is None:
        return torch.where(flipped[..., None], series.flip(-1), series)

    def kernel(together: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(together.shape[-1], device=together.device)
        source = torch.where(flipped, lengths - 1, 0).addcmul(1 - 2 * flipped.long(), steps)
        source = source.clamp_(min=0)
        return together.gather(2, source[:, None].expand_as(together))

    return on_real_samples(series, valid, kernel)
