"""The encoder and decoder of NC-VQVAE and TimeVQVAE (2023): convolutions on spectrograms."""

from itertools import pairwise

from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok.nn._geometry import (
    apply_layer,
    check_valid,
    checked_map,
    halvings,
    least_batch,
    zero_padding,
)
from ssltok.nn._row_conv import RowConv2d, RowConvTranspose2d
from ssltok.nn._valid_batch_norm import ValidBatchNorm2d

__all__ = ["SpectrogramDecoder", "SpectrogramEncoder"]


class SpectrogramEncoder(nn.Module):
    """Turn a spectrogram into a grid of vectors; only its time axis shrinks.

    A stage halves the frames: convolution with kernel (3, 4) and stride (1, 2), BatchNorm,
    LeakyReLU. There are `downsampling_stages(frames, width=width)` of them. Then come `blocks`
    residual blocks, `x + (LeakyReLU, 3x3 convolution, BatchNorm, LeakyReLU, 1x1 convolution)`,
    each followed by a BatchNorm; so a quantizer sees values of about unit variance.

    Departures from the authors' code: the number of stages follows the real number of frames
    (see `downsampling_stages`), and without any stage one 3x3 convolution takes their place;
    convolutions whose bias the next BatchNorm would remove have none.

    Args:
        in_channels: Channels of the spectrogram: twice the channels of the series.
        dim: Channels of the result. The authors use 64.
        bins: Frequency bins of the spectrogram.
        frames: Frames of the spectrogram.
        width: Frames wished for in the result. The authors use 8 for low frequencies and for
            whole spectrograms, 32 for high frequencies.
        blocks: Residual blocks. The authors use 4.

    Attributes:
        grid: Frequency bins and frames of the result, `(freq, frames)`.

    Raises:
        ValueError: If a size is smaller than 1 (`blocks`: 0), or an input has other sizes.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import SpectrogramEncoder
        >>> encoder = SpectrogramEncoder(2, 16, bins=5, frames=65, width=8)
        >>> encoder.grid
        (5, 8)
        >>> encoder(torch.randn(3, 2, 5, 65)).shape
        torch.Size([3, 16, 5, 8])

    References:
        Lee et al., *Vector Quantized Time Series Generation with a Bidirectional Prior Model*,
        2023, <https://arxiv.org/abs/2303.04743>, appendix.
        Mathisen et al., *NC-VQVAE*, 2024, <https://arxiv.org/abs/2408.16613>.
    """

    def __init__(
        self, in_channels: int, dim: int, *, bins: int, frames: int, width: int, blocks: int = 4
    ) -> None:
        super().__init__()
        sizes = _sizes("SpectrogramEncoder", in_channels, dim, bins, frames, width, blocks)
        self.in_channels, self.dim, self.bins, self.frames = in_channels, dim, bins, frames
        self.width, self.blocks = width, blocks
        self.grid = (bins, sizes[-1])
        self._input = (in_channels, bins, frames)
        widths = [in_channels, *[dim] * max(1, len(sizes) - 1)]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [_shrink(narrow, wide, halve=len(sizes) > 1), *_norm_act(dim)]
        for _ in range(blocks):
            layers += [ResidualBlock(dim, norm=True), ValidBatchNorm2d(dim)]
        self.layers = nn.Sequential(*layers)

    def forward(self, spectrogram: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode `(batch, in_channels, bins, frames)` as `(batch, dim, *grid)`.

        Args:
            spectrogram: The spectrogram.
            valid: Boolean `(batch, frames)`, True where a frame is real: what stands elsewhere is
                not read, and does not count in the statistics of BatchNorm. By default all are.
        """
        least = least_batch(self.grid, training=self.training)
        spectrogram = checked_map(
            "SpectrogramEncoder", "spectrogram", spectrogram, self._input, least=least
        )
        check_valid("SpectrogramEncoder", spectrogram, valid)
        return _run(self.layers, spectrogram, valid)


class SpectrogramDecoder(nn.Module):
    """Turn a grid of vectors back into a spectrogram of exactly the size that was encoded.

    The mirror image of `SpectrogramEncoder`: residual blocks, then as many doublings
    (transposed convolution with kernel (3, 4) and stride (1, 2), BatchNorm, LeakyReLU) as there
    were halvings, the last of them plain and down to `in_channels`, and one more convolution
    "not to miss reconstruction details".

    Departures from the authors' code: theirs doubles once more and shrinks the result to the
    right size by bilinear interpolation. Here each doubling returns exactly the frames that the
    encoder had before the halving it undoes (odd sizes through `output_padding`), so nothing is
    interpolated, and the last convolution is 3x3 at full size. Biases that the next BatchNorm
    would remove are left out.

    Args:
        in_channels: Channels of the spectrogram that the encoder read and this module returns.
        dim: Channels of the vectors. The authors use 64.
        bins: Frequency bins of the spectrogram.
        frames: Frames of the spectrogram.
        width: The encoder's `width`.
        blocks: Residual blocks. The authors use 4.

    Attributes:
        grid: Frequency bins and frames of the input, `(freq, frames)`.

    Raises:
        ValueError: If a size is smaller than 1 (`blocks`: 0), or an input has other sizes.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import SpectrogramDecoder
        >>> decoder = SpectrogramDecoder(2, 16, bins=5, frames=65, width=8)
        >>> decoder(torch.randn(3, 16, *decoder.grid)).shape
        torch.Size([3, 2, 5, 65])

    References:
        See `SpectrogramEncoder`.
    """

    def __init__(
        self, in_channels: int, dim: int, *, bins: int, frames: int, width: int, blocks: int = 4
    ) -> None:
        super().__init__()
        sizes = _sizes("SpectrogramDecoder", in_channels, dim, bins, frames, width, blocks)
        self.in_channels, self.dim, self.bins, self.frames = in_channels, dim, bins, frames
        self.width, self.blocks = width, blocks
        self.grid = (bins, sizes[-1])
        self._input = (dim, *self.grid)
        layers: list[nn.Module] = []
        for _ in range(blocks):
            layers += [ResidualBlock(dim, norm=False), ValidBatchNorm2d(dim)]
        targets = sizes[-2::-1]
        for target in targets[:-1]:
            layers += [_grow(dim, dim, odd=target % 2, bias=False), *_norm_act(dim)]
        if targets:
            layers += [_grow(dim, in_channels, odd=targets[-1] % 2, bias=True)]
        else:
            layers += [RowConv2d(dim, in_channels, 3, padding=1)]
        layers += [RowConv2d(in_channels, in_channels, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Decode `(batch, dim, *grid)` as `(batch, in_channels, bins, frames)`.

        Args:
            latents: The vectors.
            valid: Boolean `(batch, frames of grid)`, True where a vector is real; the others count
                as zeros, and not at all in the statistics of BatchNorm. By default all are.
        """
        least = least_batch(self.grid, training=self.training)
        latents = checked_map("SpectrogramDecoder", "latents", latents, self._input, least=least)
        check_valid("SpectrogramDecoder", latents, valid)
        return _run(self.layers, latents, valid).contiguous()


class ResidualBlock(nn.Module):
    """Add to the input what two convolutions make of it."""

    def __init__(self, dim: int, *, norm: bool) -> None:
        super().__init__()
        normed = [ValidBatchNorm2d(dim)] if norm else []
        self.residual = nn.Sequential(
            nn.LeakyReLU(),
            RowConv2d(dim, dim, 3, padding=1, bias=not norm),
            *normed,
            nn.LeakyReLU(inplace=True),
            nn.Conv2d(dim, dim, 1, bias=False),
        )

    def forward(self, maps: Tensor, valid: Tensor | None = None) -> Tensor:
        """Keep the shape `(batch, dim, freq, frames)`."""
        added = maps
        for layer in self.residual:
            added = apply_layer(layer, added, valid)
        return maps + added


def _run(layers: nn.Sequential, maps: Tensor, valid: Tensor | None) -> Tensor:
    """Apply the layers; padding enters as zeros, and every BatchNorm makes it zeros again."""
    maps = zero_padding(maps, valid)
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            maps = layer(maps, valid)
        else:
            maps = apply_layer(layer, maps, valid)
    return maps


def _sizes(
    who: str, in_channels: int, dim: int, bins: int, frames: int, width: int, blocks: int
) -> list[int]:
    sizes = {"in_channels": in_channels, "dim": dim, "bins": bins, "frames": frames, "width": width}
    for name, size in sizes.items():
        check_at_least(who, name, size, 1)
    check_at_least(who, "blocks", blocks, 0)
    return halvings(frames, width=width)


def _shrink(narrow: int, wide: int, *, halve: bool) -> nn.Conv2d:
    kernel, stride = ((3, 4), (1, 2)) if halve else ((3, 3), (1, 1))
    return RowConv2d(
        narrow, wide, kernel, stride, padding=(1, 1), padding_mode="replicate", bias=False
    )


def _grow(wide: int, narrow: int, *, odd: int, bias: bool) -> nn.ConvTranspose2d:
    return RowConvTranspose2d(
        wide, narrow, (3, 4), (1, 2), padding=(1, 1), output_padding=(0, odd), bias=bias
    )


def _norm_act(dim: int) -> list[nn.Module]:
    return [ValidBatchNorm2d(dim), nn.LeakyReLU(inplace=True)]
