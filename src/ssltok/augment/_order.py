"""Augmentations of the order: segments change places; all channels of a series alike."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.augment._draw import check_series, on_real_samples, uniform
from ssltok.augment._resample import reorder_segments

__all__ = ["slice_and_shuffle"]


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
