"""What the quantizers that are made of quantizers share."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from typing_extensions import get_protocol_members

from ssltok._shared.checks import check_at_least, check_codes
from ssltok._shared.numerics import full_precision
from ssltok.quantizers._layout import Flat, check_code_range, flat_codes, without_lost_rows
from ssltok.quantizers._quantized import Quantizer

__all__ = [
    "ByPlace",
    "NestedQuantizer",
    "check_given_codes",
    "check_parts",
    "check_widths",
    "each_once",
    "last_axis_sizes",
    "parts_of",
    "split_codes",
    "stack_codebooks",
]


class NestedQuantizer(nn.Module):
    """A quantizer made of quantizers: what it hands on to them outside of `forward`.

    An heir says what its parts are, what each is given, and what each starts from.
    """

    dim: int
    channel_dim: int

    def __init__(
        self,
        parts: Sequence[Quantizer],
        *,
        code_shape: tuple[int, ...],
        codebook_sizes: tuple[int, ...],
        learns_by_vectors: bool,
    ) -> None:
        super().__init__()
        self.code_shape = code_shape
        self.codes_per_token = math.prod(code_shape)
        self.codebook_sizes = codebook_sizes
        self.codebook_size = max(codebook_sizes)
        self.learns_by_vectors = learns_by_vectors
        self.idle = all(part.idle for part in parts)

    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Hand each part what it was given, and its codes; one that serves twice learns once."""
        self._split(codes)
        if not self.idle:
            for part, (tokens, part_codes) in each_once(
                self._parts(), *self._inside(latents, codes)
            ):
                part.update(tokens, part_codes)

    @torch.no_grad()
    def initialize(
        self,
        latents: Tensor,
        valid: Tensor | None = None,
        *,
        steps: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:
        """Start each part once from what it is given of some latents, one after the other."""
        flat = self._flatten(latents, valid)
        with full_precision(latents):
            for part, tokens, real in self._starts(flat):
                part.initialize(tokens, real, steps=steps, generator=generator)

    @torch.no_grad()
    def revive(
        self,
        latents: Tensor,
        codes: Tensor,
        *,
        share: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, ...]:
        """Move dead codes of each part to what it is given of this step's latents.

        Call it after `update`. It returns which codes were moved, `(codebook_size,)` for each
        quantizer inside that has codes to move, in order and each once.
        """
        moved: list[Tensor] = []
        for part, (tokens, part_codes) in each_once(self._parts(), *self._inside(latents, codes)):
            flags = part.revive(tokens, part_codes, share=share, generator=generator)
            moved += [flags] if isinstance(flags, Tensor) else flags
        return tuple(moved)

    @torch.no_grad()
    def _inside(self, latents: Tensor, codes: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the tokens that each part was given, and its codes, flat.

        It looks at the codes of all parts, and of parts inside, before any of them learns. A token
        with NaN or infinity counts nothing in any part, be that what it is given finite.
        """
        who, flat = type(self).__name__, self._flatten(latents, None)
        self._split(codes)
        rows = flat_codes(who, codes, flat, self.code_shape)
        by_size: dict[int, list[int]] = {}
        for i, size in enumerate(self.codebook_sizes):
            by_size.setdefault(size, []).append(i)
        columns = rows.reshape(len(rows), self.codes_per_token)
        for size, places in by_size.items():
            check_code_range(who, columns if len(by_size) == 1 else columns[:, places], size)
        split = list(self._split(without_lost_rows(rows, flat.tokens)))
        return self._given(flat.tokens.detach(), split), split

    def _parts(self) -> list[Quantizer]:
        """Return the parts, a shared one as often as it serves."""
        raise NotImplementedError

    def _split(self, codes: Tensor) -> tuple[Tensor, ...]:
        """Return the codes of each part."""
        raise NotImplementedError

    def _given(self, tokens: Tensor, codes: list[Tensor]) -> list[Tensor]:
        """Return what each part was given of the tokens that got these codes."""
        raise NotImplementedError

    def _starts(self, flat: Flat) -> Iterator[tuple[Quantizer, Tensor, Tensor | None]]:
        """Yield each part once, with the tokens it starts from and which of them are real."""
        raise NotImplementedError

    def _flatten(self, latents: Tensor, valid: Tensor | None) -> Flat:
        raise NotImplementedError


class ByPlace:
    """A quantizer whose codes depend on where a token stands; no part of one that mixes places."""


def check_given_codes(who: str, parts: Sequence[Quantizer]) -> None:
    """Ask for parts that take codes which were searched elsewhere, one for each vector."""
    for part in parts:
        name = type(part).__name__
        if part.code_shape or not callable(getattr(part, "with_codes", None)):
            raise TypeError(
                f"{who}: a part whose codes are searched for it must have with_codes, as "
                f"VectorQuantizer, and one code for a vector; got {name}"
            )


def check_parts(who: str, parts: Sequence[nn.Module]) -> list[Quantizer]:
    """Ask for quantizers that take their channels last, do what they say, and have codes alike.

    Returns:
        The parts, under the type that has been asked for.
    """
    check_at_least(who, "number of quantizers", len(parts), 1)
    for part in parts:
        name = type(part).__name__
        if not isinstance(part, nn.Module):
            raise TypeError(f"{who}: every part must be a quantizer; got {name}, no nn.Module")
        if isinstance(part, ByPlace):
            raise ValueError(
                f"{who}: a quantizer whose codes depend on the place of a token must be the "
                f"outermost; got {name} inside"
            )
        # names alone: a codebook may be a plain nn.Parameter, or too large to be built
        missing = sorted(get_protocol_members(Quantizer) - set(dir(part)))
        if missing:
            raise TypeError(
                f"{who}: every part must be a quantizer; got {name}, which has no "
                + ", ".join(missing)
            )
        quantizer = cast("Quantizer", part)
        if quantizer.channel_dim != -1:
            raise ValueError(
                f"{who}: every part must have channel_dim=-1 (the whole has its own); "
                f"got {quantizer.channel_dim}"
            )
        _check_codes_of(who, quantizer)
    shapes = [part.code_shape for part in parts_of(parts)]
    if len(set(shapes)) > 1:
        raise ValueError(f"{who}: parts must have the same axes of codes; got {shapes}")
    return parts_of(parts)


def _check_codes_of(who: str, part: Quantizer) -> None:
    """Ask that what a part says of its codes agrees, and is what `encode` returns."""
    name, shape, sizes = type(part).__name__, part.code_shape, part.codebook_sizes
    encoded = _of_no_token(part)[0]
    if shape != encoded:
        raise ValueError(
            f"{who}: code_shape must be that of the codes of a vector, {encoded}; "
            f"got {shape} from {name}"
        )
    if not math.prod(shape) == part.codes_per_token == len(sizes):
        raise ValueError(
            f"{who}: codes_per_token and len(codebook_sizes) must be the product of code_shape, "
            f"{math.prod(shape)}; got {part.codes_per_token} and {len(sizes)} from {name}"
        )
    if part.codebook_size != max(sizes):
        raise ValueError(
            f"{who}: codebook_size must be the largest of codebook_sizes, {max(sizes)}; "
            f"got {part.codebook_size} from {name}"
        )


def check_widths(who: str, parts: Sequence[Quantizer]) -> None:
    """Ask that the vectors of parts are as wide as their latents."""
    dims = [part.dim for part in parts]
    widths = [_of_no_token(part)[1] for part in parts]
    if widths != dims:
        wanted = ", ".join(map(str, dict.fromkeys(dims)))
        raise ValueError(f"{who}: vectors must be as wide as dim, {wanted}; got {widths}")


@torch.no_grad()
def _of_no_token(part: Quantizer) -> tuple[tuple[int, ...], int]:
    """Return the shape of a part's codes for one vector and the width of its vectors."""
    module = cast("nn.Module", part)
    values = next(chain(module.parameters(), module.buffers()), torch.empty(0))
    dtype = values.dtype if values.is_floating_point() else None
    codes = part.encode(torch.empty(0, part.dim, device=values.device, dtype=dtype))
    return tuple(codes.shape[1:]), part.decode(codes).shape[-1]


def parts_of(modules: Sequence[nn.Module] | nn.ModuleList) -> list[Quantizer]:
    """Return modules under the type that `check_parts` has asked for."""
    return [cast("Quantizer", module) for module in modules]


def last_axis_sizes(parts: Sequence[Quantizer]) -> tuple[int, ...]:
    """Return `codebook_sizes` of codes whose last axis is the parts."""
    columns = zip(*(part.codebook_sizes for part in parts), strict=True)
    return tuple(chain.from_iterable(columns))


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


def each_once(
    parts: Sequence[Quantizer], *columns: Sequence[Tensor]
) -> Iterator[tuple[Quantizer, list[Tensor]]]:
    """Yield each part with its tensor of every column; all of them for a part that serves twice."""
    for i, part in enumerate(parts):
        if all(part is not earlier for earlier in parts[:i]):
            same = [j for j, other in enumerate(parts) if other is part]
            yield (
                part,
                [c[i] if len(same) == 1 else torch.cat([c[j] for j in same]) for c in columns],
            )
