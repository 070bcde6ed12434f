"""What objectives that predict the next token share: sequences, causal predictors, projections."""

import math
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_bool_mask, check_floating
from ssltok.nn import RotaryPositions, Transformer
from ssltok.training._objectives._parts import encoder_size, width_of
from ssltok.training._objectives._protocol import ObjectiveBatch
from ssltok.training._objectives._rows import check_views, features_of, token_valid

__all__ = ["Embed", "causal_predictor", "predicted", "sequence_sizes"]

Embed = Callable[[nn.Module, Tensor, Tensor | None], Tensor]
"""From the encoder, series and what is real of them, or None, to the embeddings of its tokens."""


def sequence_sizes(who: str, encoder: nn.Module) -> tuple[int, int, int]:
    """Return `dim`, `frames` (two or more) and `rows` of an encoder."""
    dim, frames, rows = (encoder_size(who, encoder, name) for name in ("dim", "frames", "rows"))
    check_at_least(who, "frames of the encoder", frames, 2)
    return dim, frames, rows


def causal_predictor(
    who: str, predictor: nn.Module | None, embed: Embed | None, dim: int, frames: int
) -> nn.Module:
    """Return the caller's predictor, or a causal transformer of two layers."""
    if embed is not None and not callable(embed):
        raise TypeError(f"{who}: embed must be callable; got {type(embed).__name__}")
    if predictor is None:
        heads = math.gcd(dim, 4)
        width = dim // heads
        rotary = None if width % 2 else RotaryPositions(width, grid=(frames,))
        return Transformer(dim, depth=2, heads=heads, causal=True, rotary=rotary)
    if not isinstance(predictor, nn.Module):
        raise TypeError(f"{who}: predictor must be a module; got {type(predictor).__name__}")
    width = width_of(predictor, (2, frames, dim))
    if embed is None and width != dim:
        raise ValueError(f"{who}: predictor must return {dim} features; got {width}")
    return predictor


def predicted(
    who: str,
    encoder: nn.Module,
    batch: ObjectiveBatch,
    *,
    predictor: nn.Module,
    embed: Embed | None,
    frames: int,
    rows: int,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return predictions, embeddings and what is real of them, a sequence for each row of tokens.

    `(batch * rows, frames, dim)` twice and `(batch * rows, frames)`; padding is at the end of a
    sequence, where a causal predictor reads it for nothing real, and is 0.
    """
    check_views(who, batch, 1)
    tokens = features_of(who, encoder, batch)[0]
    real = None if batch.valid is None else token_valid(who, encoder, batch.valid)
    target = tokens
    if embed is not None:
        check_views(who, batch._replace(features=None), 1)
        target = embed(encoder, batch.views[0], batch.valid)
        check_floating(who, "what embed returns", target)
    for name, part in (("features", tokens), ("what embed returns", target)):
        check_axes(who, name, part, "batch tokens dim")
        if part.shape[1] != rows * frames:
            raise ValueError(
                f"{who}: {name} must have {rows * frames} tokens, rows times frames; "
                f"got {part.shape[1]}"
            )
    pattern = "batch (freq frames) ... -> (batch freq) frames ..."
    if real is not None:
        check_bool_mask(who, "token_valid(valid) of the encoder", real, tokens.shape[:2])
        tokens, target = (torch.where(real.unsqueeze(2), x, 0) for x in (tokens, target))
        real = rearrange(real, pattern, frames=frames)
    tokens, target = (rearrange(x, pattern, frames=frames) for x in (tokens, target))
    pred: Tensor = predictor(tokens)
    if pred.shape != target.shape:
        raise ValueError(
            f"{who}: predictor must return the shape of the embeddings, {tuple(target.shape)}; "
            f"got {tuple(pred.shape)}"
        )
    return pred, target, real
