"""`_many_keys` for a long queue, whose similarities are never all there."""

from typing import Any, cast

import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok.losses import _many_keys as plain
from ssltok.losses._many_keys import directions
from ssltok.losses._temperature import divide_out

__all__ = ["log_sum_over_keys"]


def log_sum_over_keys(query: Tensor, keys: Tensor, *, temperature: float | Tensor) -> Tensor:
    """As `_many_keys.log_sum_over_keys`, piece by piece.

    The gradient of the queries is a mean of the keys, made on the way forward from the same
    exponentials; only the mean, as large as the queries, is kept.
    """
    few = query.shape[0] * keys.shape[0] <= sizes.FEW_SIMILARITIES
    if few or torch.compiler.is_compiling():
        return plain.log_sum_over_keys(query, keys, temperature=temperature)
    query, number = divide_out(query, temperature)
    apply: Any = _LogSum.apply
    return cast("Tensor", apply(query, keys.detach(), number)[0])


def _keys_a_piece(query: Tensor) -> int:
    """How many keys are compared at once; never so few that calls are all there is."""
    on_cpu = query.device.type == "cpu"
    most = sizes.CACHED_SIMILARITIES if on_cpu else sizes.MANY_SIMILARITIES
    return max(most // query.shape[0], 16)


class _LogSum(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(query: Tensor, keys: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        highest = torch.full_like(query[:, :1], -torch.inf)
        total, mean = torch.zeros_like(highest), torch.zeros_like(query)
        for piece in keys.split(_keys_a_piece(query)):
            unit = directions(piece, query, temperature)
            scores = query @ unit.mT
            above = torch.maximum(highest, scores.amax(dim=-1, keepdim=True))
            shrink = (highest - above).exp_()
            shares = scores.sub_(above).exp_()
            total = total * shrink + shares.sum(dim=-1, keepdim=True)
            mean = mean * shrink + shares @ unit
            highest = above
        return (highest + total.log()).squeeze(-1), mean / total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.temperature = inputs[2]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs[:2], output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None]:
        if grads[0] is None:
            return None, None, None
        query, keys, mean = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            unit = directions(keys, query, ctx.temperature)
            mean = (query @ unit.mT).softmax(dim=-1) @ unit
        return grads[0].unsqueeze(-1) * mean, None, None
