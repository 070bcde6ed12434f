"""From views to the rows of a loss: encode in one pass, drop padding or pool, project."""

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_bool_mask, check_floating
from ssltok._shared.ranks import in_a_group
from ssltok.distributed import reduce_sum
from ssltok.training._objectives._protocol import ObjectiveBatch

__all__ = [
    "Pool",
    "Tower",
    "check_global",
    "check_views",
    "features_of",
    "logged",
    "projected",
    "rows_of",
    "same_rows",
    "token_valid",
    "whole_batch_mean",
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
    features = features_of(who, encoder, batch)
    rows = [rows_of(who, encoder, part, batch.valid, pool) for part in features]
    together: Tensor = head(torch.cat(rows))
    return list(together.split([len(part) for part in rows]))


def features_of(who: str, encoder: nn.Module, batch: ObjectiveBatch) -> tuple[Tensor, ...]:
    """Return the features of each view: the caller's, or encoded, views of one length together."""
    if batch.features is not None:
        return batch.features
    features: list[Tensor] = []
    for _, group in groupby(batch.views, key=lambda view: view.shape[-1]):
        alike = list(group)
        series = torch.cat(alike)
        if batch.valid is None:
            result = encoder(series)
        else:
            result = encoder(series, valid=batch.valid.repeat(len(alike), 1))
        check_floating(who, "the encoder's features", result)
        features += result.chunk(len(alike))
    return tuple(features)


def rows_of(
    who: str, encoder: nn.Module, features: Tensor, valid: Tensor | None, pool: Pool | None
) -> Tensor:
    """Flatten or pool the features of a view to `(rows, dim)`."""
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


def check_global(who: str, global_views: int | None, views: int) -> None:
    """Ask that some of the views are global, if not all."""
    if global_views is None:
        return
    check_at_least(who, "global_views", global_views, 1)
    if global_views > views:
        raise ValueError(
            f"{who}: global_views must be at most views; got {global_views} and {views}"
        )


def same_rows(who: str, views: list[Tensor]) -> list[Tensor]:
    """Ask that row b of each view can be the same series, or the same token of it."""
    rows = [len(view) for view in views]
    if len(set(rows)) > 1:
        raise ValueError(
            f"{who}: all views must have equally many rows (pool tokens of views of several "
            f"lengths); got {rows}"
        )
    return views


def check_same_batch(who: str, name: str, parts: Sequence[Tensor]) -> None:
    """Ask that row b of each tensor can be the same series."""
    sizes = [part.shape[0] for part in parts]
    if len(set(sizes)) > 1:
        raise ValueError(f"{who}: {name} must share one batch; got {sizes} rows")


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
