"""SimDINO: DINO without prototypes: follow the teacher, and keep the coding rate high."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_positive,
    check_weights,
)
from ssltok._shared.numerics import full_precision, upcast_pair
from ssltok.losses._coding_rate import coding_rate
from ssltok.losses._products_fast import unit_rows

__all__ = ["SimDINOLoss", "SimDINOTerms", "simdino_loss", "simdino_terms"]


class SimDINOTerms(NamedTuple):
    r"""The two unweighted terms of `simdino_loss`; each is a scalar.

    Attributes:
        agreement: Mean cosine of student and teacher over pairs of different views, at most 1.
        expansion: The coding rate of the teacher's views times $(B + D) / (B D)$.
    """

    agreement: Tensor
    expansion: Tensor


def simdino_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    agreement_weight: float = 1.0,
    eps: float = 0.5,
    average: bool = True,
) -> Tensor:
    r"""Turn each view towards what the teacher makes of another, while all of them spread.

    $$-c\, \frac{1}{T (V - 1) B} \sum_{t \le T} \sum_{v \ne t} \sum_b \cos(s_{vb}, t_{tb})
      - \frac{B + D}{B D}\, \frac{1}{T} \sum_{t \le T} R_\epsilon\bigl(\tfrac{1}{2}
      (\bar s_t + \bar t_t)\bigr)$$

    with the `coding_rate` $R$ of rows of norm 1. There is no centre, no temperature and no head of
    prototypes. The teacher is detached: only the student's half of the average gets a gradient.
    A number must be high in both terms, so the loss is negative.

    Constants: the authors' script averages student and teacher; `average=False` takes the rate of
    the student alone.

    Over several processes, give it `gather` of both along the batch; the authors' code takes the
    rate of local rows by default.

    Args:
        student: Embeddings of all views, `(views, batch, dim)`, of any length.
        teacher: Those of the first views by the teacher, in the same order,
            `(teacher_views, batch, dim)`.
        agreement_weight: $c$.
        eps: $\epsilon > 0$, the squared precision of the rate.
        average: Whether the rate is that of the mean of student and teacher.

    Returns:
        The loss, a scalar in float32 (float64 for float64 embeddings).

    Raises:
        ValueError: If the shapes do not fit, there are fewer than two views, more of the teacher's
            than views, or `eps <= 0`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import simdino_loss
        >>> z = torch.eye(2).expand(2, 2, 2)  # they agree: -1; the rate is log 3, times 4 / 4
        >>> round(simdino_loss(z, z).item(), 4)
        -2.0986

    References:
        Wu et al., *SimDINO*, 2025, <https://arxiv.org/abs/2502.10385>; the formula is that of
        the authors' code.
    """
    check_weights("simdino_loss", agreement_weight=agreement_weight)
    terms = _terms("simdino_loss", student, teacher, eps, average=average)
    return -agreement_weight * terms.agreement - terms.expansion


def simdino_terms(
    student: Tensor, teacher: Tensor, *, eps: float = 0.5, average: bool = True
) -> SimDINOTerms:
    """Compute the terms of `simdino_loss` separately, for logging or other weights.

    Args:
        student: Embeddings of all views, `(views, batch, dim)`.
        teacher: Those of the first views by the teacher, `(teacher_views, batch, dim)`.
        eps: The squared precision of the rate, above 0.
        average: Whether the rate is that of the mean of student and teacher.

    Returns:
        The unweighted `SimDINOTerms`.

    Raises:
        ValueError: As `simdino_loss` does.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import simdino_terms
        >>> z = torch.eye(2).expand(2, 2, 2)
        >>> simdino_terms(z, 5 * z).agreement
        tensor(1.)

    References:
        Wu et al., *SimDINO*, 2025, <https://arxiv.org/abs/2502.10385>.
    """
    return _terms("simdino_terms", student, teacher, eps, average=average)


def _terms(
    who: str, student: Tensor, teacher: Tensor, eps: float, *, average: bool
) -> SimDINOTerms:
    check_floating(who, "student", student)
    check_floating(who, "teacher", teacher)
    check_axes(who, "student", student, "views batch dim")
    check_axes(who, "teacher", teacher, "teacher_views batch dim")
    (views, batch, dim), count = student.shape, len(teacher)
    if student.shape[1:] != teacher.shape[1:] or views < 2 or not 1 <= count <= views:
        raise ValueError(
            f"{who}: student must hold two views or more, and teacher the first of them; "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    check_at_least(who, "batch", batch, 1)
    check_at_least(who, "dim", dim, 1)
    check_positive(who, "eps", eps)
    with full_precision(student):
        s, t = map(unit_rows, upcast_pair(student, teacher.detach()))
        cosines = torch.einsum("vbd,tbd->tv", s, t)
        others = cosines.sum() - cosines.diagonal().sum()
        spread = (s[:count] + t) / 2 if average else s[:count]
        return SimDINOTerms(
            agreement=others / (count * (views - 1) * batch),
            expansion=coding_rate(spread, eps=eps).mean() * ((batch + dim) / (batch * dim)),
        )


class SimDINOLoss(nn.Module):
    """`simdino_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self, *, agreement_weight: float = 1.0, eps: float = 0.5, average: bool = True
    ) -> None:
        super().__init__()
        self.agreement_weight, self.eps, self.average = agreement_weight, eps, average

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of student and teacher, `(views, batch, dim)` each."""
        return simdino_loss(
            student,
            teacher,
            agreement_weight=self.agreement_weight,
            eps=self.eps,
            average=self.average,
        )
