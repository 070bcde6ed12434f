"""A residual network over series: convolutions, BatchNorm, shortcuts."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_integer,
    check_size,
)
from ssltok.nn._state_names import store_as
from ssltok.nn._valid_batch_norm import ValidBatchNorm1d

__all__ = ["ResNet1d"]


class ResNet1d(nn.Module):
    r"""Encode series of any length by residual convolutions over time.

    A stem (convolution, BatchNorm, ReLU), then stages of blocks. A block adds to its input what
    (convolution, BatchNorm, ReLU, convolution, BatchNorm) make of it, and a ReLU follows; where
    stride or width change, the shortcut is a 1x1 convolution with BatchNorm. The first block of a
    stage has the stage's stride. The defaults are ResNet-18 for series, without its max-pooling:
    one token for 16 samples. VIbCReg's encoder for series is `widths=(64, 64, 64, 64)`,
    `blocks=(1, 1, 1, 1)`; for series of a few dozen samples lower the strides.

    A series of `length` gives $\lceil \mathrm{length} / \mathrm{stride} \rceil$ tokens. Samples
    where `valid` is False are not read, at no depth, and do not count in the statistics of
    BatchNorm; for padding behind a series, its tokens are those of the series cut there. Tokens
    without any real sample are 0; `token_valid` says which they are, and a pooling leaves them
    out:

    ```python
    pooled = mean_pool(encoder(series, valid), encoder.token_valid(valid), channel_dim=1)
    ```

    Args:
        in_channels: Channels of the series.
        widths: Channels of each stage.
        blocks: Blocks of each stage, 1 or more.
        strides: Stride of each stage; by default 1, then 2.
        kernel_size: Size of the kernels in the blocks, odd. The papers use 3.
        stem_kernel_size: Size of the stem's kernel, odd. The paper uses 7.
        stem_stride: Stride of the stem. The paper uses 2, and 2 more in its max-pooling.

    Attributes:
        dim: Channels of the result, the last of `widths`.
        stride: Samples from token to token.

    Raises:
        ValueError: If a size is out of range, the lists differ in length, the input is not
            `(batch, in_channels, length)`, or one token of one series is left in training
            (BatchNorm has no variance then).
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import ResNet1d, mean_pool
        >>> encoder = ResNet1d(3, widths=(8, 16), blocks=(1, 1))
        >>> tokens = encoder(torch.randn(2, 3, 50))
        >>> tokens.shape, mean_pool(tokens, channel_dim=1).shape
        (torch.Size([2, 16, 13]), torch.Size([2, 16]))

    References:
        He et al., *Deep residual learning for image recognition*, 2015,
        <https://arxiv.org/abs/1512.03385>, section 4.1, table 1.
        Wang et al., *Time series classification from scratch*, 2017,
        <https://arxiv.org/abs/1611.06455>, section II-C.
        Lee and Aune, *VIbCReg*, 2021, <https://arxiv.org/abs/2109.00783>.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        strides: Sequence[int] | None = None,
        kernel_size: int = 3,
        stem_kernel_size: int = 7,
        stem_stride: int = 2,
    ) -> None:
        super().__init__()
        given = {"widths": widths, "blocks": blocks, "strides": strides}
        for name, numbers in given.items():
            if not isinstance(numbers, Sequence) and numbers is not None:
                raise ValueError(
                    f"ResNet1d: {name} must be a sequence, one for a stage; got {numbers}"
                )
        if strides is None:
            strides = [1, *[2] * (len(widths) - 1)]
        check_at_least("ResNet1d", "stages", len(widths), 1)
        if not len(widths) == len(blocks) == len(strides):
            raise ValueError(
                "ResNet1d: widths, blocks and strides must be equally many; "
                f"got {len(widths)}, {len(blocks)} and {len(strides)}"
            )
        check_at_least("ResNet1d", "in_channels", in_channels, 1)
        for name, sizes in (("widths", widths), ("blocks", blocks), ("strides", strides)):
            check_at_least("ResNet1d", name, min(sizes), 1)
        check_at_least("ResNet1d", "stem_stride", stem_stride, 1)
        for name, size in (("kernel_size", kernel_size), ("stem_kernel_size", stem_kernel_size)):
            check_integer("ResNet1d", name, size)
            if size < 1 or size % 2 == 0:
                raise ValueError(f"ResNet1d: {name} must be odd; got {size}")
        self.in_channels, self.dim = in_channels, widths[-1]
        self.widths, self.blocks, self.strides = tuple(widths), tuple(blocks), tuple(strides)
        self.kernel_size, self.stem_kernel_size = kernel_size, stem_kernel_size
        self.stem_stride = stem_stride
        self.stride = stem_stride * math.prod(strides)
        self.stem = ConvNorm(in_channels, widths[0], stem_kernel_size, stride=stem_stride)
        self.body = nn.ModuleList()
        store_as(self, body="blocks")
        before = widths[0]
        for width, count, stride in zip(widths, blocks, strides, strict=True):
            for index in range(count):
                step = stride if index == 0 else 1
                self.body.append(ResidualBlock(before, width, kernel_size, stride=step))
                before = width

    def tokens(self, length: int) -> int:
        """Count the tokens of a series of `length` samples."""
        return -(-length // self.stride)

    def token_valid(self, valid: Tensor) -> Tensor:
        """Say which tokens hold a real sample: `(batch, tokens)` from `(batch, length)`.

        Raises:
            ValueError: If `valid` is not boolean, or not of that shape.
            TypeError: If it is not a tensor.
        """
        check_axes("ResNet1d", "valid", valid, "batch length")
        check_bool_mask("ResNet1d", "valid", valid, valid.shape)
        return any_of(valid, self.stride)

    def forward(self, series: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode `(batch, in_channels, length)` as `(batch, dim, tokens)`.

        Args:
            series: The series.
            valid: Boolean `(batch, length)`, True where a sample is real. By default all are.
        """
        check_axes("ResNet1d", "series", series, "batch channels length")
        check_floating("ResNet1d", "series", series)
        check_size("ResNet1d", "series", series, 1, self.in_channels)
        tokens = series.shape[0] * self.tokens(series.shape[2])
        check_at_least("ResNet1d", "batch * tokens", tokens, 2 if self.training else 1)
        if valid is not None:
            check_bool_mask("ResNet1d", "valid", valid, (series.shape[0], series.shape[2]))
            series = series.masked_fill(~valid.unsqueeze(1), 0)
        x, valid = self.stem(series, valid)
        x = x.relu()
        for block in self.body:
            x, valid = block(x, valid)
        out: Tensor = x
        return out


class ConvNorm(nn.Module):
    """A convolution without bias and a BatchNorm; what is not real stays 0."""

    def __init__(self, before: int, width: int, kernel_size: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.convolution = nn.Conv1d(
            before, width, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
        )
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out", nonlinearity="relu")
        self.norm = ValidBatchNorm1d(width)

    def forward(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return `(batch, width, tokens)` and which tokens are real."""
        x = self.convolution(x)
        if valid is None:
            return self.norm(x), None
        valid = any_of(valid, self.stride)
        return self.norm(x, valid), valid


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, width: int, kernel_size: int, *, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(before, width, kernel_size, stride=stride)
        self.second = ConvNorm(width, width, kernel_size, stride=1)
        self.shortcut: ConvNorm | None = None
        if stride > 1 or before != width:
            self.shortcut = ConvNorm(before, width, 1, stride=stride)

    def forward(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return `(batch, width, tokens)` and which tokens are real."""
        residual = x if self.shortcut is None else self.shortcut(x, valid)[0]
        x, valid = self.first(x, valid)
        x, valid = self.second(x.relu(), valid)
        return torch.relu(x + residual), valid


def any_of(valid: Tensor, stride: int) -> Tensor:
    """Say of each `stride` samples whether any is real; the last group may be shorter."""
    if stride == 1:
        return valid
    # By index, not `unflatten`: so a graph can be exported for all lengths at once.
    tokens = (valid.shape[1] - 1) // stride + 1
    first = torch.arange(tokens, device=valid.device).unsqueeze(1) * stride
    places = first + torch.arange(stride, device=valid.device)
    return functional.pad(valid, (0, stride - 1))[:, places].any(dim=2)
