"""Distillation: a student should say what a teacher says, softly (Hinton) or in one word (DeiT)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_same_shape,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok._shared.transforms import can_be_read
from ssltok.losses._temperature import check_temperature, in_precision

__all__ = [
    "DistillationLoss",
    "HardDistillationLoss",
    "distillation_loss",
    "hard_distillation_loss",
]


def distillation_loss(
    student: Tensor, teacher: Tensor, *, temperature: float | Tensor = 3.0
) -> Tensor:
    r"""Measure the divergence of a student's softened probabilities from a teacher's.

    $$\frac{\tau^2}{B} \sum_b \mathrm{KL}\bigl(\mathrm{softmax}(t_b / \tau) \,\Vert\,
      \mathrm{softmax}(s_b / \tau)\bigr)$$

    The factor $\tau^2$ keeps the gradient's size for every temperature. Hinton's cross-entropy
    has the same gradient and another constant; here 0 means that the two agree. The teacher is
    detached. The published sum with labels is the caller's, with the student's class token and
    distillation token where there are two (DeiT):
    `(1 - weight) * cross_entropy(student, labels) + weight * distillation_loss(...)`.

    DeiT's equation is this one; its code divides by the number of classes besides, which makes
    its weight as many times smaller.

    Args:
        student: Logits of the student, `(batch, classes)`.
        teacher: Logits of the teacher, of the same shape.
        temperature: $\tau$; DeiT uses 3 (with the weight 0.1), Hinton 1 to 20. A number, or a
            tensor of shape `()`, which may be learned.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If the shapes differ, are not `(batch, classes)`, or are empty, or the
            temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import distillation_loss
        >>> teacher = torch.tensor([[1e9, 0.0]])  # sure of the first class
        >>> distillation_loss(torch.zeros(1, 2), teacher, temperature=1.0)  # ln 2
        tensor(0.6931)

    References:
        Hinton et al., *Distilling the knowledge in a neural network*, 2015,
        <https://arxiv.org/abs/1503.02531>, section 2.
        Touvron et al., *DeiT*, 2021, <https://arxiv.org/abs/2012.12877>, equation 2.
    """
    _check("distillation_loss", student, teacher)
    check_temperature("distillation_loss", "temperature", temperature)
    with full_precision(student):
        temperature = in_precision(temperature, upcast(student))
        log_t = torch.log_softmax(upcast(teacher.detach()) / temperature, -1)
        log_s = torch.log_softmax(upcast(student) / temperature, -1)
        p_t, apart = log_t.exp(), log_t - log_s
        total = (p_t * apart).sum()
        if not (can_be_read(total) and math.isfinite(total.detach().item())):
            total = (p_t * torch.where(p_t > 0, apart, 0)).sum()  # 0 log 0 is 0
        return total * (temperature**2 / student.shape[0])


def hard_distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Take the teacher's most probable class for a label.

    $$-\frac{1}{B} \sum_b \log \mathrm{softmax}(s_b)_{y_b}, \qquad y_b = \arg\max_k t_{bk}$$

    DeiT takes half of it and half of the cross-entropy with the true labels.

    Args:
        student: Logits of the student, `(batch, classes)`.
        teacher: Logits or probabilities of the teacher, of the same shape.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If the shapes differ, are not `(batch, classes)`, or are empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import hard_distillation_loss
        >>> hard_distillation_loss(torch.zeros(1, 2), torch.tensor([[0.1, 0.2]]))  # ln 2
        tensor(0.6931)

    References:
        Touvron et al., *DeiT*, 2021, <https://arxiv.org/abs/2012.12877>, equation 3.
    """
    _check("hard_distillation_loss", student, teacher)
    with full_precision(student):
        return cross_entropy(upcast(student), teacher.argmax(-1))


def _check(who: str, student: Tensor, teacher: Tensor) -> None:
    check_floating(who, "student", student)
    check_floating(who, "teacher", teacher)
    check_same_shape(who, "student and teacher", student, teacher)
    check_axes(who, "student", student, "batch classes")
    check_at_least(who, "student.numel()", student.numel(), 1)


class DistillationLoss(nn.Module):
    """`distillation_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, temperature: float | Tensor = 3.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of two sets of logits, `(batch, classes)` each."""
        return distillation_loss(student, teacher, temperature=self.temperature)


class HardDistillationLoss(nn.Module):
    """`hard_distillation_loss` as a module."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of two sets of logits, `(batch, classes)` each."""
        return hard_distillation_loss(student, teacher)
