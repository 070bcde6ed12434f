"""Distillation against Hinton's and DeiT's own sums, labels included."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ssltok.losses import distillation_loss, hard_distillation_loss
from tests.losses.laws import normal
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def probs(logits: Tensor, temperature: float) -> Tensor:
    powers = (logits / temperature).exp()
    return powers / powers.sum(-1, keepdim=True)


def soft(student: Tensor, teacher: Tensor, temperature: float = 3.0) -> Tensor:
    p, q = probs(student, temperature), probs(teacher.detach(), temperature)
    return temperature**2 * (q * (q.log() - p.log())).sum(-1).mean()


def hard(student: Tensor, teacher: Tensor) -> Tensor:
    p = probs(student, 1.0)
    said = [int(row.argmax()) for row in teacher]
    return -torch.stack([p[b, k].log() for b, k in enumerate(said)]).mean()


def hinton(student: Tensor, teacher: Tensor, labels: Tensor, weight: float, tau: float) -> Tensor:
    """Section 2: cross-entropies with soft and with true targets; less the teacher's entropy."""
    p, q = probs(student, tau), probs(teacher.detach(), tau)
    softly = -(q * p.log()).sum(-1).mean() + (q * q.log()).sum(-1).mean()
    truly = -probs(student, 1.0).log().gather(1, labels[:, None]).mean()
    return weight * tau**2 * softly + (1 - weight) * truly


def hinton_by_ours(
    student: Tensor, teacher: Tensor, labels: Tensor, weight: float, tau: float
) -> Tensor:
    softly = distillation_loss(student, teacher, temperature=tau)
    return (1 - weight) * cross_entropy(student, labels) + weight * softly


def deit(cls: Tensor, dist: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The authors' class with soft distillation: tau 3, alpha 0.1, divided by numel."""
    base = cross_entropy(cls, labels)
    kl = torch.nn.functional.kl_div(
        torch.log_softmax(dist / 3, dim=1),
        torch.log_softmax(teacher.detach() / 3, dim=1),
        reduction="sum",
        log_target=True,
    )
    return base * 0.9 + 0.1 * kl * 9 / dist.numel()


def deit_by_ours(cls: Tensor, dist: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    softly = distillation_loss(dist, teacher) / dist.shape[1]
    return 0.9 * cross_entropy(cls, labels) + 0.1 * softly


def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return normal(generator, 5, 7, scale=2.0), normal(generator, 5, 7, scale=3.0)


def draw_labels(generator: torch.Generator) -> tuple[Tensor, ...]:
    return (*draw(generator), torch.randint(0, 7, (5,), generator=generator))


def draw_deit(generator: torch.Generator) -> tuple[Tensor, ...]:
    return (normal(generator, 5, 7), *draw_labels(generator))


PARITY = [
    Parity("distillation_loss", "Touvron et al. 2021, equation 2", distillation_loss, soft, draw),
    Parity(
        "distillation_loss",
        "the same at temperature 0.7",
        partial(distillation_loss, temperature=0.7),
        partial(soft, temperature=0.7),
        draw,
    ),
    Parity(
        "distillation_loss",
        "Hinton et al. 2015, section 2, with labels",
        partial(hinton_by_ours, weight=0.7, tau=4.0),
        partial(hinton, weight=0.7, tau=4.0),
        draw_labels,
    ),
    Parity("distillation_loss", "DeiT's code, two tokens", deit_by_ours, deit, draw_deit),
    Parity(
        "hard_distillation_loss",
        "Touvron et al. 2021, equation 3",
        hard_distillation_loss,
        hard,
        draw,
    ),
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: f"{c.name}: {c.source}")
def test_value_and_gradient_are_published(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize("cut", [3, 1])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    generator = torch.Generator().manual_seed(3)
    student, teacher = normal(generator, 6, 5), normal(generator, 6, 5)
    for loss in (distillation_loss, hard_distillation_loss):
        assert_ranks_agree(two_ranks, loss, student, teacher, cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_agreement_is_exactly_zero() -> None:
    logits = normal(torch.Generator().manual_seed(0), 4, 5, scale=30.0).float()
    assert distillation_loss(logits, logits + 0, temperature=0.5) == 0


def test_a_flat_student_pays_what_the_teacher_knows() -> None:
    teacher = torch.tensor([[math.log(3.0), 0.0]])  # 3/4 and 1/4
    want = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    value = distillation_loss(torch.zeros(1, 2), teacher, temperature=1.0)
    assert value.item() == pytest.approx(want, rel=1e-6)


def test_high_temperatures_match_logits() -> None:
    """Hinton, equation 4: the loss nears half the variance of the logits' differences."""
    student, teacher = draw(torch.Generator().manual_seed(0))
    want = (student - teacher).var(-1, unbiased=False).mean() / 2
    value = distillation_loss(student, teacher, temperature=1e5)
    torch.testing.assert_close(value, want, rtol=1e-3, atol=0)


# --- laws -----------------------------------------------------------------------------------


def test_probabilities_serve_as_a_hard_teacher() -> None:
    student, teacher = draw(torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        hard_distillation_loss(student, teacher.softmax(-1)),
        hard_distillation_loss(student, teacher),
    )


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("student", "teacher", "said"),
    [
        ((2, 3), (2, 4), r"student and teacher must share one shape; got \(2, 3\) and \(2, 4\)$"),
        ((2, 3, 4), (2, 3, 4), r"student must be \(batch, classes\); got shape \(2, 3, 4\)$"),
        ((0, 3), (0, 3), r"student.numel\(\) must be >= 1; got 0$"),
    ],
)
def test_bad_input_is_refused(
    student: tuple[int, ...], teacher: tuple[int, ...], said: str
) -> None:
    for loss in (distillation_loss, hard_distillation_loss):
        with pytest.raises(ValueError, match=rf"^{loss.__name__}: {said}"):
            loss(torch.zeros(student), torch.zeros(teacher))


def test_a_bad_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^distillation_loss: temperature must be > 0; got 0.0$"):
        distillation_loss(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0.0)
