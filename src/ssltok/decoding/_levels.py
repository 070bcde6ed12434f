"""Tokens of several codes: level by level, coarse ones first, each by the one decoder."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_axes, check_codes

__all__ = ["decode_levels"]


def decode_levels(
    decode: Callable[[Tensor, int, Tensor], Tensor], tokens: Tensor, *, mask_index: int
) -> Tensor:
    """Fill tokens of several codes, `(batch, tokens, codes)`, coarse to fine.

    Level after level is one run of any kind: schedule, order, guidance and `settle` are the
    caller's, and may differ by level. A code once known is given to all finer levels.

    Args:
        decode: From the codes of one level `(batch, tokens)`, the level and the coarser codes
            `(batch, tokens, level)` to complete codes of the level: `iterative_decode` with the
            model of that level.
        tokens: `(batch, tokens, codes)`, int64: `mask_index` where unknown, -1 where padding.
        mask_index: The index of `[MASK]` in `tokens`, the size of the largest codebook; a `decode`
            whose level has fewer codes clamps it to its own.

    Returns:
        The tokens, `(batch, tokens, codes)`, with nothing masked.

    Raises:
        ValueError: If the tokens are not int64 `(batch, tokens, codes)`, or a level comes back in
            another shape.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.decoding import decode_levels
        >>> def one_more(codes, level, coarser):  # stands for a decoder
        ...     return codes.where(codes < 9, level if level == 0 else coarser[..., -1] + 1)
        >>> decode_levels(one_more, torch.tensor([[[9, 9, 9], [4, 9, 9]]]), mask_index=9)
        tensor([[[0, 1, 2],
                 [4, 5, 6]]])

    References:
        Borsos et al., *SoundStorm*, 2023, <https://arxiv.org/abs/2305.09636>, section 3.3.
    """
    check_axes("decode_levels", "tokens", tokens, "batch tokens codes")
    check_codes("decode_levels", "tokens", tokens)
    filled = tokens[..., :0]
    for level, part in enumerate(tokens.unbind(dim=-1)):
        codes = decode(part, level, filled)
        if codes.shape != part.shape:
            raise ValueError(
                f"decode_levels: decode must return shape {tuple(part.shape)} at level {level}; "
                f"got {tuple(codes.shape)}"
            )
        filled = torch.cat([filled, codes[..., None]], dim=-1)
    return filled
