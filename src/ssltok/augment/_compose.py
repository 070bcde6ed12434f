"""Augmentations in a row, and the sets that were published under a name."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ssltok._shared.described import described
from ssltok.augment._amplitude import amplitude_resize, gaussian_noise
from ssltok.augment._order import slice_and_shuffle
from ssltok.augment._warp import window_warp

__all__ = ["NC_VQVAE_GAUSS", "NC_VQVAE_SLICE", "NC_VQVAE_WARP", "Augmentation", "compose"]


class Augmentation(Protocol):
    """Anything that makes a random view of a batch of series, of the same shape.

    Every augmentation here is one; `functools.partial` gives it other options, and any function
    of this signature is one too.
    """

    def __call__(
        self,
        series: Tensor,
        /,
        *,
        valid: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return a view of `series`, `(batch, channels, length)`."""
        ...


@described
def compose(*augmentations: Augmentation) -> Augmentation:
    """Apply augmentations one after the other, the first one first.

    The result can be pickled when its parts can, so it may cross into worker processes.

    Args:
        augmentations: Functions of `(series, *, valid, generator)`, one or more.

    Returns:
        One such function.

    Raises:
        ValueError: If there is none.
        TypeError: If one cannot be called.

    Example:
        >>> import functools, torch
        >>> from ssltok.augment import compose, gaussian_noise, window_warp
        >>> view = compose(window_warp, functools.partial(gaussian_noise, std=0.1))
        >>> view(torch.zeros(2, 3, 16), generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 16])
    """
    if not augmentations:
        raise ValueError("compose: augmentations must be one or more; got none")
    things: Sequence[object] = augmentations
    for thing in things:
        if not callable(thing):
            raise TypeError(f"compose: augmentations must be functions; got {type(thing).__name__}")
    return partial(_apply_in_turn, augmentations)


def _apply_in_turn(
    augmentations: Sequence[Augmentation],
    series: Tensor,
    /,
    *,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    for augmentation in augmentations:
        series = augmentation(series, valid=valid, generator=generator)
    return series


NC_VQVAE_WARP: Augmentation = compose(window_warp, amplitude_resize)
"""The set "warp" of the experiments of NC-VQVAE, <https://arxiv.org/abs/2408.16613>, with the
options of the authors' code, which are the defaults here: `window_warp` of 0.4 of the series by a
factor from 0.9 to 2.0, then `amplitude_resize` by a factor around 1 of standard deviation 0.2."""

NC_VQVAE_SLICE: Augmentation = compose(slice_and_shuffle)
"""The set "slice" of the experiments of NC-VQVAE, <https://arxiv.org/abs/2408.16613>:
`slice_and_shuffle` in 4 segments."""

NC_VQVAE_GAUSS: Augmentation = compose(gaussian_noise)
"""The set "gauss" of the experiments of NC-VQVAE, <https://arxiv.org/abs/2408.16613>:
`gaussian_noise` of standard deviation 0.05, in the series' unit."""
