"""How many frames are left after each halving: the sizes that encoders and decoders share."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_size,
)

__all__ = [
    "apply_layer",
    "check_rows",
    "check_valid",
    "checked_map",
    "downsampling_stages",
    "halvings",
    "least_batch",
    "places_valid",
    "zero_padding",
]


def downsampling_stages(frames: int, *, width: int) -> int:
    r"""Count the halvings that bring `frames` closest to `width`.

    $$n = \max(0, \mathrm{round}(\log_2(\mathrm{frames} / \mathrm{width})))$$

    but never more than $\lfloor \log_2 \mathrm{frames} \rfloor$, so that one frame is left.

    Departures: TimeVQVAE estimates the frames from the series length and `log2(n_fft) - 1` in
    place of the hop, which holds for two sizes of `n_fft` only; its 2023 code rounds the
    logarithm down, so 8 tokens asked give up to 15; and it halves at least once. Here the real
    number of frames is rounded to the nearest power of two, and a spectrogram that has no more
    frames than `width` keeps them all. The frames left lie between `width / sqrt(2)`, rounded
    down, and `width * sqrt(2)` whenever `frames >= width`.

    Args:
        frames: Frames of the spectrogram, at least 1.
        width: Frames wished for, at least 1.

    Returns:
        The number of halvings.

    Raises:
        ValueError: If `frames` or `width` is smaller than 1.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.nn import downsampling_stages
        >>> downsampling_stages(65, width=8), downsampling_stages(5, width=8)
        (3, 0)

    References:
        Lee et al., *Vector Quantized Time Series Generation with a Bidirectional Prior Model*,
        2023, <https://arxiv.org/abs/2303.04743>, section 3.
    """
    check_at_least("downsampling_stages", "frames", frames, 1)
    check_at_least("downsampling_stages", "width", width, 1)
    return max(0, min(round(math.log2(frames / width)), frames.bit_length() - 1))


def halvings(frames: int, *, width: int) -> list[int]:
    """List the frames before the first halving, after it, and so on: `[65, 32, 16, 8]`."""
    return [frames >> stage for stage in range(downsampling_stages(frames, width=width) + 1)]


def least_batch(grid: tuple[int, ...], *, training: bool) -> int:
    """Say how many batch entries BatchNorm asks for: two values in a channel, in training."""
    return 2 if training and math.prod(grid) == 1 else 1


def checked_map(
    who: str, name: str, maps: Tensor, sizes: tuple[int, int, int], *, least: int
) -> Tensor:
    """Ask for floats `(batch, channels, freq, frames)`: at least `least`, then `sizes`.

    Returns them in memory with the channels last, in which convolutions are faster on the CPU
    and tokens are rows.
    """
    check_axes(who, name, maps, "batch channels freq frames")
    check_floating(who, name, maps)
    check_at_least(who, "batch", maps.shape[0], least)
    for dim, size in enumerate(sizes, start=1):
        check_size(who, name, maps, dim, size)
    return maps.contiguous(memory_format=torch.channels_last)


def check_rows(
    who: str, name: str, rows: Tensor, sizes: tuple[int, int], *, axes: str, least: int = 1
) -> None:
    """Ask for floats `(batch, channels, places)`: at least `least`, then `sizes`."""
    check_axes(who, name, rows, axes)
    check_floating(who, name, rows)
    check_at_least(who, "batch", rows.shape[0], least)
    for dim, size in enumerate(sizes, start=1):
        check_size(who, name, rows, dim, size)


def check_valid(who: str, maps: Tensor, valid: Tensor | None) -> None:
    """Ask for a mask `(batch, last axis)` of rows or maps, or None."""
    if valid is not None:
        check_bool_mask(who, "valid", valid, (maps.shape[0], maps.shape[-1]))


def places_valid(valid: Tensor, places: int) -> Tensor:
    r"""Say which of `places` are real, `(batch, places)`, from the real frames `(batch, frames)`.

    Place $j$ of $n$ has the share $[j, j + 1) \, \mathrm{frames} / n$ of the time axis, and is real
    if its share meets a real frame: for padding behind a series, if it begins before the end.
    """
    if valid.shape[1] == places:
        return valid
    return functional.adaptive_max_pool1d(valid.float(), places) > 0


def apply_layer(layer: nn.Module, maps: Tensor, valid: Tensor | None) -> Tensor:
    """Apply a layer; a BatchNorm is told which places are real of `valid`, `(batch, frames)`."""
    if valid is not None and isinstance(layer, nn.modules.batchnorm._BatchNorm):
        normed: Tensor = layer(maps, places_valid(valid, maps.shape[-1]))
        return normed
    out: Tensor = layer(maps)
    return out


def zero_padding(maps: Tensor, valid: Tensor | None) -> Tensor:
    """Put zeros where `valid`, `(batch, frames)` of any number of frames, is False."""
    if valid is None:
        return maps
    real = places_valid(valid, maps.shape[-1]).view(len(maps), *[1] * (maps.ndim - 2), -1)
    return torch.where(real, maps, 0)  # `masked_fill` would forget channels_last
