"""Tokens beside those of another representation: asked for, cut to what is real, compared."""

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_bool_mask,
    check_floating,
    check_same_shape,
)
from ssltok._shared.numerics import directed, upcast_pair
from ssltok.losses._regression_error import mean_over_tokens

__all__ = ["check_token_pair", "cosines", "mean_over_pairs", "real_pair"]


def check_token_pair(
    who: str,
    names: tuple[str, str],
    tokens: Tensor,
    target: Tensor,
    valid: Tensor | None,
    *,
    one_dim: bool = True,
) -> None:
    """Ask for two representations `(..., tokens, dim)` of the same tokens, and which are real."""
    for name, part in zip(names, (tokens, target), strict=True):
        check_floating(who, name, part)
        if part.ndim < 2:
            raise ValueError(
                f"{who}: {name} must be (..., tokens, dim); got shape {tuple(part.shape)}"
            )
    if one_dim:
        check_same_shape(who, " and ".join(names), tokens, target)
    elif tokens.shape[:-1] != target.shape[:-1]:
        raise ValueError(
            f"{who}: {' and '.join(names)} must be of the same tokens; "
            f"got {tuple(tokens.shape[:-1])} and {tuple(target.shape[:-1])}"
        )
    for name, part in zip(names, (tokens, target), strict=True):
        check_at_least(who, f"{name}.numel()", part.numel(), 1)
    if valid is not None:
        check_bool_mask(who, "valid", valid, tokens.shape[:-1])


def real_pair(tokens: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return tokens and their detached target in one precision, at least float32.

    They are 0 where they are not real: NaN there counts nowhere.
    """
    one, other = upcast_pair(tokens, target.detach())
    if valid is None:
        return one, other
    real = valid.unsqueeze(-1)
    return torch.where(real, one, 0), torch.where(real, other, 0)


def cosines(first: Tensor, second: Tensor, *, dim: int = -1) -> Tensor:
    """Return the cosines along `dim`; 0 for a vector of zeros."""
    (a, a_length), (b, b_length) = directed(first, dim=dim), directed(second, dim=dim)
    along: Tensor = torch.linalg.vecdot(a, b, dim=dim) / (a_length * b_length).squeeze(dim)
    return along


def mean_over_pairs(pairs: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean over pairs `(..., tokens, tokens)` of real tokens; 0 if there is none."""
    if valid is None:
        return pairs.mean()
    both = valid.unsqueeze(-1) & valid.unsqueeze(-2)
    return mean_over_tokens(torch.where(both, pairs, 0), both)
