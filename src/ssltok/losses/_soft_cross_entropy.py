"""Cross-entropy of logits against whole distributions: one exponential for both directions.

`log_softmax` pays one exponential on the way forward and a second one on the way back. Here the
probabilities of the forward pass are kept instead, so that the backward pass is a difference.
"""

from typing import Any, cast

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_positive,
)
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["check_distributions", "cross_view_entropy", "soft_cross_entropy"]

CACHE = 2**18  # numbers of one piece of work on a processor, 1 MiB in float32


def soft_cross_entropy(logits: Tensor, target: Tensor, *, temperature: float = 1.0) -> Tensor:
    r"""Return $-\sum_k q_k \log \mathrm{softmax}(x / \tau)_k$ for each row, in at least float32.

    The target `q` is detached; its rows may have any mass. Shapes `(..., codebook_size)`, result
    `(...)`.
    """
    return _rows(logits.unsqueeze(0), [target], temperature).squeeze(0)


def cross_view_entropy(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Return the mean cross-entropy over every pair of a teacher and another student view.

    Teachers that a student view is compared with are summed first: the cross-entropy is linear
    in its target, so each student view is read once however many teachers there are.
    """
    teacher = upcast(teacher.detach())
    targets = teacher.unbind(0)
    if len(targets) == 1:  # the first view has no other teacher
        rows = _rows(student[1:], [targets[0]] * (student.shape[0] - 1), temperature)
        return rows.mean()
    everyone = teacher.sum(0) if student.shape[0] > len(targets) else None
    merged = []
    for view in range(student.shape[0]):
        others = [target for index, target in enumerate(targets) if index != view]
        if everyone is not None and view >= len(targets):
            merged.append(everyone)
        else:
            merged.append(others[0] if len(others) == 1 else torch.stack(others).sum(0))
    pairs = len(targets) * (student.shape[0] - 1)
    return _rows(student, merged, temperature).sum() / (pairs * student.shape[1])


def check_distributions(
    who: str, names: tuple[str, str], student: Tensor, teacher: Tensor, temperature: float
) -> None:
    """Ask for logits and probabilities, `(views, batch, codebook_size)`, and a temperature."""
    first, second = names
    check_axes(who, first, student, "views batch codebook_size")
    check_axes(who, second, teacher, "views batch codebook_size")
    check_floating(who, first, student)
    check_floating(who, second, teacher)
    views, targets = student.shape[0], teacher.shape[0]
    if student.shape[1:] != teacher.shape[1:] or views < 2 or not 1 <= targets <= views:
        raise ValueError(
            f"{who}: {first} must hold two views or more, and {second} the first of them; "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    check_at_least(who, "batch", student.shape[1], 1)
    check_positive(who, "temperature", temperature)


def _rows(logits: Tensor, targets: list[Tensor], temperature: float) -> Tensor:
    with full_precision(logits):
        logits = upcast(logits)
        targets = [target.detach().to(logits.dtype) for target in targets]
        if logits.numel() <= CACHE or torch.compiler.is_compiling():
            # Fewer operations where these cost more than bytes, and a form that compilers fuse.
            shifted = logits - logits.detach().amax(-1, keepdim=True)
            logs = torch.log_softmax(shifted / temperature, -1)
            return -(torch.stack(targets) * logs).sum(-1)
        apply: Any = _SoftCrossEntropy.apply
        return cast("Tensor", apply(logits, temperature, *targets)[0])


def _pieces(logits: Tensor, targets: tuple[Tensor, ...]) -> list[tuple[Tensor, Tensor]]:
    """Cut logits and targets into pieces that fit a processor's cache."""
    pieces = []
    for part, target in zip(logits.unbind(0), targets, strict=True):
        count = -(-part.numel() // max(1, CACHE)) if part.device.type == "cpu" else 1
        pieces += list(zip(part.chunk(count), target.chunk(count), strict=True))
    return pieces


class _SoftCrossEntropy(torch.autograd.Function):
    """Rows of cross-entropy; the gradient is made on the way forward, from the same exponential.

    One target for each entry of the first axis: targets that are equal are passed, not copied.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, temperature: float, *targets: Tensor) -> tuple[Tensor, Tensor]:
        slopes = logits - logits.amax(-1, keepdim=True)
        rows = []
        for shifted, target in _pieces(slopes, targets):
            mass = target.sum(-1, keepdim=True)
            dot = (shifted * target).sum(-1, keepdim=True)
            total = shifted.div_(temperature).exp_().sum(-1, keepdim=True)
            rows.append((mass * total.log() - dot / temperature).flatten())
            shifted.mul_(mass / total).sub_(target)
        return torch.cat(rows).reshape(logits.shape[:-1]), slopes

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        logits, ctx.temperature, *targets = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1], logits, *targets)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slopes, logits, *targets = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            target = torch.stack(targets)
            probs = torch.softmax(logits / ctx.temperature, -1)
            slopes = probs * target.sum(-1, keepdim=True) - target
        scale = (grads[0] / ctx.temperature).unsqueeze(-1)
        return (slopes * scale, None, *(None for _ in targets))
