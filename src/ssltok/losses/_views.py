"""Views of one batch, given one by one: asked for, then stacked."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_same_shape
from ssltok._shared.numerics import upcast

__all__ = ["check_views", "how_many_global", "stack_views"]


def check_views(
    who: str, views: Sequence[Tensor], *, least_views: int = 2, least_batch: int = 1
) -> None:
    """Ask for views `(batch, dim)` of one shape."""
    check_at_least(who, "number of views", len(views), least_views)
    for view in views:
        check_floating(who, "each view", view)
        check_axes(who, "each view", view, "batch dim")
        check_same_shape(who, "the views", views[0], view)
    check_at_least(who, "batch", views[0].shape[0], least_batch)
    check_at_least(who, "dim", views[0].shape[1], 1)


def how_many_global(who: str, views: Sequence[Tensor], global_views: int | None) -> int:
    """Return how many of the views, the first ones, are global; all if None."""
    if global_views is None:
        return len(views)
    check_at_least(who, "global_views", global_views, 1)
    if global_views > len(views):
        raise ValueError(
            f"{who}: global_views must be at most the number of views; "
            f"got {global_views} and {len(views)}"
        )
    return global_views


def stack_views(views: Sequence[Tensor]) -> Tensor:
    """Stack views to `(views, batch, dim)`, in float32 at least."""
    return torch.stack([upcast(view) for view in views])
