"""What the quantizers that are made of quantizers share."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_codes
from ssltok.quantizers._quantized import Quantizer

__all__ = ["check_parts", "parts_of", "split_codes", "stack_codebooks", "update_parts"]


def check_parts(who: str, parts: Sequence[nn.Module]) -> None:
    """Ask for quantizers that take their channels last; the wrapper sees to the layout."""
    check_at_least(who, "number of quantizers", len(parts), 1)
    for part in parts:
        # not isinstance(part, Quantizer): that would build the codebook to see whether it is there
        if not (hasattr(part, "codebook_size") and hasattr(part, "decode")):
            raise TypeError(f"{who}: every part must be a quantizer; got {type(part).__name__}")
        if cast("Quantizer", part).channel_dim != -1:
            raise ValueError(
                f"{who}: every part must have channel_dim=-1 (the whole has its own); "
                f"got {cast('Quantizer', part).channel_dim}"
            )


def parts_of(modules: nn.ModuleList) -> list[Quantizer]:
    """Return the modules of a list under the type that `check_parts` has asked for."""
    return [cast("Quantizer", module) for module in modules]


def split_codes(who: str, codes: Tensor, count: int) -> tuple[Tensor, ...]:
    """Split codes by their last axis, one tensor for each part."""
    check_codes(who, "codes", codes)
    if codes.ndim < 1 or codes.shape[-1] != count:
        raise ValueError(
            f"{who}: codes must have a last axis of {count}, one for each part; "
            f"got shape {tuple(codes.shape)}"
        )
    return codes.unbind(-1)


def stack_codebooks(who: str, codebooks: Sequence[Tensor]) -> Tensor:
    """Stack the codebooks of parts, where they have one shape."""
    shapes = {tuple(codebook.shape) for codebook in codebooks}
    if len(shapes) > 1:
        raise ValueError(
            f"{who}: codebook needs parts of one size, otherwise read each part's own; "
            f"got shapes {sorted(shapes)}"
        )
    return torch.stack(list(codebooks))


def update_parts(
    parts: Sequence[Quantizer], tokens: Sequence[Tensor], codes: Sequence[Tensor]
) -> None:
    """Hand each part its tokens `(tokens, dim)` and codes; a part that serves twice learns once."""
    for i, part in enumerate(parts):
        if any(part is earlier for earlier in parts[:i]):
            continue
        mine = [j for j in range(i, len(parts)) if parts[j] is part]
        if len(mine) == 1:
            part.update(tokens[i], codes[i])
        else:
            part.update(torch.cat([tokens[j] for j in mine]), torch.cat([codes[j] for j in mine]))
