"""What the quantizers that are made of quantizers share."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_codes
from ssltok.quantizers._layout import Flat, check_code_range
from ssltok.quantizers._quantized import Quantizer

__all__ = [
    "all_idle",
    "check_part_codes",
    "check_parts",
    "each_once",
    "flat_codes",
    "initialize_part",
    "parts_of",
    "revive_parts",
    "sizes_of",
    "split_codes",
    "stack_codebooks",
    "update_parts",
]


def check_parts(who: str, parts: Sequence[nn.Module]) -> tuple[int, ...]:
    """Ask for quantizers that take their channels last and have codes alike.

    Returns:
        The shape of a part's codes for one vector: () unless it is made of parts itself.
    """
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
    shapes = [sizes_of(part)[0] for part in parts]
    if len(set(shapes)) > 1:
        raise ValueError(f"{who}: parts must have the same axes of codes; got {shapes}")
    return shapes[0]


@torch.no_grad()
def sizes_of(part: nn.Module) -> tuple[tuple[int, ...], int]:
    """Return the shape of a part's codes for one vector and the width of its vectors."""
    quantizer = cast("Quantizer", part)
    held = next(chain(part.parameters(), part.buffers()), None)
    device = None if held is None else held.device
    codes = quantizer.encode(torch.empty(0, quantizer.dim, device=device))
    return tuple(codes.shape[1:]), quantizer.decode(codes).shape[-1]


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


def flat_codes(who: str, codes: Tensor, flat: Flat, code_shape: tuple[int, ...]) -> Tensor:
    """Ask for codes in the layout of `flat`, and lay them out as `(tokens, *code_shape)`."""
    check_codes(who, "codes", codes)
    shape = (*flat.shape, *code_shape)
    if codes.shape != shape:
        raise ValueError(f"{who}: codes must have shape {shape}; got {tuple(codes.shape)}")
    return flat.to_rows(codes)


def check_part_codes(parts: Sequence[Quantizer], codes: Sequence[Tensor]) -> None:
    """Look at the codes of all parts, and of parts inside, before any of them learns."""
    for part, own in zip(parts, codes, strict=True):
        who = type(part).__name__
        inside, wrapped = getattr(part, "quantizers", None), getattr(part, "quantizer", None)
        if isinstance(inside, nn.ModuleList):
            check_part_codes(parts_of(inside), split_codes(who, own, len(inside)))
        elif isinstance(wrapped, nn.Module):
            check_part_codes([cast("Quantizer", wrapped)], [own])
        else:
            check_code_range(who, own, part.codebook_size)


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
