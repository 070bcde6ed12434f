"""What every quantizer returns, and what every quantizer can do."""

from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import Protocol, runtime_checkable

__all__ = ["Quantized", "Quantizer"]


class Quantized(NamedTuple):
    """The result of a quantizer's forward: vectors to go on with, their codes, the loss to add.

    Attributes:
        vectors: The quantized latents, in the layout of the latents. They are exactly
            `decode(codes)`, with a gradient to the latents; 0 at padding. (In training, quantizers
            that put noise or latents in their place, and say so, have others.) Their dtype is that
            of the quantizer's codebook, float32 unless the module was converted. They may be a view
            of what the backward pass needs: in training, do not change them in place.
        codes: int64, the layout of the latents without its channels; -1 at padding. Quantizers
            with several codes for one vector (heads, levels, groups) append their axes last.
        loss: A scalar, weighted already and never NaN; 0 for a quantizer without a loss.
    """

    vectors: Tensor
    codes: Tensor
    loss: Tensor


@runtime_checkable
class Quantizer(Protocol):
    """The interface that all quantizers share; nothing inherits from it.

    `forward`, `encode` and `decode` read, `update` writes, and so do `initialize` and `revive`,
    which are called by choice. A quantizer has all of them: where there is nothing to learn, to
    start or to revive they do nothing, so that a training loop stays the same when the quantizer is
    exchanged, and wrappers (residual, grouped, projected) hand them on to their parts. Wrappers ask
    for every member when they are built.

    Attributes:
        dim: Channels of the latents.
        channel_dim: Where the channels are in the latents.
        code_shape: The axes that the codes of one vector have: () for one code, `(levels,)` for
            residual ones, `(groups,)` for grouped ones, `(levels, groups)` for groups of levels.
        codes_per_token: The number of codes of one vector, the product of `code_shape`.
        codebook_size: The number of codes, the largest where a vector's codes have several; all
            codes are in `[0, codebook_size)`.
        codebook_sizes: The number of codes for each of the `codes_per_token` codes, in the order of
            `codes.flatten(-len(code_shape))`.
        learns_by_vectors: Whether parameters learn from the gradient of the vectors, as those of
            a projection do, and not from the loss or `update` alone. A wrapper whose parts differ
            says yes if one does.
        idle: Whether `update` does nothing; a wrapper then spares the work before it.
    """

    @property
    def dim(self) -> int: ...

    @property
    def channel_dim(self) -> int: ...

    @property
    def code_shape(self) -> tuple[int, ...]: ...

    @property
    def codes_per_token(self) -> int: ...

    @property
    def codebook_size(self) -> int: ...

    @property
    def codebook_sizes(self) -> tuple[int, ...]: ...

    @property
    def learns_by_vectors(self) -> bool: ...

    @property
    def idle(self) -> bool: ...

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

    def initialize(
        self,
        latents: Tensor,
        valid: Tensor | None = None,
        *,
        steps: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:
        """Start from some latents, once, before training."""
        ...

    def revive(
        self,
        latents: Tensor,
        codes: Tensor,
        *,
        share: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Move dead codes to latents of this step, after `update`.

        It returns which codes were moved, `(codebook_size,)`; wrappers a tuple with one such for
        each quantizer inside that has codes to move; an empty tuple where nothing can be.
        """
        ...
