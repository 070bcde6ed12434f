"""Any layout in, the same layout out: what stands between a quantizer's formula and its caller.

How to write a quantizer. The formula sees `tokens`, `(tokens, dim)`; this file does the rest:

    def forward(self, latents: Tensor, valid: Tensor | None = None) -> Quantized:
        flat = flatten("FSQ", latents, valid, dim=..., channel_dim=..., dtype=...)
        with full_precision(latents):              # ssltok._shared.numerics: autocast off
            codes = ...                            # (tokens,) or (tokens, parts), from flat.tokens
            vectors = ...                          # (tokens, dim), with the gradient
            loss = flat.mean(...)                  # over real tokens; 0 where there is none
        return Quantized(flat.restore_vectors(vectors), flat.restore_codes(codes), loss)

    def decode(self, codes: Tensor) -> Tensor:
        return look_up("FSQ", codes, size, lambda known: ..., channel_dim=...)

- `dtype` is the dtype of the codebook or of a buffer; the vectors keep it. `flat.tokens` are 0 at
  padding (whatever stood there, NaN included) and take no gradient from there. Anything that
  averages over tokens must leave padding out: `flat.mean`, or `flat.real`, `(tokens,)` or None.
- A wrapper (residual, grouped, ...) asks that its parts have `channel_dim=-1`, gives their forward
  the tokens as `flat.for_parts` says (a part may draw for samples, not tokens), and hands `decode`
  and `update` on. `update(latents, codes)` learns which tokens are real from the codes: padding
  is -1.
- Attributes and methods are those of the `Quantizer` protocol in `_quantized.py`; `SingleCode` in
  `_single.py` has all but the formula of a quantizer with one code for a vector and nothing to
  start, update or revive. `encode` is the deterministic code search alone. No boolean indexing
  (its shape depends on values): mark with `torch.where`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_bool_mask, check_codes, check_floating, check_size
from ssltok._shared.transforms import can_be_read, is_mapped

__all__ = [
    "Flat",
    "channels_to",
    "check_code_range",
    "check_codes_layout",
    "finite_rows",
    "flat_codes",
    "flatten",
    "look_up",
    "without_lost_rows",
]


class Flat(NamedTuple):
    """Latents as `(tokens, dim)`, with what is needed to put results back in their place."""

    tokens: Tensor
    real: Tensor | None
    shape: tuple[int, ...]
    channel_dim: int

    def mean(self, values: Tensor) -> Tensor:
        """Average `(tokens,)` over the real tokens; 0 for no token."""
        if self.real is None:
            return values.mean() if values.numel() else values.sum()
        return torch.where(self.real, values, 0.0).sum() / self.real.sum().clamp(min=1)

    def for_parts(self, *, training: bool) -> "Flat":
        """Return the layout for parts: samples stay apart in training, where a part may draw.

        Otherwise it is flat, which puts fewer conditions on an exported graph.
        """
        return self if training else self._replace(shape=tuple(self.tokens.shape[:1]))

    def to_grid(self, rows: Tensor) -> Tensor:
        """Lay `(tokens, ...)` out along the axes of the latents, the channels last; a view."""
        return rows.reshape(*self.shape, *rows.shape[1:])

    def to_rows(self, grid: Tensor) -> Tensor:
        """Undo `to_grid`."""
        return grid.reshape(-1, *grid.shape[len(self.shape) :])

    def restore_vectors(self, vectors: Tensor) -> Tensor:
        """Put `(tokens, dim)` in the layout of the latents, 0 at padding."""
        if self.real is not None:
            vectors = torch.where(self.real[:, None], vectors, 0.0)
        vectors = vectors.reshape(*self.shape, vectors.shape[-1])
        return vectors if self.channel_dim == -1 else vectors.movedim(-1, self.channel_dim)

    def restore_codes(self, codes: Tensor) -> Tensor:
        """Put `(tokens,)` or `(tokens, parts, ...)` in the latents' layout, -1 at padding."""
        if self.real is not None:
            codes = torch.where(self.real.reshape(-1, *[1] * (codes.ndim - 1)), codes, -1)
        return codes.reshape(*self.shape, *codes.shape[1:])


def flatten(
    who: str,
    latents: Tensor,
    valid: Tensor | None,
    *,
    dim: int,
    channel_dim: int,
    dtype: torch.dtype,
) -> Flat:
    """Check latents of any rank from 2 and lay them out as `(tokens, dim)`.

    Args:
        who: The quantizer's name, for complaints.
        latents: Floating point, with `dim` channels at `channel_dim`.
        valid: Boolean, the shape of `latents` without its channels; True is real. None: all are.
        dim: Channels of the latents.
        channel_dim: Where they are.
        dtype: What the tokens are converted to.

    Returns:
        The tokens with their way back.

    Raises:
        TypeError: If `latents` or `valid` is no tensor.
        ValueError: If `latents` is not floating point, has fewer than 2 dimensions or not `dim`
            channels, or if `valid` is not boolean or of another shape.
    """
    check_floating(who, "latents", latents)
    if not -latents.ndim <= channel_dim < latents.ndim or latents.ndim < 2:
        raise ValueError(
            f"{who}: latents must have at least 2 dimensions and channel_dim={channel_dim}; "
            f"got shape {tuple(latents.shape)}"
        )
    check_size(who, "latents", latents, channel_dim, dim)
    last = latents if channel_dim == -1 else latents.movedim(channel_dim, -1)
    shape = last.shape[:-1]
    tokens = last.reshape(-1, dim).to(dtype)
    real = None
    if valid is not None:
        check_bool_mask(who, "valid", valid, shape)
        real = valid.reshape(-1)
        tokens = torch.where(real[:, None], tokens, 0.0)
    return Flat(tokens, real, tuple(shape), channel_dim)


def flat_codes(who: str, codes: Tensor, flat: Flat, code_shape: tuple[int, ...]) -> Tensor:
    """Ask for codes in the layout of `flat`, and lay them out as `(tokens, *code_shape)`."""
    check_codes(who, "codes", codes)
    shape = (*flat.shape, *code_shape)
    if codes.shape != shape:
        raise ValueError(f"{who}: codes must have shape {shape}; got {tuple(codes.shape)}")
    return flat.to_rows(codes)


def finite_rows(tokens: Tensor) -> Tensor:
    """Say of each row of `(tokens, dim)` whether it has neither NaN nor infinity.

    A row whose sum has no number in float32 counts as infinite: its distances have none either.
    """
    wide = torch.promote_types(tokens.dtype, torch.float32)
    return tokens.sum(dim=1, dtype=wide).isfinite()


def without_lost_rows(codes: Tensor, tokens: Tensor) -> Tensor:
    """Give rows of `tokens` with NaN or infinity the codes of padding, -1: nothing averages them.

    Such latents are ordinary in mixed precision, and one of them in a running mean stays for ever.

    Args:
        codes: `(tokens, ...)`.
        tokens: `(tokens, dim)`.

    Returns:
        The codes, and -1 where the token is not finite.
    """
    if can_be_read(tokens) and math.isfinite(tokens.sum(dtype=torch.float32).item()):
        return codes
    finite = finite_rows(tokens)
    return torch.where(finite.reshape(-1, *[1] * (codes.ndim - 1)), codes, -1)


def look_up(
    who: str,
    codes: Tensor,
    codebook_size: int,
    lookup: Callable[[Tensor], Tensor],
    *,
    channel_dim: int,
) -> Tensor:
    """Turn codes of any shape into vectors with the channels at `channel_dim`; -1 gives 0.

    Args:
        who: The quantizer's name, for complaints.
        codes: int64, in `[-1, codebook_size)`.
        codebook_size: The number of codes.
        lookup: Maps known codes, of the shape of `codes`, to new vectors `(..., dim)`.
        channel_dim: Where the vectors' channels go.

    Returns:
        The vectors.

    Raises:
        TypeError: If `codes` is no tensor.
        ValueError: If `codes` is not int64, has too few axes for `channel_dim` or, on a CPU
            outside a compiled graph, is out of range.
    """
    check_codes(who, "codes", codes)
    check_code_range(who, codes, codebook_size)
    vectors = lookup(codes.clamp(min=0)).masked_fill_((codes < 0)[..., None], 0.0)
    return channels_to(who, vectors, channel_dim, codes)


def channels_to(who: str, vectors: Tensor, channel_dim: int, codes: Tensor) -> Tensor:
    """Move the channels of decoded vectors from the last axis to `channel_dim`."""
    if not -vectors.ndim <= channel_dim < vectors.ndim:
        raise ValueError(
            f"{who}: codes must have enough axes for channel_dim={channel_dim}; "
            f"got shape {tuple(codes.shape)}"
        )
    return vectors.movedim(-1, channel_dim)


def check_code_range(who: str, codes: Tensor, codebook_size: int) -> None:
    """Ask that codes lie in `[-1, codebook_size)`, where looking at them costs no wait.

    That is on a CPU, and outside of compiled graphs and `vmap`. Elsewhere the lookup itself fails.
    """
    if codes.device.type != "cpu" or torch.compiler.is_compiling() or codes.numel() == 0:
        return
    if is_mapped(codes):
        return
    low, high = (int(end) for end in codes.aminmax())
    if low < -1 or high >= codebook_size:
        raise ValueError(
            f"{who}: codes must lie in [-1, {codebook_size}); got values from {low} to {high}"
        )


def check_codes_layout(who: str, codes: Tensor, code_shape: tuple[int, ...]) -> None:
    """Ask for codes `(samples, ..., *code_shape)`."""
    check_codes(who, "codes", codes)
    axes = len(code_shape)
    if codes.ndim < 1 + axes or codes.shape[codes.ndim - axes :] != code_shape:
        raise ValueError(
            f"{who}: codes must have shape (samples, ..., {', '.join(map(str, code_shape))}); "
            f"got {tuple(codes.shape)}"
        )
