"""`_slice_errors` at one sine and one cosine of each projection."""

from typing import Any, cast

import torch
from torch import Tensor

from ssltok._shared.transforms import QuickFunction
from ssltok.losses import _slice_errors as plain
from ssltok.losses._slice_errors import nodes

__all__ = ["slice_errors"]


def slice_errors(
    projected: Tensor, *, points: int, limit: float, shares: Tensor | None = None
) -> Tensor:
    """As `_slice_errors.slice_errors`, by powers of one complex number."""
    if torch.compiler.is_compiling():  # compilers fuse sines; they know no complex numbers
        return plain.slice_errors(projected, points=points, limit=limit, shares=shares)
    rule = nodes(projected, points, limit)
    return cast("Tensor", _SliceErrors.apply(projected, *rule, shares)[0])


def _mean(values: Tensor, shares: Tensor | None) -> Tensor:
    return values.mean(dim=0) if shares is None else (shares * values).sum(dim=0)


class _SliceErrors(QuickFunction):
    r"""The errors at one sine and one cosine of each projection, not one of each for each node.

    The nodes are even, so their $e^{i t_k p}$ are the powers of one complex number, $w^k$; and
    the gradient, a sum of powers, is Horner's rule. The powers are not kept.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        projected: Tensor,
        step: float,
        t: Tensor,
        gauss: Tensor,
        weights: Tensor,
        shares: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        phase = projected * step
        base = torch.complex(phase.cos(), phase.sin())
        power = base.clone()
        means = [_mean(power, shares)]
        for _ in range(2, t.shape[0]):
            power.mul_(base)
            means.append(_mean(power, shares))
        error = torch.stack(means, dim=-1) - gauss[1:]
        squares = error.real.square() + error.imag.square()
        scale = 2 * weights[1:] * t[1:]
        if shares is None:
            scale = scale / projected.shape[0]
        slopes = torch.complex(scale * error.imag, scale * error.real).unbind(dim=-1)
        total = power.zero_()
        for slope in reversed(slopes):
            total.add_(slope).mul_(base)
        along = total.real.clone() if shares is None else total.real * shares
        return squares @ weights[1:], along

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)  # no zeros for what gets no gradient
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], *inputs[2:], output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if grads[0] is None:
            return (None,) * 6
        projected, t, gauss, weights, shares, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            phase = projected.unsqueeze(-1) * t
            cosine, sine = phase.cos(), phase.sin()
            share = None if shares is None else shares.unsqueeze(-1)
            turned = _mean(sine, share) * cosine - (_mean(cosine, share) - gauss) * sine
            scale = 2 * weights * t
            if shares is None:
                slopes = turned @ (scale / projected.shape[0])
            else:
                slopes = turned @ scale * shares
        return slopes * grads[0], None, None, None, None, None
