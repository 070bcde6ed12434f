"""`_nearest_distances` at one copy of the rows each way."""

from typing import Any, cast

import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok._shared.transforms import QuickFunction
from ssltok.losses import _nearest_distances as plain
from ssltok.losses._nearest_distances import nearest_rows
from ssltok.losses._products_fast import gram

__all__ = ["nearest_distances"]


def nearest_distances(rows: Tensor, *, eps: float) -> Tensor:
    """As `_nearest_distances.nearest_distances`, with the differences kept for the way back."""
    if rows.numel() <= sizes.FEW_NUMBERS:
        return plain.nearest_distances(rows, eps=eps)
    return cast("Tensor", _NearestDistances.apply(rows, eps)[0])


class _NearestDistances(QuickFunction):
    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        nearest = nearest_rows(gram(rows))
        apart = _differences(rows, nearest, eps)
        return torch.linalg.vector_norm(apart, dim=-1), apart, nearest

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.eps = inputs[1]
        ctx.set_materialize_grads(False)  # no zeros for what gets no gradient
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], *output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        if grads[0] is None:
            return None, None
        rows, distances, apart, nearest = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            apart = _differences(rows, nearest, ctx.eps)
            distances = torch.linalg.vector_norm(apart, dim=-1)
        pull = apart * (grads[0] / distances).unsqueeze(-1)
        return pull.index_add(0, nearest, pull, alpha=-1), None


def _differences(rows: Tensor, nearest: Tensor, eps: float) -> Tensor:
    return rows.index_select(0, nearest).neg_().add_(rows).add_(eps)
