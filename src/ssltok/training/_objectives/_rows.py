"""From views to the rows of a loss: encode in one pass, drop padding or pool, project."""

import copy
from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_bool_mask, check_floating
from ssltok._shared.ranks import in_a_group
from ssltok.distributed import reduce_sum
from ssltok.nn import Projector
from ssltok.training._objectives._protocol import ObjectiveBatch

__all__ = [
    "Pool",
    "Tower",
    "check_views",
    "encoder_size",
    "feature_dim",
    "logged",
    "projected",
    "projector_of",
    "token_valid",
    "whole_batch_mean",
    "width_of",
]

Pool = Callable[[Tensor, Tensor | None], Tensor]
"""From features `(batch, tokens, dim)` and which tokens are real, or None, to `(batch, dim)`."""


class Tower(nn.Module):
    """An encoder and the head behind it: what a teacher copies, and what `projected` runs."""

    def __init__(self, encoder: nn.Module, head: nn.Module, pool: Pool | None = None) -> None:
        super().__init__()
        self.encoder, self.head, self.pool = encoder, head, pool

    def forward(self, views: Sequence[Tensor], valid: Tensor | None = None) -> list[Tensor]:
        """Return the projections of each view, `(rows, dim)`."""
        batch = ObjectiveBatch(tuple(views), valid)
        return projected("EMATeacher", self.encoder, batch, head=self.head, pool=self.pool)


def projected(
    who: str, encoder: nn.Module, batch: ObjectiveBatch, *, head: nn.Module, pool: Pool | None
) -> list[Tensor]:
    """Project the features of each view to `(rows, dim)`: all views at once, so in one BatchNorm.

    A row is a series, or without `pool` each real token of it, in the order of the series.
    """
    features = batch.features
    if features is None:
        features = encoded(who, encoder, batch.views, batch.valid)
    rows = [_rows(who, encoder, part, batch.valid, pool) for part in features]
    together: Tensor = head(torch.cat(rows))
    return list(together.split([len(part) for part in rows]))


def encoded(
    who: str, encoder: nn.Module, views: Sequence[Tensor], valid: Tensor | None
) -> tuple[Tensor, ...]:
    """Encode the views, those of one length in one pass."""
    features: list[Tensor] = []
    for _, group in groupby(views, key=lambda view: view.shape[-1]):
        some = list(group)
        series = torch.cat(some)
        if valid is None:
            result = encoder(series)
        else:
            result = encoder(series, valid=valid.repeat(len(some), 1))
        check_floating(who, "the encoder's features", result)
        features += result.chunk(len(some))
    return tuple(features)


def _rows(
    who: str, encoder: nn.Module, features: Tensor, valid: Tensor | None, pool: Pool | None
) -> Tensor:
    if pool is None and features.ndim == 2:
        return features
    check_axes(who, "features to pool" if pool else "features", features, "batch tokens dim")
    real = None if valid is None else token_valid(who, encoder, valid)
    if real is not None:
        check_bool_mask(who, "token_valid(valid) of the encoder", real, features.shape[:2])
    if pool is not None:
        return pool(features, real)
    # Rows of padding would count in every statistic; how many are real, only the device knows.
    return features.flatten(0, 1) if real is None else features[real]


def token_valid(who: str, encoder: nn.Module, valid: Tensor) -> Tensor:
    """Ask the encoder which of its tokens are real, `(batch, tokens)`."""
    ask = getattr(encoder, "token_valid", None)
    if not callable(ask):
        raise TypeError(
            f"{who}: the encoder must have token_valid(valid) for padded series; "
            f"got {type(encoder).__name__} without it"
        )
    real: Tensor = ask(valid)
    return real


def check_views(who: str, batch: ObjectiveBatch, views: int, *, read: bool = False) -> None:
    """Ask for as many views as the objective wants, of one batch; or for their features.

    Args:
        who: The objective.
        batch: The batch.
        views: How many it wants.
        read: Whether the views themselves are read even where features are given (teachers).
    """
    features = batch.features
    if features is not None:
        if len(features) != views:
            raise ValueError(f"{who}: features must be those of {views} views; got {len(features)}")
        for part in features:
            check_floating(who, "features of each view", part)
        check_same_batch(who, "features", features)
        if not read:
            return
    if len(batch.views) != views:
        raise ValueError(f"{who}: views must be {views}; got {len(batch.views)}")
    for view in batch.views:
        check_axes(who, "each view", view, "batch channels length")
        check_floating(who, "each view", view)
        if batch.valid is not None:
            check_bool_mask(who, "valid", batch.valid, (view.shape[0], view.shape[2]))
    check_same_batch(who, "views", batch.views)


def check_same_batch(who: str, name: str, parts: Sequence[Tensor]) -> None:
    """Ask that row b of each tensor can be the same series."""
    sizes = [part.shape[0] for part in parts]
    if len(set(sizes)) > 1:
        raise ValueError(f"{who}: {name} must share one batch; got {sizes} rows")


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
        made = Projector(
            dim, hidden_dim=hidden_dim, out_dim=out_dim, layers=layers, whiten=whiten()
        )
        return made, out_dim
    if not isinstance(projector, nn.Module):
        raise TypeError(f"{who}: projector must be a module; got {type(projector).__name__}")
    return projector, width_of(projector, (2, dim))


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


def whole_batch_mean(mean: Tensor, count: Tensor | int) -> Tensor:
    """Turn the mean over this process's `count` rows into that over the rows of all processes."""
    if not in_a_group():
        return mean
    weight = torch.as_tensor(count, device=mean.device).to(mean.dtype)
    sums = reduce_sum(torch.stack([mean * weight, weight]))
    return sums[0] / sums[1].clamp(min=1)


def logged(**terms: Tensor) -> dict[str, Tensor]:
    """Return the terms without their graphs."""
    return {name: term.detach() for name, term in terms.items()}
