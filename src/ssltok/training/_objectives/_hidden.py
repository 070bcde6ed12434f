"""What objectives that hide parts of a series share: places, masks, targets of patches."""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_axes, check_bool_mask, check_ratio
from ssltok.nn import patch_valid, patchify
from ssltok.training._objectives._parts import encoder_size
from ssltok.training._objectives._protocol import ObjectiveBatch
from ssltok.training._objectives._rows import token_valid

__all__ = [
    "Sampler",
    "Target",
    "check_draws",
    "check_share",
    "draw_mask",
    "encode",
    "masked_tokens",
    "places_of",
    "restore_rows",
    "samples_of",
    "target_of",
]

Sampler = Callable[..., Tensor]
"""From `(cases, frames)`, `generator=` and `device=` to a boolean mask, True where hidden."""

Target = Callable[[Tensor, Tensor | None], Tensor]
"""From series and what is real of them, or None, to `(batch, frames or tokens, values)`."""


def places_of(who: str, encoder: nn.Module, option: str) -> tuple[int, int, int]:
    """Return `dim`, `frames` and `rows` of an encoder whose call takes `option`."""
    dim, frames, rows = (encoder_size(who, encoder, name) for name in ("dim", "frames", "rows"))
    parameters = inspect.signature(encoder.forward).parameters
    swallows = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if option not in parameters and not swallows:
        raise TypeError(
            f"{who}: the encoder's forward must take {option}=; "
            f"got {type(encoder).__name__} with {', '.join(parameters)}"
        )
    return dim, frames, rows


def check_draws(who: str, batch: ObjectiveBatch, count: int) -> None:
    """Ask for the draws of `draw`, a row for each series."""
    if len(batch.draws) != count:
        raise ValueError(
            f"{who}: draws must be the {count} tensors that draw returned; got {len(batch.draws)}"
        )
    cases = len(batch.views[0])
    for drawn in batch.draws:
        if len(drawn) != cases:
            raise ValueError(f"{who}: draws must have {cases} rows, one a series; got {len(drawn)}")


def check_share(who: str, mask_ratio: float, frames: int) -> None:
    """Ask for a share that hides one place at least, and leaves one."""
    check_ratio(who, "mask_ratio", mask_ratio)
    if not 0 < mask_ratio * frames <= frames - 1:
        raise ValueError(
            f"{who}: mask_ratio must hide some of {frames} places and not all; got {mask_ratio}"
        )


def draw_mask(
    who: str, sampler: Sampler, shape: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Draw a mask where the generator is, and ask that it is one."""
    mask = sampler(shape, generator=generator, device=generator.device)
    check_bool_mask(who, "what sampler returns", mask, shape)
    return mask


def encode(
    who: str,
    encoder: nn.Module,
    series: Tensor,
    valid: Tensor | None,
    *,
    tokens: int,
    **options: Tensor,
) -> Tensor:
    """Call the encoder with `masked` or `visible`, and `valid` where it is given.

    Ask for `tokens` tokens of each series.
    """
    if valid is not None:
        options["valid"] = valid
    features: Tensor = encoder(series, **options)
    check_axes(who, "features", features, "batch tokens dim")
    if features.shape[1] != tokens:
        raise ValueError(
            f"{who}: the encoder must return {tokens} tokens here, rows times places; "
            f"got {features.shape[1]}"
        )
    return features


def restore_rows(restore: Tensor, *, slots: int, rows: int) -> Tensor:
    """Turn the slot of each place, `slots` for a hidden one, into that of each token of all rows.

    Row r of the encoded tokens begins at slot `r * slots`.
    """
    if rows == 1:
        return restore
    first = slots * torch.arange(rows, device=restore.device)[:, None]
    hidden = restore == slots
    return torch.where(hidden[:, None], rows * slots, restore[:, None] + first).flatten(1)


def masked_tokens(
    who: str, encoder: nn.Module, mask: Tensor, valid: Tensor | None, *, frames: int, rows: int
) -> tuple[Tensor, Tensor | None]:
    """Return which tokens are hidden and real, and which are real: a mask of places for each row.

    Args:
        who: The objective.
        encoder: The encoder.
        mask: `(batch, frames)`, True where a place is hidden.
        valid: `(batch, length)`, or None.
        frames: Places along time.
        rows: Tokens for each place.
    """
    check_bool_mask(who, "mask", mask, (len(mask), frames))
    hidden = mask.repeat(1, rows)
    if valid is None:
        return hidden, None
    real = token_valid(who, encoder, valid)
    check_bool_mask(who, "token_valid(valid) of the encoder", real, hidden.shape)
    return hidden & real, real


def samples_of(series: Tensor, valid: Tensor | None, *, frames: int, rows: int) -> Tensor | None:
    """Return which values of the patches of `target_of` are real samples; None if all are."""
    patch = -(-series.shape[2] // frames)
    if valid is None and patch * frames == series.shape[2]:
        return None
    if valid is None:
        valid = torch.ones((), dtype=torch.bool, device=series.device)
        valid = valid.expand(len(series), series.shape[2])
    real = patch_valid(valid, channels=series.shape[1], patch=patch)
    return real.repeat(1, rows, 1)


def target_of(
    who: str,
    series: Tensor,
    valid: Tensor | None,
    *,
    target: Target | None,
    frames: int,
    rows: int,
) -> Tensor:
    """Return what is behind each token, `(batch, tokens, values)`."""
    if target is None:
        patch = -(-series.shape[2] // frames)
        values = patchify(series, patch=patch, valid=valid)
    else:
        values = target(series, valid)
    check_axes(who, "target", values, "batch tokens values")
    if rows > 1 and values.shape[1] == frames:
        values = values.repeat(1, rows, 1)
    if values.shape[1] != rows * frames:
        raise ValueError(
            f"{who}: target must have {frames} places"
            + (f" or {rows * frames} tokens" if rows > 1 else "")
            + f"; got {values.shape[1]} for series of length {series.shape[2]}"
        )
    return values
