"""What the quantizers that are made of quantizers share."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_codes
from ssltok.quantizers._layout import Flat
from ssltok.quantizers._quantized import Quantizer

__all__ = [
    "all_idle",
    "check_parts",
    "each_once",
    "flat_codes",
    "initialize_part",
    "parts_of",
    "revive_parts",
    "split_codes",
    "stack_codebooks",
    "update_parts",
]


def check_parts(who: str, parts: Sequence[nn.Module]) -> None:
    """Ask for quantizers that take their channels last; the wrapper sees to the layout."""
    check_at_least(who, "number of quantizers", len(parts), 1)
    for part in parts:
        # not isinstance(part, Quantizer): a codebook that is a plain nn.Parameter is welcome too
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


def flat_codes(codes: Tensor, flat: Flat) -> Tensor:
    """Lay codes of a part in the layout of `flat` out as `(tokens, ...)`; a part's axes stay."""
    return codes.reshape(-1, *codes.shape[len(flat.shape) :])


def stack_codebooks(who: str, codebooks: Sequence[Tensor]) -> Tensor:
    """Stack the codebooks of parts, where they have one shape."""
    shapes = {tuple(codebook.shape) for codebook in codebooks}
    if len(shapes) > 1:
        raise ValueError(
            f"{who}: codebook needs parts of one size, otherwise read each part's own; "
            f"got shapes {sorted(shapes)}"
        )
    return torch.stack(list(codebooks))


def each_once(
    parts: Sequence[Quantizer], *columns: Sequence[Tensor]
) -> Iterator[tuple[Quantizer, list[Tensor]]]:
    """Yield each part with its tensor of every column; all of them for a part that serves twice."""
    for i, part in enumerate(parts):
        if all(part is not earlier for earlier in parts[:i]):
            mine = [j for j, other in enumerate(parts) if other is part]
            yield (
                part,
                [c[i] if len(mine) == 1 else torch.cat([c[j] for j in mine]) for c in columns],
            )


def all_idle(parts: Sequence[Quantizer]) -> bool:
    """Say whether `update` of every part is known to do nothing."""
    return all(getattr(part, "idle", False) for part in parts)


def update_parts(
    parts: Sequence[Quantizer], tokens: Sequence[Tensor], codes: Sequence[Tensor]
) -> None:
    """Hand each part its tokens `(tokens, dim)` and codes; a part that serves twice learns once."""
    for part, (own, known) in each_once(parts, tokens, codes):
        part.update(own, known)


def initialize_part(
    part: Quantizer,
    tokens: Tensor,
    real: Tensor | None,
    *,
    steps: int,
    generator: torch.Generator | None,
) -> None:
    """Start a part from the clusters of its tokens, if it is one that has a start."""
    start = getattr(part, "initialize", None)
    if start is not None:
        start(tokens, real, steps=steps, generator=generator)


def revive_parts(
    parts: Sequence[Quantizer],
    tokens: Sequence[Tensor],
    codes: Sequence[Tensor],
    *,
    share: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, ...]:
    """Revive the parts that can be; return what moved in each, those inside parts one by one."""
    moved: list[Tensor] = []
    for part, (own, known) in each_once(parts, tokens, codes):
        revive = getattr(part, "revive", None)
        if revive is not None:
            found = revive(own, known, share=share, generator=generator)
            moved += [found] if isinstance(found, Tensor) else found
    return tuple(moved)
