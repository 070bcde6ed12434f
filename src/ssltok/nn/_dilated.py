"""TS2Vec's encoder: a vector for each time step, from dilated residual convolutions."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_integer,
    check_ratio,
    check_size,
)
from ssltok.nn._noise import drop_elements

__all__ = ["DilatedConvEncoder"]


class DilatedConvEncoder(nn.Module):
    r"""Represent every time step in the context of its surroundings, without losing any step.

    Each step is projected to `hidden_dim` features. Steps in `mask` become 0 there, *behind* the
    projection, so that hidden and zero samples differ. Then come `depth` blocks with dilation
    $2^i$, $i = 0, 1, \dots$, and one more that widens to `dim`; a block adds (GELU, convolution,
    GELU, convolution) to its input, and the last one's shortcut is a 1x1 convolution. A result
    sees $2 (k - 1) (2^{d + 1} - 1) + 1$ steps for kernel size $k$ and depth $d$. Dropout of the
    result follows, in training.

    A step where `valid` is False is not read, at no depth (the authors' code hides missing steps
    behind the projection only, so that padding moves the result), and its result is 0. Padding
    gives what cutting the series gives. In training TS2Vec hides each step with probability one
    half (`torch.rand(batch, length) < 0.5`; `random_mask` hides an exact share); it represents a
    whole series by `max_pool`.

    Args:
        in_channels: Channels of the series.
        dim: Features of the result. The paper uses 320.
        hidden_dim: Features of the blocks. The paper uses 64.
        depth: Blocks before the last one. The paper uses 10.
        kernel_size: Size of the kernels, odd. The paper uses 3.
        dropout: Share of the result's elements dropped in training. The authors' code uses 0.1.

    Raises:
        ValueError: If a size is out of range, or an input does not fit.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import DilatedConvEncoder
        >>> encoder = DilatedConvEncoder(2, 12, hidden_dim=8, depth=3)
        >>> encoder(torch.randn(5, 2, 40)).shape
        torch.Size([5, 12, 40])

    References:
        Yue et al., *TS2Vec*, 2022, <https://arxiv.org/abs/2106.10466>, "Model
        Architecture", and its code.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int = 320,
        *,
        hidden_dim: int = 64,
        depth: int = 10,
        kernel_size: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "dim": dim, "hidden_dim": hidden_dim}
        for name, size in sizes.items():
            check_at_least("DilatedConvEncoder", name, size, 1)
        check_at_least("DilatedConvEncoder", "depth", depth, 0)
        check_ratio("DilatedConvEncoder", "dropout", dropout)
        check_integer("DilatedConvEncoder", "kernel_size", kernel_size)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"DilatedConvEncoder: kernel_size must be odd; got {kernel_size}")
        self.in_channels, self.dim, self.hidden_dim = in_channels, dim, hidden_dim
        self.depth, self.kernel_size, self.dropout = depth, kernel_size, dropout
        self.projection = nn.Conv1d(in_channels, hidden_dim, 1)
        self.blocks = nn.ModuleList(
            DilatedBlock(
                hidden_dim,
                dim if index == depth else hidden_dim,
                kernel_size,
                index,
                mapped=index == depth,
            )
            for index in range(depth + 1)
        )

    def forward(
        self,
        series: Tensor,
        valid: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Encode `(batch, in_channels, length)` as `(batch, dim, length)`.

        Args:
            series: The series.
            valid: Boolean `(batch, length)`, True where a sample is real. By default all are.
            mask: Boolean `(batch, length)`, True where a step is hidden. By default none is.
            generator: Source of the dropout; None is torch's own.
        """
        who = "DilatedConvEncoder"
        check_axes(who, "series", series, "batch channels length")
        check_floating(who, "series", series)
        check_size(who, "series", series, 1, self.in_channels)
        check_at_least(who, "batch", series.shape[0], 1)
        check_at_least(who, "length", series.shape[2], 1)
        places = (series.shape[0], series.shape[2])
        padding = None
        if valid is not None:
            check_bool_mask(who, "valid", valid, places)
            padding = ~valid.unsqueeze(1)
            series = series.masked_fill(padding, 0)
        x = self.projection(series)
        if mask is not None:
            check_bool_mask(who, "mask", mask, places)
            x = x.masked_fill(mask.unsqueeze(1), 0)
        for block in self.blocks:
            x = block(x, padding)
        if padding is not None:
            x = x.masked_fill(padding, 0)
        if self.training:
            x = drop_elements(x, self.dropout, generator=generator)
        out: Tensor = x
        return out


class DilatedBlock(nn.Module):
    """Two dilated convolutions beside a shortcut; the length stays."""

    def __init__(
        self, before: int, width: int, kernel_size: int, level: int, *, mapped: bool
    ) -> None:
        super().__init__()
        self.dilation = 2**level
        reach = self.dilation * (kernel_size // 2)
        self.first = nn.Conv1d(before, width, kernel_size, dilation=self.dilation, padding=reach)
        self.second = nn.Conv1d(width, width, kernel_size, dilation=self.dilation, padding=reach)
        self.shortcut = nn.Conv1d(before, width, 1) if mapped else None

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Add to `(batch, before, length)` what the convolutions make of it."""
        residual = x if self.shortcut is None else self.shortcut(x)
        for convolution in (self.first, self.second):
            x = functional.gelu(x)
            if padding is not None:
                x = x.masked_fill(padding, 0)
            x = self._convolve(convolution, x)
        return x + residual

    def _convolve(self, convolution: nn.Conv1d, x: Tensor) -> Tensor:
        """Convolve; of a series no longer than the dilation, by the middle of the kernel alone."""
        if torch.compiler.is_exporting() or self.dilation < x.shape[2]:
            wide: Tensor = convolution(x)
            return wide
        middle = convolution.weight.shape[2] // 2  # the rest sees the zeros around the series
        return functional.conv1d(x, convolution.weight.narrow(2, middle, 1), convolution.bias)
