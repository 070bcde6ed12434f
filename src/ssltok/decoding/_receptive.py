"""From hidden samples to hidden tokens: every token whose encoder saw a hidden sample."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes

__all__ = ["receptive_field", "token_mask"]


SCALES = ((1.0, 1.0), (0.1, 8.0), (1.0, 4.0), (3.0, 1.0))
"""In turn, the size of the series and of what is added to a sample."""

IDLE, MOST = 4, 40
"""Series that must add nothing before the field counts as complete, and most series in all."""


def receptive_field(
    encode: Callable[[Tensor], Tensor],
    *,
    channels: int,
    length: int,
    chunk: int = 64,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Find which samples each token's latent depends on, by changing one sample after the other.

    A series of noise is encoded, and again with one time step changed in every channel; a token
    depends on that step if any bit of its latent differs. Both stand at the same place of a
    batch, so that they are rounded alike. A weight of exactly zero (a masked place of attention,
    the first sample of a Hann window) is no dependence, and the smallest other weight is one.

    Numbers are finite, so a unit that is shut for a series lets nothing through: series and
    changes of several sizes follow until four in a row add nothing, 40 at most. A dependence that
    shows for none of them is missed; where an encoder reads a sample only for rare values of
    others, take its arithmetic instead. Put the encoder in evaluation mode: batch statistics
    would tie everything to everything.

    Args:
        encode: From series `(batch, channels, length)` to latents `(batch, dim, *grid)`, before
            the quantizer.
        channels: Channels of the series.
        length: Samples of the series.
        chunk: Series per call of the encoder, at least 1.
        dtype: Precision of the series; torch's default by default.
        device: Where the series are made; torch's default by default.

    Returns:
        A boolean matrix, `(tokens, length)`, True where the token depends on the sample; tokens
        are the places of the grid in row-major order.

    Raises:
        ValueError: If an option is out of range, the encoder returns no grid, or it returns
            something else, or NaN, for the same series a second time.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import receptive_field
        >>> encoder = torch.nn.Conv1d(1, 4, kernel_size=3, stride=2)
        >>> receptive_field(encoder, channels=1, length=5).int()
        tensor([[1, 1, 1, 0, 0],
                [0, 0, 1, 1, 1]], dtype=torch.int32)
    """
    check_at_least("receptive_field", "channels", channels, 1)
    check_at_least("receptive_field", "length", length, 1)
    check_at_least("receptive_field", "chunk", chunk, 1)
    noise = torch.Generator(device="cpu").manual_seed(0)
    dtype = torch.get_default_dtype() if dtype is None else dtype
    field, idle = torch.zeros((), dtype=torch.bool, device=device), 0
    with torch.no_grad():
        for trial in range(MOST):
            size, change = SCALES[trial % len(SCALES)]
            drawn = torch.randn(
                (2, channels, length), dtype=torch.float64, device="cpu", generator=noise
            )
            series = size * drawn[0]
            other = series + change * (drawn[1].sign() + drawn[1])
            wider = field | _field(
                encode,
                series.to(device=device, dtype=dtype),
                other.to(device=device, dtype=dtype),
                chunk,
            )
            idle = idle + 1 if torch.equal(wider, field) else 0
            field = wider
            if idle == IDLE:
                break
    return field.T.contiguous()


def _field(encode: Callable[[Tensor], Tensor], before: Tensor, after: Tensor, chunk: int) -> Tensor:
    """Say which latents change, `(length, tokens)`, where a step of one series is the other's."""
    length, depends, rows, plain = before.shape[1], [], 0, before
    for first in range(0, length, chunk):
        steps = torch.arange(first, min(first + chunk, length), device=before.device)
        if len(steps) != rows:
            rows = len(steps)
            plain = _latents(encode, before.expand(rows, -1, -1).contiguous())
            if not torch.equal(plain, _latents(encode, before.expand(rows, -1, -1).contiguous())):
                raise ValueError(
                    "receptive_field: encode must return the same numbers for the same series; "
                    "got others, or NaN, the second time"
                )
        here = steps[:, None] == torch.arange(length, device=before.device)
        changed = _latents(encode, torch.where(here[:, None], after, before))
        depends.append((changed != plain).any(dim=1).flatten(1))
    return torch.cat(depends)


def _latents(encode: Callable[[Tensor], Tensor], series: Tensor) -> Tensor:
    """Encode, and ask for a grid."""
    latents = encode(series)
    if latents.ndim < 3 or len(latents) != len(series):
        raise ValueError(
            "receptive_field: encode must return (batch, dim, *grid); "
            f"got {tuple(latents.shape)} for a batch of {len(series)}"
        )
    return latents


def token_mask(hidden: Tensor, field: Tensor) -> Tensor:
    """Widen a mask of samples to the tokens that could leak them.

    A token is masked when any sample it depends on is hidden, in any channel. What stays visible
    is then the same whatever the hidden samples were.

    Args:
        hidden: `(batch, length)` or `(batch, channels, length)`, boolean, True where hidden.
        field: `(tokens, length)`, boolean, as `receptive_field` returns it.

    Returns:
        A boolean mask, `(batch, tokens)`, True where a token must be hidden.

    Raises:
        ValueError: If shapes or dtypes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.decoding import token_mask
        >>> field = torch.tensor([[True, True, False], [False, True, True]])
        >>> token_mask(torch.tensor([[True, False, False], [False, True, False]]), field)
        tensor([[ True, False],
                [ True,  True]])
    """
    check_axes("token_mask", "field", field, "tokens length")
    for name, mask in (("hidden", hidden), ("field", field)):
        if mask.dtype != torch.bool:
            raise ValueError(f"token_mask: {name} must be boolean; got {mask.dtype}")
    if hidden.ndim == 3:
        hidden = hidden.any(dim=1)
    check_axes("token_mask", "hidden", hidden, "batch length")
    if hidden.shape[1] != field.shape[1]:
        raise ValueError(
            "token_mask: hidden and field must share one length; "
            f"got {hidden.shape[1]} and {field.shape[1]}"
        )
    return (hidden.float() @ field.float().T) > 0
