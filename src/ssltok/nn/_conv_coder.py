"""A coder of series by residual convolutions over time, and its mirror."""

from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_integer
from ssltok.nn._geometry import (
    apply_layer,
    check_rows,
    check_valid,
    downsampling_stages,
    least_batch,
    zero_padding,
)
from ssltok.nn._resnet import ResidualBlock, ResNet1d
from ssltok.nn._valid_batch_norm import ValidBatchNorm1d

__all__ = ["ConvDecoder1d", "ConvEncoder1d"]


class ConvEncoder1d(nn.Module):
    r"""Turn a series into a row of vectors by a `ResNet1d` that halves the time axis.

    There are `downsampling_stages(length, width=width)` halvings, each the first block of a stage
    of `blocks` residual blocks; without any there is one stage that keeps the length. A 1x1
    convolution leads to `dim` channels and a BatchNorm to values of about unit variance, which
    ReLU alone would keep positive. A halving of an odd length rounds up, so no sample is lost.

    Args:
        in_channels: Channels of the series.
        dim: Features of a vector.
        length: Samples of the series.
        width: Places wished for in the result.
        hidden_dim: Channels of every stage, as in VIbCReg's encoder for series.
        blocks: Residual blocks of a stage. ResNet-18 uses 2.
        kernel_size: Size of the kernels in the blocks, odd. The papers use 3.

    Attributes:
        grid: Places of the result, `(frames,)`.

    Raises:
        ValueError: If a size is out of range, or an input has other sizes.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import ConvEncoder1d
        >>> encoder = ConvEncoder1d(3, 16, length=50, width=8)
        >>> encoder.grid, encoder(torch.randn(4, 3, 50)).shape
        ((7,), torch.Size([4, 16, 7]))

    References:
        He et al., *Deep residual learning for image recognition*, 2015,
        <https://arxiv.org/abs/1512.03385>.
        Lee and Aune, *VIbCReg*, 2021, <https://arxiv.org/abs/2109.00783>.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        length: int,
        width: int,
        hidden_dim: int = 64,
        blocks: int = 2,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        lengths = _lengths("ConvEncoder1d", in_channels, dim, length, width, hidden_dim, blocks)
        _check_odd("ConvEncoder1d", kernel_size)
        self.in_channels, self.dim, self.length, self.width = in_channels, dim, length, width
        self.hidden_dim, self.blocks, self.kernel_size = hidden_dim, blocks, kernel_size
        self.grid = (lengths[-1],)
        stages = max(1, len(lengths) - 1)
        self.trunk = ResNet1d(
            in_channels,
            widths=[hidden_dim] * stages,
            blocks=[blocks] * stages,
            strides=[2 if len(lengths) > 1 else 1] * stages,
            kernel_size=kernel_size,
            stem_stride=1,
        )
        self.outward = nn.Conv1d(hidden_dim, dim, 1, bias=False)
        self.norm = ValidBatchNorm1d(dim)

    def forward(self, series: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode `(batch, in_channels, length)` as `(batch, dim, frames)`.

        Args:
            series: The series.
            valid: Boolean `(batch, length)`, True where a sample is real; the others are not read
                and do not count in the statistics of BatchNorm. Places without any real sample
                are 0. By default all are.
        """
        who, sizes = "ConvEncoder1d", (self.in_channels, self.length)
        least = least_batch(self.grid, training=self.training)
        check_rows(who, "series", series, sizes, axes="batch channels length", least=least)
        check_valid(who, series, valid)
        real = None if valid is None else self.trunk.token_valid(valid)
        return apply_layer(self.norm, self.outward(self.trunk(series, valid)), real)


class ConvDecoder1d(nn.Module):
    """Turn a row of vectors back into a series of exactly the length that was encoded.

    The mirror image of `ConvEncoder1d`: a 1x1 convolution with BatchNorm and ReLU, then for each
    halving `blocks` residual blocks and a doubling (transposed convolution with kernel 4 and
    stride 2, BatchNorm, ReLU; one sample is cut where the length was odd), and a last convolution
    with the kernel of the encoder's stem. Without any halving the residual blocks stand alone.

    Args:
        in_channels: Channels of the series that the encoder read and this module returns.
        dim: Features of a vector.
        length: Samples of the series.
        width: The encoder's `width`.
        hidden_dim: Channels of every stage.
        blocks: Residual blocks of a stage.
        kernel_size: Size of the kernels in the blocks, odd.

    Attributes:
        grid: Places of the input, `(frames,)`.

    Raises:
        ValueError: If a size is out of range, or an input has other sizes.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import ConvDecoder1d
        >>> decoder = ConvDecoder1d(3, 16, length=50, width=8)
        >>> decoder(torch.randn(4, 16, *decoder.grid)).shape
        torch.Size([4, 3, 50])

    References:
        See `ConvEncoder1d`.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        length: int,
        width: int,
        hidden_dim: int = 64,
        blocks: int = 2,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        lengths = _lengths("ConvDecoder1d", in_channels, dim, length, width, hidden_dim, blocks)
        _check_odd("ConvDecoder1d", kernel_size)
        self.in_channels, self.dim, self.length, self.width = in_channels, dim, length, width
        self.hidden_dim, self.blocks, self.kernel_size = hidden_dim, blocks, kernel_size
        self.grid = (lengths[-1],)
        layers: list[nn.Module] = [
            nn.Conv1d(dim, hidden_dim, 1, bias=False),
            *_norm_act(hidden_dim),
        ]
        for target in lengths[-2::-1]:
            layers += _blocks(hidden_dim, kernel_size, blocks)
            layers += [Doubling(hidden_dim, target), *_norm_act(hidden_dim)]
        if len(lengths) == 1:
            layers += _blocks(hidden_dim, kernel_size, blocks)
        layers += [nn.Conv1d(hidden_dim, in_channels, 7, padding=3)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Decode `(batch, dim, frames)` as `(batch, in_channels, length)`.

        Args:
            latents: The vectors.
            valid: Boolean `(batch, frames)`, True where a vector is real; the others count as
                zeros, and not at all in the statistics of BatchNorm. By default all are.
        """
        who, sizes = "ConvDecoder1d", (self.dim, *self.grid)
        least = least_batch(self.grid, training=self.training)
        check_rows(who, "latents", latents, sizes, axes="batch dim frames", least=least)
        check_valid(who, latents, valid)
        x = zero_padding(latents, valid)
        for layer in self.layers:
            if isinstance(layer, ResidualBlock):
                x, _ = layer(x, valid)
            else:
                x = apply_layer(layer, x, valid)
                if isinstance(layer, Doubling) and valid is not None:
                    valid = valid.repeat_interleave(2, dim=1)[:, : layer.target]
        return x


class Doubling(nn.ConvTranspose1d):
    """A transposed convolution that doubles the places, and cuts the last if `target` is odd."""

    def __init__(self, dim: int, target: int) -> None:
        super().__init__(dim, dim, 4, stride=2, padding=1, bias=False)
        self.target = target

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Turn `(batch, dim, places)` into `(batch, dim, target)`."""
        return super().forward(x, output_size)[..., : self.target].contiguous()


def _blocks(dim: int, kernel_size: int, blocks: int) -> list[nn.Module]:
    return [ResidualBlock(dim, dim, kernel_size, stride=1) for _ in range(blocks)]


def _norm_act(dim: int) -> list[nn.Module]:
    return [ValidBatchNorm1d(dim), nn.ReLU()]


def _check_odd(who: str, kernel_size: int) -> None:
    check_integer(who, "kernel_size", kernel_size)
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"{who}: kernel_size must be odd; got {kernel_size}")


def _lengths(
    who: str, in_channels: int, dim: int, length: int, width: int, hidden_dim: int, blocks: int
) -> list[int]:
    """List the samples before the first halving, after it, and so on: `[50, 25, 13, 7]`."""
    sizes = {"in_channels": in_channels, "dim": dim, "length": length, "width": width}
    for name, size in (sizes | {"hidden_dim": hidden_dim, "blocks": blocks}).items():
        check_at_least(who, name, size, 1)
    stages = downsampling_stages(length, width=width)
    return [-(-length // 2**stage) for stage in range(stages + 1)]
