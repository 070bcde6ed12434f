"""Projectors, predictors and heads for an encoder: the caller's, or the usual ones."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least
from ssltok.nn import DINOHead, Predictor, Projector
from ssltok.training._objectives._rows import Pool

__all__ = [
    "encoder_size",
    "feature_dim",
    "head_of",
    "head_width",
    "predictor_of",
    "projector_of",
    "width_of",
]


def encoder_size(who: str, encoder: nn.Module, name: str = "dim") -> int:
    """Read a size from the encoder."""
    if not isinstance(encoder, nn.Module):
        raise TypeError(f"{who}: encoder must be a module; got {type(encoder).__name__}")
    value = getattr(encoder, name, None)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"{who}: the encoder must have an integer {name}; "
            f"got {type(encoder).__name__} with {name} = {value!r}"
        )
    check_at_least(who, f"{name} of the encoder", value, 1)
    return value


def feature_dim(who: str, encoder: nn.Module, pool: Pool | None) -> int:
    """Count the features of a row: the encoder's, or what the pool makes of them."""
    dim = encoder_size(who, encoder)
    if pool is None:
        return dim
    if not callable(pool):
        raise TypeError(f"{who}: pool must be callable; got {type(pool).__name__}")
    return width_of(pool, (2, 1, dim), None)


def projector_of(
    who: str,
    encoder: nn.Module,
    *,
    projector: nn.Module | None,
    pool: Pool | None,
    hidden_dim: int,
    out_dim: int,
    layers: int,
    whiten: Callable[[], nn.Module | None] = lambda: None,
) -> tuple[nn.Module, int]:
    """Return the caller's projector, or one for the encoder, and how many features it returns."""
    dim = feature_dim(who, encoder, pool)
    if projector is None:
        built = Projector(
            dim, hidden_dim=hidden_dim, out_dim=out_dim, layers=layers, whiten=whiten()
        )
        return built, out_dim
    if not isinstance(projector, nn.Module):
        raise TypeError(f"{who}: projector must be a module; got {type(projector).__name__}")
    return projector, width_of(projector, (2, dim))


def predictor_of(who: str, predictor: nn.Module | None, dim: int, hidden_dim: int) -> nn.Module:
    """Return the caller's predictor, which must keep the width, or one of two layers."""
    if predictor is None:
        return Predictor(dim, hidden_dim=hidden_dim)
    if not isinstance(predictor, nn.Module):
        raise TypeError(f"{who}: predictor must be a module; got {type(predictor).__name__}")
    width = width_of(predictor, (2, dim))
    if width != dim:
        raise ValueError(f"{who}: predictor must return {dim} features; got {width}")
    return predictor


def head_of(
    who: str,
    head: nn.Module | None,
    dim: int,
    *,
    prototypes: int,
    hidden_dim: int,
    bottleneck_dim: int,
) -> tuple[nn.Module, int]:
    """Return the caller's head, or DINO's, and how many scores it returns."""
    if head is None:
        built = DINOHead(
            dim, out_dim=prototypes, hidden_dim=hidden_dim, bottleneck_dim=bottleneck_dim
        )
        return built, prototypes
    if not isinstance(head, nn.Module):
        raise TypeError(f"{who}: head must be a module; got {type(head).__name__}")
    return head, width_of(head, (2, dim))


def width_of(part: Callable[..., Tensor], shape: tuple[int, ...], *options: object) -> int:
    """Count the features that a part makes of zeros of a shape.

    A module is copied and run in evaluation mode: nothing of it moves, nothing is drawn.
    """
    zeros = torch.zeros(shape)
    if isinstance(part, nn.Module):
        part = copy.deepcopy(part).eval()
        for tensor in part.state_dict().values():
            if tensor.is_floating_point():
                zeros = tensor.new_zeros(shape)
                break
    with torch.no_grad():
        return part(zeros, *options).shape[-1]


def head_width(who: str, head: nn.Module | None, dim: int, out_dim: int) -> nn.Module:
    """Return the caller's head, which must return `out_dim` features, or a linear layer."""
    if head is None:
        return nn.Linear(dim, out_dim)
    if not isinstance(head, nn.Module):
        raise TypeError(f"{who}: what predicts must be a module; got {type(head).__name__}")
    width = width_of(head, (2, dim))
    if width != out_dim:
        raise ValueError(f"{who}: what predicts must return {out_dim} features; got {width}")
    return head
