"""`_soft_cross_entropy` at one exponential for both directions.

`log_softmax` pays one exponential on the way forward and a second one on the way back. Here the
probabilities of the forward pass are kept instead, so that the backward pass is a difference.
"""

from typing import Any, cast

import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._soft_cross_entropy import log_softmax
from ssltok.losses._temperature import divide_out

__all__ = ["cross_view_entropy", "soft_cross_entropy"]


def soft_cross_entropy(
    logits: Tensor, target: Tensor, *, temperature: float | Tensor = 1.0
) -> Tensor:
    """As `_soft_cross_entropy.soft_cross_entropy`, with the gradient made on the way forward."""
    return _rows(logits.unsqueeze(0), [target], temperature).squeeze(0)


def cross_view_entropy(student: Tensor, teacher: Tensor, *, temperature: float | Tensor) -> Tensor:
    """As `_soft_cross_entropy.cross_view_entropy`, each view read once.

    Teachers that a student view is compared with are summed first: the cross-entropy is linear
    in its target, so each student view is read once however many teachers there are.
    """
    teachers = upcast(teacher.detach()).unbind(0)
    if len(teachers) == 1:  # the first view has no other teacher
        return _total(student[1:], [teachers[0]], temperature) / student[1:, :, 0].numel()
    targets = []
    for view in range(len(teachers)):
        others = [target for index, target in enumerate(teachers) if index != view]
        targets.append(others[0] if len(others) == 1 else torch.stack(others).sum(0))
    if student.shape[0] > len(teachers):
        targets.append(targets[0] + teachers[0])  # all teachers, for all views that have none
    pairs = len(teachers) * (student.shape[0] - 1)
    return _total(student, targets, temperature) / (pairs * student.shape[1])


def _rows(logits: Tensor, targets: list[Tensor], temperature: float | Tensor) -> Tensor:
    """One target for each entry of the first axis; the last serves all entries that are left."""
    with full_precision(logits):
        logits = upcast(logits)
        targets = [target.detach().to(logits.dtype) for target in targets]
        if _is_small(logits):
            return -(_each(targets, logits) * log_softmax(logits, temperature)).sum(-1)
        logits, number = divide_out(logits, temperature)
        apply: Any = _SoftCrossEntropy.apply
        return cast("Tensor", apply(logits, number, *targets)[0])


def _total(logits: Tensor, targets: list[Tensor], temperature: float | Tensor) -> Tensor:
    """The sum of all rows."""
    if not _is_small(logits):
        return _rows(logits, targets, temperature).sum()
    with full_precision(logits):
        logs = log_softmax(upcast(logits), temperature)
        return -torch.dot(_each(targets, logs).to(logs.dtype).flatten(), logs.flatten())


def _is_small(logits: Tensor) -> bool:
    """Fewer operations where these cost more than bytes, and a form that compilers fuse."""
    return logits.numel() <= sizes.CACHED_NUMBERS // 2 or torch.compiler.is_compiling()


def _each(targets: list[Tensor], logits: Tensor) -> Tensor:
    return torch.stack(targets + targets[-1:] * (logits.shape[0] - len(targets)))


def _pieces(logits: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Cut `(views, ..., codebook_size)` and its target into pieces that fit a processor's cache."""
    count = -(-logits.numel() // max(1, sizes.CACHED_NUMBERS)) if logits.device.type == "cpu" else 1
    if target.ndim == 1:
        return [(logits, target)]
    return list(zip(logits.chunk(count, dim=1), target.chunk(count), strict=True))


class _SoftCrossEntropy(torch.autograd.Function):
    """Rows of cross-entropy; the gradient is made on the way forward, from the same exponential.

    The last target serves all views that are left: it is passed once, not copied.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, temperature: float, *targets: Tensor) -> tuple[Tensor, Tensor]:
        slopes = logits - logits.amax(-1, keepdim=True)
        last = len(targets) - 1
        rows = []
        for index, target in enumerate(targets):
            views = slopes[index:] if index == last else slopes[index : index + 1]
            parts = []
            for shifted, share in _pieces(views, target):
                mass = share.sum(-1, keepdim=True)
                dot = (shifted * share).sum(-1, keepdim=True)
                total = shifted.div_(temperature).exp_().sum(-1, keepdim=True)
                parts.append(mass * total.log() - dot / temperature)
                shifted.mul_(mass / total).sub_(share)
            rows.append(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])
        return torch.cat(rows).squeeze(-1), slopes

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        logits, ctx.temperature, *targets = inputs
        ctx.set_materialize_grads(False)  # no zeros for what gets no gradient
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1], logits, *targets)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if grads[0] is None:
            return (None,) * len(ctx.needs_input_grad)
        slopes, logits, *targets = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            target = _each(targets, logits)
            probs = torch.softmax(logits / ctx.temperature, -1)
            slopes = probs * target.sum(-1, keepdim=True) - target
        scale = (grads[0] / ctx.temperature).unsqueeze(-1)
        return (slopes * scale, None, *(None for _ in targets))
