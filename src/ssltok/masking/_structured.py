"""Masks with a purpose: two halves, whole channels, the future; and BERT's corruption."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_codes,
    check_number,
    check_ratio,
)
from ssltok._shared.ranking import count_share, mask_lowest
from ssltok.masking._blocks import sides
from ssltok.masking._random import check_grid, random_mask, start

__all__ = ["SplitMask", "bert_corrupt", "channel_mask", "forecast_mask", "split_mask"]


class SplitMask(NamedTuple):
    """Two masks: every valid token is hidden by exactly one of them.

    Attributes:
        mask_a: `(batch, tokens)`, True where the first hides.
        mask_b: `(batch, tokens)`, True where the second hides.
    """

    mask_a: Tensor
    mask_b: Tensor


def split_mask(
    shape: tuple[int, int],
    *,
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> SplitMask:
    """Split the tokens of every row into two random halves that predict each other (SplitMask).

    `mask_a` hides one half and `mask_b` the other; of an odd number `mask_a` hides one more.

    Args:
        shape: `(batch, tokens)`.
        valid: `(batch, tokens)`, boolean, True where a token is real; all by default.
        device: Where the masks are made; that of `valid`, or the CPU, by default.
        generator: Source of randomness, on the same device.

    Returns:
        A `SplitMask` of the two masks.

    Raises:
        ValueError: If the shape is empty or `valid` does not fit.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> from ssltok.masking import split_mask
        >>> mask_a, mask_b = split_mask((1, 7))
        >>> mask_a.sum(), mask_b.sum(), bool((mask_a ^ mask_b).all())
        (tensor(4), tensor(3), True)

    References:
        El-Nouby et al., *Are large-scale datasets necessary for self-supervised pre-training?*,
        2021, <https://arxiv.org/abs/2112.10740>.
    """
    check_grid("split_mask", shape, valid)
    among, _ = start(shape, valid, device)
    mask = random_mask(shape, ratio=0.5, valid=among, generator=generator).mask
    return SplitMask(mask, among & ~mask)


def channel_mask(
    shape: tuple[int, int, int],
    *,
    ratio: float,
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Mask whole channels of every series, $\lceil \text{ratio} \cdot c \rceil$ of its $c$.

    Args:
        shape: `(batch, channels, length)`.
        ratio: Share of the channels to mask, in [0, 1]; at least one is.
        valid: Boolean, of that shape, True where a value is real; all by default. A channel
            without a real value does not count.
        device: Where the mask is made; that of `valid`, or the CPU, by default.
        generator: Source of randomness, on the same device.

    Returns:
        A boolean mask, `(batch, channels, length)`, True where masked.

    Raises:
        ValueError: If the shape is empty, `valid` does not fit, or the ratio leaves [0, 1].
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> from ssltok.masking import channel_mask
        >>> channel_mask((1, 4, 5), ratio=0.5).sum()
        tensor(10)
    """
    if len(shape) != 3:
        raise ValueError(
            f"channel_mask: shape must be (batch, channels, length); got {tuple(shape)}"
        )
    check_at_least("channel_mask", "every side of shape", min(shape), 1)
    check_ratio("channel_mask", "ratio", ratio)
    if valid is None:
        valid = torch.ones(shape, dtype=torch.bool, device=device)
    check_bool_mask("channel_mask", "valid", valid, shape)
    valid = valid if device is None else valid.to(device)
    real = valid.any(-1)
    scores = torch.rand(real.shape, device=real.device, generator=generator)
    return mask_lowest(scores, count_share(ratio, real.sum(-1)), real)[..., None] & valid


def forecast_mask(
    shape: tuple[int, int],
    *,
    horizon: int,
    grid: tuple[int, int] | None = None,
    valid: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Mask the last `horizon` frames of every row, counted back from its last valid one.

    Args:
        shape: `(batch, tokens)`.
        horizon: Frames to mask, at least 1 and at most as many as there are.
        grid: `(freq, frames)` with `tokens = freq * frames`; one row by default.
        valid: `(batch, tokens)`, boolean, True where a token is real; all by default.
        device: Where the mask is made; that of `valid`, or the CPU, by default.

    Returns:
        A boolean mask, `(batch, tokens)`, True where masked.

    Raises:
        ValueError: If the shape is empty, `grid` or `valid` does not fit, or `horizon` is out of
            range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> from ssltok.masking import forecast_mask
        >>> forecast_mask((1, 6), horizon=2, grid=(2, 3)).int()
        tensor([[0, 1, 1, 0, 1, 1]], dtype=torch.int32)
    """
    check_grid("forecast_mask", shape, valid)
    rows, columns = sides("forecast_mask", shape, grid)
    check_number("forecast_mask", "horizon", horizon)
    if not 1 <= horizon <= columns:
        raise ValueError(f"forecast_mask: horizon must lie in [1, {columns}]; got {horizon}")
    among, _ = start(shape, valid, device)
    frames = torch.arange(columns, device=among.device)
    real = among.view(shape[0], rows, columns).any(1)
    last = torch.where(real, frames, -1).amax(-1, keepdim=True)
    return (frames > last - horizon).repeat(1, rows) & among


def bert_corrupt(
    codes: Tensor,
    mask: Tensor,
    *,
    codebook_size: int,
    masked_ratio: float = 0.8,
    random_ratio: float = 0.1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Corrupt the selected codes as BERT does: `[MASK]`, another code, or left as it is.

    The loss is over all of `mask`, so that the model cannot tell which visible codes to trust.
    Departure: the other code is drawn uniformly from the codebook without the true one.

    Args:
        codes: `(batch, tokens)`, int64.
        mask: `(batch, tokens)`, boolean, True where selected; BERT selects 15 %.
        codebook_size: Number of codes, at least 2; also the index of `[MASK]`.
        masked_ratio: Probability that a selected code becomes `[MASK]`; BERT uses 0.8.
        random_ratio: Probability that it becomes another code; BERT uses 0.1.
        generator: Source of randomness, on the device of `codes`.

    Returns:
        The corrupted codes, `(batch, tokens)`.

    Raises:
        ValueError: If shapes or dtypes do not fit or the ratios are out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.masking import bert_corrupt
        >>> codes, mask = torch.tensor([[0, 1, 1]]), torch.tensor([[True, False, True]])
        >>> bert_corrupt(codes, mask, codebook_size=2, masked_ratio=1.0, random_ratio=0.0)
        tensor([[2, 1, 2]])
        >>> bert_corrupt(codes, mask, codebook_size=2, masked_ratio=0.0, random_ratio=1.0)
        tensor([[1, 1, 0]])

    References:
        Devlin et al., *BERT*, 2018, <https://arxiv.org/abs/1810.04805>, section 3.1.
    """
    check_axes("bert_corrupt", "codes", codes, "batch tokens")
    check_codes("bert_corrupt", "codes", codes)
    check_bool_mask("bert_corrupt", "mask", mask, codes.shape)
    check_at_least("bert_corrupt", "codebook_size", codebook_size, 2)
    check_ratio("bert_corrupt", "masked_ratio", masked_ratio)
    check_ratio("bert_corrupt", "random_ratio", random_ratio)
    check_ratio("bert_corrupt", "masked_ratio + random_ratio", masked_ratio + random_ratio)
    coin = torch.rand(codes.shape, device=codes.device, generator=generator)
    step = torch.randint(1, codebook_size, codes.shape, device=codes.device, generator=generator)
    other = (codes + step) % codebook_size
    changed = torch.where(coin < masked_ratio + random_ratio, other, codes)
    changed = torch.where(coin < masked_ratio, codebook_size, changed)
    return torch.where(mask, changed, codes)
