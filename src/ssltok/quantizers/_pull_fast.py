"""The loss of VQ-VAE in one pass, which keeps little for the way back."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["pull_together_fast"]


def pull_together_fast(
    tokens: Tensor,
    chosen: Tensor,
    real: Tensor | None,
    *,
    commitment_weight: float,
    codebook_weight: float = 0.0,
    codebook: Tensor | None = None,
    codes: Tensor | None = None,
) -> Tensor:
    """Do as `pull_together_plain` (which see).

    Both terms have one value and opposite gradients. For the way back nothing as large as the
    tokens is kept that is not there anyway: the tokens themselves, and `chosen`, which mostly is
    what the quantizer returns. Where `chosen` is `codebook[codes]` of a small codebook, a copy of
    that is kept instead, and the codebook, not `chosen`, gets the gradient of the second term.
    """
    loss: Tensor = _Pull.apply(  # type: ignore[no-untyped-call]
        tokens, codebook, codes, chosen.detach(), real, commitment_weight, codebook_weight
    )
    return loss


class _Pull(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        codebook: Tensor | None,
        codes: Tensor | None,
        chosen: Tensor,
        real: Tensor | None,
        beta: float,
        weight: float,
    ) -> Tensor:
        difference = tokens - chosen
        if real is None:
            count = difference.new_ones(()) * difference.numel()
        else:
            difference = torch.where(real[:, None], difference, 0.0)
            count = (real.sum() * difference.shape[1]).to(difference.dtype)
        share = 1 / count.clamp(min=1)
        ctx.size = 0 if codebook is None else codebook.shape[0]
        # Traced, it would be a question about the number of tokens, which is to stay free.
        few = not torch.compiler.is_compiling() and 4 * ctx.size <= tokens.shape[0]
        ctx.copied = codebook is not None and few
        # A copy: the codebook may have moved by the time of the backward pass.
        kept = codebook.clone() if codebook is not None and ctx.copied else chosen
        ctx.save_for_backward(tokens, kept, codes, real, share)
        ctx.weights = (beta, weight)
        value: Tensor = torch.linalg.vector_norm(difference).square()
        return value * share * (beta + weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tokens, kept, codes, real, share = ctx.saved_tensors
        beta, weight = ctx.weights
        step = 2 * grad * share

        def apart(scale: Tensor) -> Tensor:
            difference: Tensor = kept[codes].neg_().add_(tokens) if ctx.copied else tokens - kept
            if real is not None:
                difference.masked_fill_(~real[:, None], 0.0)
            return difference.mul_(scale)

        to_codebook = to_tokens = None
        if ctx.needs_input_grad[1]:
            to_codebook = torch.ops.aten.embedding_dense_backward(
                apart(step * -weight), codes, ctx.size, -1, scale_grad_by_freq=False
            )
        if ctx.needs_input_grad[0]:
            to_tokens = apart(step * beta)
        return to_tokens, to_codebook, None, None, None, None, None
