"""Gaps of series as they occur: single values, stretches, blocks of channels, whole channels."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_bool_mask, check_ratio

__all__ = ["gap_mask"]

KINDS = 5  # of gaps, with none among them


def gap_mask(
    shape: tuple[int, int, int],
    *,
    ratio: float,
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Hide part of each series, so that a model learns to read what is left.

    Each series has one of five kinds of gap, equally likely, and a share $s \sim U[0, r)$:

    - none: the series is whole;
    - points: every value is hidden with probability $s$;
    - stretches: in each channel $\lceil s\, l \rceil$ samples in a row, somewhere;
    - blocks: such a stretch at one place for all channels, in each with probability 1/2;
    - channels: every channel is hidden with probability $s$.

    A series that would have nothing left stays whole. The draws do not depend on `valid`.

    Args:
        shape: `(batch, channels, length)`.
        ratio: $r$, the largest share that is hidden, in [0, 1].
        valid: Boolean, of that shape, True where a value is real; all by default. Others are never
            masked.
        device: Where the mask is made; that of `valid`, or the CPU, by default.
        generator: Source of randomness, on the same device.

    Returns:
        A boolean mask, `(batch, channels, length)`, True where hidden.

    Raises:
        ValueError: If the shape is empty, `valid` does not fit, or the ratio leaves [0, 1].
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.masking import gap_mask
        >>> mask = gap_mask((100, 3, 20), ratio=0.8, generator=torch.Generator().manual_seed(0))
        >>> mask.shape, 15 < int((~mask.flatten(1).any(dim=1)).sum()) < 35
        (torch.Size([100, 3, 20]), True)
    """
    if len(shape) != 3:
        raise ValueError(f"gap_mask: shape must be (batch, channels, length); got {tuple(shape)}")
    check_at_least("gap_mask", "every side of shape", min(shape), 1)
    check_ratio("gap_mask", "ratio", ratio)
    if valid is not None:
        check_bool_mask("gap_mask", "valid", valid, shape)
    batch, channels, length = shape
    if device is None and valid is not None:
        device = valid.device

    def rand(*sides: int) -> Tensor:
        return torch.rand(sides, device=device, generator=generator)

    kind = torch.randint(KINDS, (batch, 1, 1), device=device, generator=generator)
    share = ratio * rand(batch, 1, 1)
    points = rand(*shape) < share
    size = (share * length).ceil()
    room = length + 1 - size
    times = torch.arange(length, device=device)
    starts = (rand(batch, channels, 1) * room).floor()
    stretches = (times >= starts) & (times < starts + size)
    blocks = stretches[:, :1] & (rand(batch, channels, 1) < 0.5)
    silent = (rand(batch, channels, 1) < share).expand(shape)
    mask = torch.zeros(shape, dtype=torch.bool, device=device)
    for number, gaps in enumerate((points, stretches, blocks, silent), start=1):
        mask = mask | (gaps & (kind == number))
    among = torch.ones_like(mask) if valid is None else valid.to(mask.device)
    left = (among & ~mask).flatten(1).any(dim=1)
    return mask & among & left[:, None, None]
