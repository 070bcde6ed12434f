"""The loss of VQ-VAE in one pass: latents and codes pull each other, each with its own weight."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["pull_together"]


def pull_together(
    tokens: Tensor,
    chosen: Tensor,
    real: Tensor | None,
    *,
    commitment_weight: float,
    codebook_weight: float,
) -> Tensor:
    r"""Return the commitment and codebook terms, weighted, over the real tokens.

    $$\beta\, \overline{\lVert x - \mathrm{sg}(q) \rVert^2}
      + w\, \overline{\lVert \mathrm{sg}(x) - q \rVert^2}$$

    Both terms have one value and opposite gradients; the difference is computed and kept once.
    """
    loss: Tensor = _Pull.apply(tokens, chosen, real, commitment_weight, codebook_weight)  # type: ignore[no-untyped-call]
    return loss


class _Pull(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, chosen: Tensor, real: Tensor | None, beta: float, weight: float
    ) -> Tensor:
        difference = tokens - chosen
        if real is None:
            count = difference.new_ones(()) * difference.numel()
        else:
            difference = torch.where(real[:, None], difference, 0.0)
            count = real.sum() * difference.shape[1]
        share = 1 / count.clamp(min=1)
        ctx.save_for_backward(difference, share)
        ctx.weights = (beta, weight)
        value: Tensor = torch.linalg.vector_norm(difference).square()
        return value * share * (beta + weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        difference, share = ctx.saved_tensors
        beta, weight = ctx.weights
        step = 2 * grad * share
        to_tokens = difference * (step * beta) if ctx.needs_input_grad[0] else None
        to_chosen = difference * (step * -weight) if ctx.needs_input_grad[1] else None
        return to_tokens, to_chosen, None, None, None
