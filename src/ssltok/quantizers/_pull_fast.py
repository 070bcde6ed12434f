"""The loss of VQ-VAE in one pass, which keeps little for the way back."""

from typing import Any

import torch
from torch import Tensor

from ssltok._shared.transforms import QuickFunction, is_mapped

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
    traced, chosen, few = torch.compiler.is_compiling(), chosen.detach(), False
    if codebook is not None:
        # Traced, it would be a question about the number of tokens, which is to stay free.
        few = not traced and 4 * codebook.shape[0] <= tokens.shape[0]
        if few:
            codebook = codebook.clone()  # it may have moved by the time of the backward pass
        elif codebook.requires_grad:
            link: Any = _Link if traced else _LinkForward
            chosen = link.apply(codebook, codes, chosen)
    function: Any = _Pull if traced else _PullForward
    options = (commitment_weight, codebook_weight, few)
    loss: Tensor = function.apply(tokens, codebook, codes, chosen, real, *options)[0]
    return loss


class _Link(torch.autograd.Function):
    """`codebook[codes]`, which is there already, as it hangs on the codebook.

    Second derivatives go this way. It is a node of its own: that of the look-up may be freed by
    who else uses it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(codebook: Tensor, codes: Tensor, chosen: Tensor) -> Tensor:
        return chosen.view_as(chosen)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.size = inputs[0].shape[0]
        ctx.set_materialize_grads(False)  # the first derivative does not go this way
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, None, None]:
        if grad is None:
            return None, None, None
        return _scattered(grad, ctx.saved_tensors[0], ctx.size), None, None


class _LinkForward(QuickFunction, _Link):
    """With a forward derivative, which compilers refuse: they get the class itself."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return tangent[ctx.saved_tensors[0]]


class _Pull(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        tokens: Tensor,
        codebook: Tensor | None,
        codes: Tensor | None,
        chosen: Tensor,
        real: Tensor | None,
        beta: float,
        weight: float,
        few: bool,  # noqa: FBT001
    ) -> tuple[Tensor, Tensor]:
        difference = tokens - chosen
        if real is None:
            count = difference.new_ones(()) * difference.numel()
        else:
            difference = torch.where(real[:, None], difference, 0.0)
            count = (real.sum() * difference.shape[1]).to(difference.dtype)
        share = 1 / count.clamp(min=1)
        value: Tensor = torch.linalg.vector_norm(difference).square()
        return value * share * (beta + weight), share

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        tokens, codebook, codes, chosen, real, *ctx.options = inputs
        ctx.size = 0 if codebook is None else codebook.shape[0]
        few = ctx.options[2]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(tokens, codebook if few else chosen, codes, real, output[1])
        ctx.save_for_forward(tokens, codebook if few else chosen, codes, real, output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        tokens, vectors, codes, real, share = ctx.saved_tensors
        beta, weight, few = ctx.options
        if grads[0] is None:
            return (None,) * 8
        step = 2 * grads[0] * share
        to_codebook = to_tokens = None
        if torch.is_grad_enabled() or is_mapped(grads[0]):  # a second derivative, or many
            chosen = vectors[codes] if few else vectors
            if ctx.needs_input_grad[1]:
                rows = _masked(tokens.detach() - chosen, real) * (step * -weight)
                to_codebook = _scattered(rows, codes, ctx.size)
            if ctx.needs_input_grad[0]:
                to_tokens = _masked(tokens - chosen.detach(), real) * (step * beta)
            return to_tokens, to_codebook, *(None,) * 6

        def apart(scale: Tensor) -> Tensor:
            difference: Tensor = vectors[codes].neg_().add_(tokens) if few else tokens - vectors
            if real is not None:
                difference.masked_fill_(~real[:, None], 0.0)
            return difference.mul_(scale)

        if ctx.needs_input_grad[1]:
            to_codebook = torch.ops.aten.embedding_dense_backward(
                apart(step * -weight), codes, ctx.size, -1, scale_grad_by_freq=False
            )
        if ctx.needs_input_grad[0]:
            to_tokens = apart(step * beta)
        return to_tokens, to_codebook, *(None,) * 6


class _PullForward(QuickFunction, _Pull):
    """With a forward derivative, which compilers refuse: they get the class itself."""

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, None]:
        tokens, vectors, codes, real, share = ctx.saved_tensors
        beta, weight, few = ctx.options
        difference = _masked(tokens - (vectors[codes] if few else vectors), real)
        total = difference.new_zeros(())
        if tangents[0] is not None:
            total = total + beta * (difference * tangents[0]).sum()
        if tangents[1] is not None:
            total = total - weight * (difference * tangents[1][codes]).sum()
        return 2 * share * total, None


def _masked(rows: Tensor, real: Tensor | None) -> Tensor:
    return rows if real is None else rows.masked_fill(~real[:, None], 0.0)


def _scattered(rows: Tensor, codes: Tensor, size: int) -> Tensor:
    return rows.new_zeros(size, rows.shape[1]).index_add(0, codes, rows)
