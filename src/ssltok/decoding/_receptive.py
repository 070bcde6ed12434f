"""From hidden samples to hidden tokens: every token whose encoder saw a hidden sample."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes

__all__ = ["receptive_field", "token_mask"]


def receptive_field(
    encode: Callable[[Tensor], Tensor], *, channels: int, length: int, chunk: int = 64
) -> Tensor:
    """Find which samples each token's latent depends on, by sending NaN through the encoder.

    One series of zeros for each time step has NaN there in every channel; the latents that come
    out NaN depend on it. Convolutions, Fourier transforms, activations, normalisations in
    evaluation mode and attention all pass NaN on, whatever their weights, so the result is the
    structure of the encoder and holds for every input. Put the encoder in evaluation mode: batch
    statistics would tie everything to everything.

    Args:
        encode: From series `(batch, channels, length)` to latents `(batch, dim, *grid)`, before
            the quantizer.
        channels: Channels of the series.
        length: Samples of the series.
        chunk: Series per call of the encoder, at least 1.

    Returns:
        A boolean matrix, `(tokens, length)`, True where the token depends on the sample; tokens
        are the places of the grid in row-major order.

    Raises:
        ValueError: If an option is out of range or the encoder returns no grid.

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
    depends = []
    with torch.no_grad():
        for first in range(0, length, chunk):
            steps = torch.arange(first, min(first + chunk, length))
            series = torch.zeros(len(steps), channels, length)
            series[torch.arange(len(steps)), :, steps] = torch.nan
            latents = encode(series)
            if latents.ndim < 3 or len(latents) != len(steps):
                raise ValueError(
                    "receptive_field: encode must return (batch, dim, *grid); "
                    f"got {tuple(latents.shape)} for a batch of {len(steps)}"
                )
            depends.append(latents.isnan().any(dim=1).flatten(1))
    return torch.cat(depends).T.contiguous()


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
