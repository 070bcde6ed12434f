"""Region distillation: each token of a student learns from the teacher's most similar token."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_size,
)
from ssltok._shared.numerics import directed, full_precision, upcast
from ssltok.losses._products import unit_rows
from ssltok.losses._soft_cross_entropy_fast import soft_cross_entropy
from ssltok.losses._temperature import check_temperature

__all__ = ["RegionDistillationLoss", "region_distillation_loss"]


def region_distillation_loss(
    student: Tensor,
    teacher: Tensor,
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    temperature: float | Tensor = 0.1,
) -> Tensor:
    r"""Average the cross-entropy of each student token with its match in another teacher view.

    $$-\frac{1}{B N} \sum_b \sum_i \sum_k q_{b j(b, i) k}
      \log \mathrm{softmax}(x_{bi} / \tau_s)_k, \qquad
      j(b, i) = \arg\max_j \cos(f_{bi}, g_{bj})$$

    The match is made by the backbones' features, without a gradient. This is one pair of views;
    EsViT averages over the pairs of `dino_loss`, and takes half of it plus half of `dino_loss`
    (its equation has the sum, its code the half). The two views may have different numbers of
    tokens. The teacher is detached and has a centre of its own, apart from the view-level one.

    Args:
        student: Logits of the student's tokens, `(batch, tokens, codebook_size)`.
        teacher: Probabilities of another view's tokens, `(batch, teacher_tokens, codebook_size)`.
        student_features: What the student's head was given, `(batch, tokens, dim)`.
        teacher_features: What the teacher's head was given, `(batch, teacher_tokens, dim)`.
        temperature: $\tau_s$, the temperature of the student; a number, or a tensor of shape `()`,
            which may be learned.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If shapes or dtypes do not fit or the temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import region_distillation_loss
        >>> ahead = torch.eye(2)[None]  # two tokens, two features, two prototypes
        >>> back = ahead.flip(1)
        >>> # the second view tells the same tokens in reverse: every token finds itself
        >>> region_distillation_loss(9 * ahead, back, ahead, back)
        tensor(0.)

    References:
        Li et al., *EsViT*, 2022, <https://arxiv.org/abs/2106.09785>, equation 3.
    """
    who = "region_distillation_loss"
    named = {
        "student": (student, "batch tokens codebook_size"),
        "teacher": (teacher, "batch teacher_tokens codebook_size"),
        "student_features": (student_features, "batch tokens dim"),
        "teacher_features": (teacher_features, "batch teacher_tokens dim"),
    }
    for name, (tensor, axes) in named.items():
        check_floating(who, name, tensor)
        check_axes(who, name, tensor, axes)
        check_size(who, name, tensor, 0, student.shape[0])
        check_at_least(who, f"{name}.numel()", tensor.numel(), 1)
    check_size(who, "teacher", teacher, 2, student.shape[2])
    check_size(who, "student_features", student_features, 1, student.shape[1])
    check_size(who, "teacher_features", teacher_features, 1, teacher.shape[1])
    check_size(who, "teacher_features", teacher_features, 2, student_features.shape[2])
    check_temperature(who, "temperature", temperature)
    with torch.no_grad(), full_precision(student):
        # The length of a student's feature does not move its own maximum.
        similarity = directed(upcast(student_features))[0] @ unit_rows(upcast(teacher_features)).mT
        match = similarity.argmax(-1, keepdim=True).expand(-1, -1, teacher.shape[2])
        target = teacher.gather(1, match)
    return soft_cross_entropy(student, target, temperature=temperature).mean()


class RegionDistillationLoss(nn.Module):
    """`region_distillation_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, temperature: float | Tensor = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        student_features: Tensor,
        teacher_features: Tensor,
    ) -> Tensor:
        """Return the loss of one pair of views."""
        return region_distillation_loss(
            student, teacher, student_features, teacher_features, temperature=self.temperature
        )
