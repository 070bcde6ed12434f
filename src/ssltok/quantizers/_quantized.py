"""What every quantizer returns, and what every quantizer can do."""

from typing import NamedTuple

from torch import Tensor
from typing_extensions import Protocol, runtime_checkable

__all__ = ["Quantized", "Quantizer"]


class Quantized(NamedTuple):
    """The result of a quantizer's forward: vectors to go on with, their codes, the loss to add.

    Attributes:
        vectors: The quantized latents, in the layout of the latents. They are exactly
            `decode(codes)`, with a gradient to the latents; 0 at padding. Their dtype is that of
            the quantizer's codebook, float32 unless the module was converted. They may be a view of
            what the backward pass needs: in training, do not change them in place.
        codes: int64, the layout of the latents without its channels; -1 at padding. Quantizers
            with several codes for one vector (heads, levels, groups) append their axis last.
        loss: A scalar, weighted already and never NaN; 0 for a quantizer without a loss.
    """

    vectors: Tensor
    codes: Tensor
    loss: Tensor


@runtime_checkable
class Quantizer(Protocol):
    """The interface that all quantizers share; nothing inherits from it.

    `forward`, `encode` and `decode` read, `update` writes. A quantizer that keeps no statistics has
    an `update` that does nothing, so that a training loop stays the same when the quantizer is
    exchanged, and wrappers (residual, grouped, projected) hand it on to their parts.

    Attributes:
        dim: Channels of the latents.
        channel_dim: Where the channels are in the latents.
        codebook_size: The number of codes; codes are in `[0, codebook_size)`.
    """

    @property
    def dim(self) -> int: ...

    @property
    def channel_dim(self) -> int: ...

    @property
    def codebook_size(self) -> int: ...

    @property
    def codebook(self) -> Tensor:
        """The vectors that codes stand for, `(codebook_size, dim)`, or one such for each part."""
        ...

    def __call__(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        """Quantize latents; `valid` marks what is real, in the shape of the codes' positions."""
        ...

    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes only; never random."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes, 0 for -1, with the channels at `channel_dim`."""
        ...

    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Learn from the latents of a step and their codes, once, after the optimizer's step."""
        ...
