"""One vector for a whole series that still says when: means over stretches of time."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_bool_mask, check_floating, check_integer
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["stretch_pool"]


def stretch_pool(latents: Tensor, valid: Tensor | None = None, *, stretches: int) -> Tensor:
    r"""Average the vectors of the real places over each of several stretches of time.

    Stretch $s$ of $S$ holds the frames $\lfloor s n / S \rfloor$ to
    $\lceil (s + 1) n / S \rceil - 1$ of a row's $n$ real ones, as in adaptive average pooling: all
    are equally long up to a frame, neighbours may share one, and with fewer frames than stretches
    some are there several times. A mean over the whole series does not know what comes first.

    Args:
        latents: `(batch, dim, *axes, frames)`, time last.
        valid: Boolean, `(batch, *axes, frames)`: True where a place is real; what stands elsewhere
            is not read, NaN included. A frame is real where any of its places is.
        stretches: $S$, 1 or more; 1 is the mean over the real places.

    Returns:
        `(batch, stretches * dim)`, stretch by stretch; zeros where nothing is real.

    Raises:
        ValueError: If `latents` is not floating point, has fewer than three axes or is empty,
            `valid` does not fit it, or `stretches` is below 1.
        TypeError: If an input is not a tensor, or `stretches` no integer.

    Example:
        >>> import torch
        >>> from ssltok.nn import stretch_pool
        >>> stretch_pool(torch.tensor([[[1.0, 2.0, 6.0, 8.0]]]), stretches=2)
        tensor([[1.5000, 7.0000]])

    References:
        Lazebnik et al., *Beyond bags of features: spatial pyramid matching*, 2006 (means over parts
        of an image in place of one over the whole).
    """
    who = "stretch_pool"
    check_floating(who, "latents", latents)
    check_at_least(who, "axes of latents", latents.ndim, 3)
    check_at_least(who, "elements", latents.numel(), 1)
    check_integer(who, "stretches", stretches)
    check_at_least(who, "stretches", stretches, 1)
    places = (len(latents), *latents.shape[2:])
    if valid is None:
        valid = torch.ones(places, dtype=torch.bool, device=latents.device)
    check_bool_mask(who, "valid", valid, places)
    real = valid.reshape(len(latents), -1, places[-1])
    frames = real.any(dim=1)
    rank, count = frames.cumsum(dim=1) - 1, frames.sum(dim=1)[:, None, None]
    stretch = torch.arange(stretches, device=latents.device)[:, None]
    begin, end = stretch * count // stretches, -(-(stretch + 1) * count // stretches)
    inside = (rank[:, None] >= begin) & (rank[:, None] < end) & frames[:, None]
    with full_precision(latents):
        wide = upcast(latents).flatten(2, -2) if latents.ndim > 3 else upcast(latents)[:, :, None]
        weights = inside.to(wide.dtype)
        total = wide.masked_fill(~real[:, None], 0).sum(dim=2) @ weights.mT
        number = weights @ real.sum(dim=1).to(wide.dtype)[:, :, None]
        means = total.mT / number.clamp(min=1)
    return means.flatten(1).to(latents.dtype)
