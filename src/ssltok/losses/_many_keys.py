"""The log-sum-exp of queries over a long queue of keys, whose similarities are never all there."""

from typing import Any, cast

import torch
from torch import Tensor

__all__ = ["directions", "log_sum_over_keys"]

SCORES = {"cpu": 2**18}
"""Similarities held at once: what stays in a core's cache; elsewhere what keeps the device busy."""
MANY = 2**26
FEW = 2**16
"""Up to here all similarities at once take fewer calls."""


def log_sum_over_keys(query: Tensor, keys: Tensor, *, temperature: float) -> Tensor:
    r"""Return $\log \sum_n e^{q_b \cdot \bar k_n / \tau}$ for each query, `(batch,)`.

    The keys, `(keys, dim)`, get length 1 here and no gradient. That of the queries is a mean of
    the keys, made on the way forward from the same exponentials, piece by piece; only the mean,
    as large as the queries, is kept.
    """
    if query.shape[0] * keys.shape[0] <= FEW or torch.compiler.is_compiling():
        return (query @ directions(keys, query, temperature).mT).logsumexp(dim=-1)
    apply: Any = _LogSum.apply
    return cast("Tensor", apply(query, keys.detach(), temperature)[0])


def directions(keys: Tensor, like: Tensor, temperature: float) -> Tensor:
    r"""Return $\bar k / \tau$ in the precision of `like`, without a gradient; 0 for a key of 0."""
    keys = keys.detach().to(like.dtype)
    square = keys.square().sum(dim=-1, keepdim=True).clamp_min_(1e-24)
    return keys * square.rsqrt_().div_(temperature)


class _LogSum(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(query: Tensor, keys: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        highest = torch.full_like(query[:, :1], -torch.inf)
        total, mean = torch.zeros_like(highest), torch.zeros_like(query)
        for some in keys.split(max(SCORES.get(keys.device.type, MANY) // query.shape[0], 16)):
            unit = directions(some, query, temperature)
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
