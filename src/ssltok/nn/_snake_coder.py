"""The encoder and decoder of TimeVQVAE's later code: Snake, separable convolutions."""

from torch import Generator, Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok._shared.numerics import upcast
from ssltok.nn._geometry import (
    apply_layer,
    check_valid,
    checked_map,
    halvings,
    least_batch,
    zero_padding,
)
from ssltok.nn._noise import drop_elements
from ssltok.nn._snake import Snake
from ssltok.nn._valid_batch_norm import ValidBatchNorm2d

__all__ = ["SnakeDecoder", "SnakeEncoder"]


class SnakeEncoder(nn.Module):
    """Turn a spectrogram into a grid of unit vectors with few weights; only time shrinks.

    Convolutions are separable: one kernel per channel, then a 1x1 convolution. The first halving
    leads to `base_dim` channels, each further one doubles them and is followed by `blocks`
    residual blocks; a last residual block leads to `dim` channels, which are scaled to norm 1.

    Departures from the authors' code: the number of halvings follows the real number of frames
    (see `downsampling_stages`), and without any the first convolution keeps its size; no weight
    normalisation (a BatchNorm follows nearly every convolution); no bias where the next layer
    removes or repeats it, nor at the end of a residual; Snake's frequency stays positive.

    Args:
        in_channels: Channels of the spectrogram: twice the channels of the series.
        dim: Channels of the result. The authors use 128.
        bins: Frequency bins of the spectrogram.
        frames: Frames of the spectrogram.
        width: Frames wished for in the result. The authors use 8 (low), 32 (high frequencies).
        blocks: Residual blocks after each doubling. The authors use 2.
        base_dim: Channels after the first halving. The authors use 4.
        dropout: Share of a residual's elements dropped in training. The authors use 0.3.
        mix_freq: Whether kernels reach over 3 frequencies (the authors' high-frequency branch)
            or see one frequency at a time (their low-frequency branch).
        generator: Source of Snake's start values, on the CPU; None is torch's own.

    Attributes:
        grid: Frequency bins and frames of the result, `(freq, frames)`.

    Raises:
        ValueError: If a size or ratio is out of its range, or an input has other sizes.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import SnakeEncoder
        >>> encoder = SnakeEncoder(2, 16, bins=3, frames=129, width=32)
        >>> encoder.grid
        (3, 32)
        >>> latents = encoder(torch.randn(4, 2, 3, 129))
        >>> torch.allclose(latents.norm(dim=1), torch.ones(4, 3, 32))
        True

    References:
        Lee et al., *Vector Quantized Time Series Generation with a Bidirectional Prior Model*,
        2023, <https://arxiv.org/abs/2303.04743>; the code published with it since 2024.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        bins: int,
        frames: int,
        width: int,
        blocks: int = 2,
        base_dim: int = 4,
        dropout: float = 0.3,
        mix_freq: bool = True,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = _sizes("SnakeEncoder", in_channels, dim, bins, frames, width, blocks, base_dim)
        check_ratio("SnakeEncoder", "dropout", dropout)
        self.in_channels, self.dim, self.bins, self.frames = in_channels, dim, bins, frames
        self.width, self.blocks, self.base_dim = width, blocks, base_dim
        self.dropout, self.mix_freq = dropout, mix_freq
        self.grid = (bins, sizes[-1])
        freq_kernel = 3 if mix_freq else 1
        self._input = (in_channels, bins, frames)
        self.layers = nn.ModuleList(
            [
                _resize(in_channels, base_dim, freq_kernel, halve=len(sizes) > 1),
                *_act(base_dim, generator),
            ]
        )
        channels = base_dim
        for _ in sizes[2:]:
            self.layers += [
                _resize(channels, 2 * channels, freq_kernel, halve=True),
                *_act(2 * channels, generator),
            ]
            channels *= 2
            self.layers += [
                SnakeBlock(channels, channels, dropout, freq_kernel, generator)
                for _ in range(blocks)
            ]
        self.layers.append(SnakeBlock(channels, dim, dropout, freq_kernel, generator))

    def forward(
        self,
        spectrogram: Tensor,
        valid: Tensor | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Encode `(batch, in_channels, bins, frames)` as `(batch, dim, *grid)`.

        Args:
            spectrogram: The spectrogram.
            valid: Boolean `(batch, frames)`, True where a frame is real: what stands elsewhere is
                not read, does not count in the statistics of BatchNorm, and becomes zeros. By
                default all are.
            generator: Source of dropout in training; None is torch's own.
        """
        least = least_batch(self.grid, training=self.training)
        spectrogram = checked_map(
            "SnakeEncoder", "spectrogram", spectrogram, self._input, least=least
        )
        check_valid("SnakeEncoder", spectrogram, valid)
        latents = _run(self.layers, spectrogram, valid, generator)
        return functional.normalize(upcast(latents), dim=1)


class SnakeDecoder(nn.Module):
    """Turn a grid of vectors back into a spectrogram of exactly the size that was encoded.

    The mirror image of `SnakeEncoder`: a residual block from `dim` to the channels that the
    encoder ended with, then `blocks` residual blocks and a doubling of the frames that halves
    the channels, until the last doubling, to `in_channels`, and one more separable convolution.

    Departures from the authors' code: theirs doubles once more, so that its spectrogram has
    twice the frames, and shrinks the *series* to length by linear interpolation. Here each
    doubling returns exactly the frames that the encoder had before the halving it undoes, and
    the last convolution keeps the size. Other departures as in `SnakeEncoder`.

    Args:
        in_channels: Channels of the spectrogram that the encoder read and this module returns.
        dim: Channels of the vectors. The authors use 128.
        bins: Frequency bins of the spectrogram.
        frames: Frames of the spectrogram.
        width: The encoder's `width`.
        blocks: Residual blocks before each doubling but the last. The authors use 2.
        base_dim: The encoder's `base_dim`. The authors use 4.
        dropout: Share of a residual's elements dropped in training. The authors use 0.3.
        mix_freq: Whether kernels reach over 3 frequencies or see one at a time.
        generator: Source of Snake's start values, on the CPU; None is torch's own.

    Attributes:
        grid: Frequency bins and frames of the input, `(freq, frames)`.

    Raises:
        ValueError: If a size or ratio is out of its range, or an input has other sizes.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import SnakeDecoder
        >>> decoder = SnakeDecoder(2, 16, bins=3, frames=129, width=32)
        >>> decoder(torch.randn(4, 16, *decoder.grid)).shape
        torch.Size([4, 2, 3, 129])

    References:
        See `SnakeEncoder`.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        bins: int,
        frames: int,
        width: int,
        blocks: int = 2,
        base_dim: int = 4,
        dropout: float = 0.3,
        mix_freq: bool = True,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = _sizes("SnakeDecoder", in_channels, dim, bins, frames, width, blocks, base_dim)
        check_ratio("SnakeDecoder", "dropout", dropout)
        self.in_channels, self.dim, self.bins, self.frames = in_channels, dim, bins, frames
        self.width, self.blocks, self.base_dim = width, blocks, base_dim
        self.dropout, self.mix_freq = dropout, mix_freq
        self.grid = (bins, sizes[-1])
        freq_kernel = 3 if mix_freq else 1
        self._input = (dim, *self.grid)
        targets = sizes[-2::-1]
        channels = base_dim << max(0, len(targets) - 1)
        self.layers = nn.ModuleList([SnakeBlock(dim, channels, dropout, freq_kernel, generator)])
        for target in targets[:-1]:
            self.layers += [
                SnakeBlock(channels, channels, dropout, freq_kernel, generator)
                for _ in range(blocks)
            ]
            self.layers += [
                _grow(channels, channels // 2, freq_kernel, odd=target % 2),
                *_act(channels // 2, generator),
            ]
            channels //= 2
        if targets:
            self.layers.append(
                _grow(channels, in_channels, freq_kernel, odd=targets[-1] % 2, bias=True)
            )
        else:
            self.layers.append(_same(channels, in_channels, freq_kernel, bias=True))
        self.layers.append(_same(in_channels, in_channels, freq_kernel, bias=True))

    def forward(
        self,
        latents: Tensor,
        valid: Tensor | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Decode `(batch, dim, *grid)` as `(batch, in_channels, bins, frames)`.

        Args:
            latents: The vectors.
            valid: Boolean `(batch, frames of grid)`, True where a vector is real; the others count
                as zeros, and not at all in the statistics of BatchNorm. By default all are.
            generator: Source of dropout in training; None is torch's own.
        """
        least = least_batch(self.grid, training=self.training)
        latents = checked_map("SnakeDecoder", "latents", latents, self._input, least=least)
        check_valid("SnakeDecoder", latents, valid)
        return _run(self.layers, latents, valid, generator).contiguous()


class SnakeBlock(nn.Module):
    """Add to the input what two separable convolutions make of it."""

    def __init__(
        self, narrow: int, wide: int, dropout: float, freq_kernel: int, generator: Generator | None
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.shortcut = nn.Identity() if narrow == wide else nn.Conv2d(narrow, wide, 1)
        self.residual = nn.Sequential(
            Snake(narrow, generator=generator),
            _same(narrow, wide, freq_kernel, bias=False),
            *_act(wide, generator),
            _same(wide, wide, freq_kernel, bias=False),
        )

    def forward(self, maps: Tensor, valid: Tensor | None, generator: Generator | None) -> Tensor:
        """Turn `(batch, narrow, freq, frames)` into `(batch, wide, freq, frames)`."""
        added = maps
        for layer in self.residual:
            added = apply_layer(layer, added, valid)
        if self.training:
            added = drop_elements(added, self.dropout, generator=generator)
        return zero_padding(self.shortcut(maps) + added, valid)


def _run(
    layers: nn.ModuleList, maps: Tensor, valid: Tensor | None, generator: Generator | None
) -> Tensor:
    """Apply the layers; padding enters as zeros, and every norm and block makes it zeros again."""
    maps = zero_padding(maps, valid)
    for layer in layers:
        if isinstance(layer, SnakeBlock):
            maps = layer(maps, valid, generator)
        else:
            maps = apply_layer(layer, maps, valid)
    return maps


def _sizes(
    who: str, in_channels: int, dim: int, bins: int, frames: int, width: int, blocks: int, base: int
) -> list[int]:
    sizes = {"in_channels": in_channels, "dim": dim, "bins": bins, "frames": frames, "width": width}
    for name, size in (sizes | {"base_dim": base}).items():
        check_at_least(who, name, size, 1)
    check_at_least(who, "blocks", blocks, 0)
    return halvings(frames, width=width)


def _act(dim: int, generator: Generator | None) -> list[nn.Module]:
    return [ValidBatchNorm2d(dim), Snake(dim, generator=generator)]


def _resize(narrow: int, wide: int, freq_kernel: int, *, halve: bool) -> nn.Sequential:
    """Halve the frames, or keep them; the edges repeat the first and last value."""
    depthwise = nn.Conv2d(
        narrow,
        narrow,
        (freq_kernel, 4 if halve else 3),
        stride=(1, 2 if halve else 1),
        padding=(freq_kernel // 2, 1),
        padding_mode="replicate",
        groups=narrow,
        bias=False,
    )
    return nn.Sequential(depthwise, nn.Conv2d(narrow, wide, 1, bias=False))


def _same(narrow: int, wide: int, freq_kernel: int, *, bias: bool) -> nn.Sequential:
    """Keep the frames."""
    padding = (freq_kernel // 2, 1)
    depthwise = nn.Conv2d(
        narrow, narrow, (freq_kernel, 3), padding=padding, groups=narrow, bias=False
    )
    return nn.Sequential(depthwise, nn.Conv2d(narrow, wide, 1, bias=bias))


def _grow(
    wide: int, narrow: int, freq_kernel: int, *, odd: int, bias: bool = False
) -> nn.Sequential:
    """Double the frames, and add one more if they were odd."""
    depthwise = nn.ConvTranspose2d(
        wide,
        wide,
        (freq_kernel, 4),
        stride=(1, 2),
        padding=(freq_kernel // 2, 1),
        output_padding=(0, odd),
        groups=wide,
        bias=False,
    )
    return nn.Sequential(depthwise, nn.Conv2d(wide, narrow, 1, bias=bias))
