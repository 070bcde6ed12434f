"""Convolutions with three rows, which on maps of a single row do not multiply by padding."""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["RowConv2d", "RowConvTranspose2d"]


class RowConv2d(nn.Conv2d):
    """`nn.Conv2d` of a kernel with three rows, one of them above and one below the map.

    A map of one row (the lowest frequency alone) meets the middle row of the kernel and padding:
    zeros, or with `padding_mode="replicate"` the same row twice more. The result is the same, for
    a third of the products.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve `(batch, channels, rows, columns)`."""
        if maps.shape[2] != 1:
            return super().forward(maps)
        columns = int(self.padding[1])
        if self.padding_mode == "replicate":
            maps = functional.pad(maps, (columns, columns, 0, 0), mode="replicate")
            weight, columns = self.weight.sum(dim=2, keepdim=True), 0
        else:
            weight = self.weight[:, :, 1:2]
        return functional.conv2d(maps, weight, self.bias, self.stride, (0, columns))


class RowConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` of a kernel with three rows that keeps the rows; see `RowConv2d`."""

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve `(batch, channels, rows, columns)`."""
        if maps.shape[2] != 1 or output_size is not None:
            return super().forward(maps, output_size)
        return functional.conv_transpose2d(
            maps,
            self.weight[:, :, 1:2],
            self.bias,
            self.stride,
            (0, int(self.padding[1])),
            self.output_padding,
        )
