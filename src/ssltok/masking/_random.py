"""Masks of single tokens: a fixed share (MAE) or a share drawn from a schedule (MaskGIT)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_bool_mask, check_ratio
from ssltok._shared.ranking import count_share, mask_lowest

__all__ = ["RandomMask", "random_mask", "schedule_mask"]


class RandomMask(NamedTuple):
    """A mask and what an encoder of the visible tokens alone needs.

    Attributes:
        mask: `(batch, tokens)`, True where a token is hidden.
        visible: `(batch, visible)`, the places of the visible tokens in ascending order, -1 where a
            row has fewer.
        restore: `(batch, tokens)`: the slot of each token in `visible`, or the number of slots for
            a token that is masked or padding, so that `cat([encoded, mask_token], 1)` gathered by
            `restore` is the whole sequence again.
    """

    mask: Tensor
    visible: Tensor
    restore: Tensor


def check_grid(who: str, shape: tuple[int, int], valid: Tensor | None) -> None:
    """Ask for a batch and a length of one or more, and for a `valid` mask of that shape."""
    if len(shape) != 2:
        raise ValueError(f"{who}: shape must be (batch, tokens); got {tuple(shape)}")
    check_at_least(who, "batch", shape[0], 1)
    check_at_least(who, "tokens", shape[1], 1)
    if valid is not None:
        check_bool_mask(who, "valid", valid, shape)


def start(
    shape: tuple[int, int], valid: Tensor | None, device: torch.device | str | None
) -> tuple[Tensor, Tensor]:
    """Return which positions may be masked, `(batch, tokens)`, and how many, `(batch,)`."""
    if valid is None:
        among = torch.ones(shape, dtype=torch.bool, device=device)
    else:
        among = valid.to(device) if device is not None else valid
    return among, among.sum(dim=-1)


def random_mask(
    shape: tuple[int, int],
    *,
    ratio: float,
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> RandomMask:
    r"""Mask the same share of every sequence, uniformly at random and exactly (MAE).

    A row with $n$ valid tokens gets $\lceil \text{ratio} \cdot n \rceil$ masked ones, at least
    one and never padding. For rows without padding that is MAE's count.

    Args:
        shape: `(batch, tokens)`.
        ratio: Share of the valid tokens to mask, in [0, 1]. MAE uses 0.75.
        valid: `(batch, tokens)`, boolean, True where a token is real; all by default.
        device: Where the masks are made; that of `valid`, or the CPU, by default.
        generator: Source of randomness, on the same device.

    Returns:
        A `RandomMask` of the mask, the places of the visible tokens, and the way back.

    Raises:
        ValueError: If the shape is empty, the ratio leaves [0, 1], or `valid` does not fit.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> from ssltok.masking import random_mask
        >>> masked = random_mask((2, 8), ratio=0.75)
        >>> masked.mask.sum(dim=1), masked.visible.shape
        (tensor([6, 6]), torch.Size([2, 2]))

    References:
        He et al., *Masked autoencoders*, 2021, <https://arxiv.org/abs/2111.06377>, section 3.
    """
    check_grid("random_mask", shape, valid)
    check_ratio("random_mask", "ratio", ratio)
    among, sizes = start(shape, valid, device)
    scores = torch.rand(shape, device=among.device, generator=generator)
    mask = mask_lowest(scores, count_share(ratio, sizes), among)
    seen = among & ~mask
    slots = shape[1] - int(count_share(ratio, torch.tensor(shape[1], device="cpu")))
    places = torch.arange(shape[1], device=mask.device).expand(shape)
    slot = torch.where(seen, seen.cumsum(dim=-1) - 1, slots)
    visible = places.new_full((shape[0], slots + 1), -1).scatter_(1, slot, places)[:, :slots]
    return RandomMask(mask, visible, slot)


def schedule_mask(
    shape: tuple[int, int],
    *,
    schedule: Callable[[Tensor], Tensor],
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Mask a share drawn anew for each sequence: the training mask of MaskGIT.

    For each row, $r \sim U[0, 1)$ and $\lceil \gamma(r) \, n \rceil$ of its $n$ valid tokens are
    masked, chosen uniformly: at least one, never padding. With the cosine schedule the mean share
    is $2/\pi$ (plus about $1/2n$ from rounding up). TimeVQVAE and others keep that number of
    tokens visible instead, which masks a mean share of $1 - 2/\pi$ and hardly ever everything.

    Args:
        shape: `(batch, tokens)`.
        schedule: $\gamma$, from progress `(batch,)` to the share masked, such as
            `cosine_schedule`.
        valid: `(batch, tokens)`, boolean, True where a token is real; all by default.
        device: Where the masks are made; that of `valid`, or the CPU, by default.
        generator: Source of randomness, on the same device.

    Returns:
        A boolean mask, `(batch, tokens)`, True where masked.

    Raises:
        ValueError: If the shape is empty, `valid` does not fit, or the schedule returns another
            shape.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> from ssltok.masking import linear_schedule, schedule_mask
        >>> mask = schedule_mask((100, 8), schedule=linear_schedule)
        >>> bool((mask.sum(dim=1) >= 1).all())
        True

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.1.
    """
    check_grid("schedule_mask", shape, valid)
    among, sizes = start(shape, valid, device)
    progress = torch.rand(shape[0], device=among.device, generator=generator)
    share = schedule(progress)
    if share.shape != progress.shape:
        raise ValueError(
            "schedule_mask: schedule must keep the shape of progress; "
            f"got {tuple(share.shape)} for {tuple(progress.shape)}"
        )
    scores = torch.rand(shape, device=among.device, generator=generator)
    return mask_lowest(scores, count_share(share, sizes), among)
