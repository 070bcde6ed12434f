"""What the decoder is for: redraw a region, fill in what is missing, continue into the future."""

from collections.abc import Callable

from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_codes,
    check_number,
)

__all__ = ["forecast", "impute", "inpaint"]

Decode = Callable[[Tensor], Tensor]


def inpaint(decode: Decode, tokens: Tensor, where: Tensor, *, mask_index: int) -> Tensor:
    """Redraw the tokens of a region and keep the others.

    Args:
        decode: From tokens with `mask_index` where unknown to complete tokens:
            `functools.partial(iterative_decode, logits_fn, ...)`.
        tokens: `(batch, tokens)`, int64.
        where: `(batch, tokens)`, boolean, True in the region. Padding (-1) stays.
        mask_index: The index of `[MASK]`, which equals the size of the codebook.

    Returns:
        The tokens, `(batch, tokens)`.

    Raises:
        ValueError: If shapes or dtypes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.decoding import inpaint
        >>> all_ones = lambda tokens: tokens.masked_fill(tokens == 2, 1)  # stands for a decoder
        >>> inpaint(
        ...     all_ones, torch.tensor([[0, 0, 0]]), torch.tensor([[False, True, False]]),
        ...     mask_index=2,
        ... )
        tensor([[0, 1, 0]])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 4.3.
    """
    check_region("inpaint", tokens, where)
    return decode(tokens.masked_fill(where & (tokens >= 0), mask_index))


def impute(
    decode: Decode, tokens: Tensor, where: Tensor, *, mask_index: int, samples: int = 1
) -> Tensor:
    """Draw several completions of tokens that are missing.

    All samples go through the decoder at once, as a batch of `samples * batch` rows, sample after
    sample; labels bound in `decode` must be repeated likewise. For tokens of a series with missing
    values, `where` is `token_mask(missing, field)`: every token that saw a missing value.

    Args:
        decode: From tokens with `mask_index` where unknown to complete tokens:
            `functools.partial(iterative_decode, logits_fn, ...)`.
        tokens: `(batch, tokens)`, int64; the values under `where` do not matter.
        where: `(batch, tokens)`, boolean, True where missing. Padding (-1) stays.
        mask_index: The index of `[MASK]`, which equals the size of the codebook.
        samples: Completions of each row, at least 1.

    Returns:
        The tokens, `(samples, batch, tokens)`.

    Raises:
        ValueError: If shapes or dtypes do not fit or `samples < 1`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import impute
        >>> all_ones = lambda tokens: tokens.masked_fill(tokens == 2, 1)  # stands for a decoder
        >>> where = torch.tensor([[False, True, False]])
        >>> impute(all_ones, torch.tensor([[0, 0, 0]]), where, mask_index=2, samples=3).shape
        torch.Size([3, 1, 3])
    """
    check_region("impute", tokens, where)
    check_at_least("impute", "samples", samples, 1)
    hidden = tokens.masked_fill(where & (tokens >= 0), mask_index)
    return decode(hidden.repeat(samples, 1)).view(samples, *tokens.shape)


def forecast(
    decode: Decode,
    tokens: Tensor,
    *,
    horizon: int,
    mask_index: int,
    frames: int | None = None,
    samples: int = 1,
) -> Tensor:
    """Draw several continuations: the last `horizon` frames of every row, given those before.

    The rows have the length to forecast to; what stands in the last frames does not matter. A
    padded row has the frames in which it has a token that is not -1, and its own last ones are
    drawn, as if it stood alone. All samples go through the decoder at once, as in `impute`.

    Args:
        decode: From tokens with `mask_index` where unknown to complete tokens:
            `functools.partial(iterative_decode, logits_fn, ...)`.
        tokens: `(batch, tokens)`, int64, `tokens = freq * frames` in row-major order.
        horizon: Frames to draw, at least 1.
        mask_index: The index of `[MASK]`, which equals the size of the codebook.
        frames: Frames of the token grid; as many as tokens by default.
        samples: Continuations of each row, at least 1.

    Returns:
        The tokens, `(samples, batch, tokens)`.

    Raises:
        ValueError: If shapes or dtypes do not fit, an option is out of range, or a row has fewer
            frames than `horizon`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import forecast
        >>> all_ones = lambda tokens: tokens.masked_fill(tokens == 2, 1)  # stands for a decoder
        >>> forecast(all_ones, torch.zeros(1, 6, dtype=torch.int64), horizon=1, mask_index=2,
        ...          frames=3)
        tensor([[[0, 0, 1, 0, 0, 1]]])
    """
    check_axes("forecast", "tokens", tokens, "batch tokens")
    frames = tokens.shape[1] if frames is None else frames
    if frames < 1 or tokens.shape[1] % frames:
        raise ValueError(f"forecast: frames must divide {tokens.shape[1]} tokens; got {frames}")
    check_number("forecast", "horizon", horizon)
    if not 1 <= horizon <= frames:
        raise ValueError(f"forecast: horizon must lie in [1, {frames}]; got {horizon}")
    check_codes("forecast", "tokens", tokens)
    real = (tokens >= 0).unflatten(1, (-1, frames)).any(dim=1)
    fewest = int(real.sum(dim=1).min()) if len(real) else frames
    if fewest < horizon:
        raise ValueError(
            f"forecast: every row must have {horizon} frames or more; got a row of {fewest}"
        )
    to_come = real.flip(1).cumsum(dim=1).flip(1)  # frames from this one to the row's last
    late = (to_come <= horizon).repeat(1, tokens.shape[1] // frames)
    return impute(decode, tokens, late, mask_index=mask_index, samples=samples)


def check_region(who: str, tokens: Tensor, where: Tensor) -> None:
    """Ask for int64 tokens and a boolean mask of their shape."""
    check_axes(who, "tokens", tokens, "batch tokens")
    check_codes(who, "tokens", tokens)
    check_bool_mask(who, "where", where, tokens.shape)
