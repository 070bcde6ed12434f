"""Codes of the three sets of an evaluation, as they come in and as they are checked."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = ["Tokens", "check_tokens"]


class Tokens(NamedTuple):
    """Codes of the three sets; cases are those of the series, in their order.

    Arrays, tensors and lists will do.

    Attributes:
        train: Those of the training series, `(cases, tokens)` integers, -1 where padded.
        test: Those of the test series.
        generated: Those of the generated series.
        codebook_size: Number of codes that there are.
        codebook: `(codebook_size, dim)`; adds the likeness of its entries to the report.
    """

    train: Tensor | ArrayLike
    test: Tensor | ArrayLike
    generated: Tensor | ArrayLike
    codebook_size: int
    codebook: Tensor | ArrayLike | None = None


def check_tokens(
    who: str, tokens: Tokens, cases: Sequence[int]
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return int64 codes by set, and the codebook; or say what is wrong with them."""
    size = tokens.codebook_size
    if size < 1:
        raise ValueError(f"{who}: tokens.codebook_size must be >= 1; got {size}")
    result: dict[str, Tensor] = {}
    for name, given, wanted in zip(Tokens._fields[:3], tokens[:3], cases, strict=True):
        codes = _as_tensor(f"{who}: tokens.{name}", given)
        whole = not (codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool)
        if codes.ndim != 2 or not whole or len(codes) != wanted or codes.shape[1] == 0:
            raise ValueError(
                f"{who}: tokens.{name} must be integers of shape ({wanted}, tokens); "
                f"got {codes.dtype} of shape {tuple(codes.shape)}"
            )
        low, high = int(codes.min()), int(codes.max())
        if low < -1 or high >= size:
            raise ValueError(
                f"{who}: tokens.{name} must be -1 (padding) or from 0 to {size - 1}, below "
                f"codebook_size; got {low} to {high}"
            )
        result[name] = codes.to(torch.int64)
    widths = [codes.shape[1] for codes in result.values()]
    if len(set(widths)) > 1:
        raise ValueError(f"{who}: tokens of the three sets must be equally many; got {widths}")
    if tokens.codebook is None:
        return result, None
    codebook = _as_tensor(f"{who}: tokens.codebook", tokens.codebook)
    if codebook.ndim != 2 or len(codebook) != size:
        raise ValueError(
            f"{who}: tokens.codebook must have shape ({size}, dim); got {tuple(codebook.shape)}"
        )
    return result, codebook


def _as_tensor(what: str, given: Tensor | ArrayLike) -> Tensor:
    try:
        return torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{what} must be an array of one shape; got {error}") from error
