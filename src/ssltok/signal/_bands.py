"""A spectrogram in two bands, low and high frequencies, and back in one."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_axes, check_number

__all__ = ["Bands", "merge_bands", "split_bands"]


class Bands(NamedTuple):
    """The two parts of a spectrogram, `(batch, 2*channels, freq, frames)` each.

    Attributes:
        low: The frequencies below the edge.
        high: The edge and those above.
    """

    low: Tensor
    high: Tensor


def split_bands(spectrogram: Tensor, *, edge: int) -> Bands:
    """Cut a spectrogram below bin `edge`: low holds bins 0 ... `edge - 1`, high the others.

    Both are views, no value is copied. The published models cut at `edge=1`: their low band is
    the moving average alone. The series of one band is
    `ISTFT(n_fft=..., band=(0, edge))(bands.low, length)`, and the two add up to the series.

    Args:
        spectrogram: `(batch, 2*channels, freq, frames)`.
        edge: The first bin of the high band, 1 ... `freq - 1`, so that no band is empty.

    Returns:
        The low and the high band.

    Raises:
        ValueError: If `spectrogram` has another shape, or if a band would be empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.signal import split_bands
        >>> low, high = split_bands(torch.zeros(2, 6, 5, 9), edge=1)
        >>> low.shape, high.shape
        (torch.Size([2, 6, 1, 9]), torch.Size([2, 6, 4, 9]))

    References:
        Lee, Malacarne and Aune, *Vector Quantized Time Series Generation with a Bidirectional
        Prior Model*, 2023, <https://arxiv.org/abs/2303.04743>, section 3.1.
    """
    check_axes("split_bands", "spectrogram", spectrogram, "batch 2*channels freq frames")
    freq = spectrogram.shape[2]
    check_number("split_bands", "edge", edge)
    if not 1 <= edge < freq:
        raise ValueError(f"split_bands: edge must lie in 1 ... {freq - 1}; got {edge}")
    return Bands(spectrogram[:, :, :edge], spectrogram[:, :, edge:])


def merge_bands(low: Tensor, high: Tensor) -> Tensor:
    """Put the two bands of `split_bands` together again.

    Args:
        low: The low band, `(batch, 2*channels, freq, frames)`.
        high: The high band, of the same shape but for `freq`.

    Returns:
        The spectrogram, `(batch, 2*channels, freq, frames)`.

    Raises:
        ValueError: If a band has another shape, or if they differ in more than `freq`.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.signal import merge_bands, split_bands
        >>> spectrogram = torch.arange(30.0).reshape(1, 2, 5, 3)
        >>> torch.equal(merge_bands(*split_bands(spectrogram, edge=2)), spectrogram)
        True
    """
    check_axes("merge_bands", "low", low, "batch 2*channels freq frames")
    check_axes("merge_bands", "high", high, "batch 2*channels freq frames")
    if low.shape[:2] != high.shape[:2] or low.shape[3] != high.shape[3]:
        raise ValueError(
            "merge_bands: low and high must share batch, 2*channels and frames; "
            f"got {tuple(low.shape)} and {tuple(high.shape)}"
        )
    return torch.cat([low, high], dim=2)
