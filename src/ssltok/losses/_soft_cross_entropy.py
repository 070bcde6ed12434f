"""Cross-entropy of logits against whole distributions."""

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._temperature import check_temperature

__all__ = ["check_distributions", "cross_view_entropy", "log_softmax", "soft_cross_entropy"]


def soft_cross_entropy(
    logits: Tensor, target: Tensor, *, temperature: float | Tensor = 1.0
) -> Tensor:
    r"""Return $-\sum_k q_k \log \mathrm{softmax}(x / \tau)_k$ for each row, in at least float32.

    The target `q` is detached; its rows may have any mass. Shapes `(..., codebook_size)`, result
    `(...)`.
    """
    with full_precision(logits):
        logits = upcast(logits)
        return -(target.detach().to(logits.dtype) * log_softmax(logits, temperature)).sum(-1)


def cross_view_entropy(student: Tensor, teacher: Tensor, *, temperature: float | Tensor) -> Tensor:
    """Return the mean cross-entropy over every pair of a teacher and another student view."""
    pairs = [
        soft_cross_entropy(student[s], teacher[t], temperature=temperature).mean()
        for s in range(student.shape[0])
        for t in range(teacher.shape[0])
        if s != t
    ]
    return torch.stack(pairs).mean()


def log_softmax(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """The highest logit is taken off before the division, which keeps the digits."""
    shifted = (logits - logits.detach().amax(-1, keepdim=True)).div_(temperature)
    return torch.log_softmax(shifted, -1)


def check_distributions(
    who: str,
    names: tuple[str, str],
    student: Tensor,
    teacher: Tensor,
    temperature: float | Tensor,
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
    check_temperature(who, "temperature", temperature)
