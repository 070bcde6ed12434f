"""DINO's loss against the loop over pairs of views that its authors publish."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok.losses import dino_loss
from tests.losses.laws import normal, probabilities
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(student: Tensor, teacher: Tensor, temperature: float = 0.1) -> Tensor:
    """Algorithm 1 with multi-crop: every teacher with every student view but its own."""
    total, terms = torch.zeros((), dtype=torch.float64), 0
    for t, q in enumerate(teacher.detach()):
        for s, logits in enumerate(student):
            if s != t:
                x = logits / temperature
                log_p = x - x.exp().sum(-1, keepdim=True).log()
                total = total + (-(q * log_p).sum(-1)).mean()
                terms += 1
    return total / terms


def draw(
    views: int, teachers: int, batch: int, prototypes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    return (
        normal(generator, views, batch, prototypes),
        probabilities(generator, teachers, batch, prototypes),
    )


PARITY = [
    Parity(
        "dino_loss",
        f"Caron et al. 2021, algorithm 1, {views} views and {teachers} teachers",
        partial(dino_loss, temperature=temperature),
        partial(oracle, temperature=temperature),
        partial(draw, views, teachers, 5, 7),
    )
    for views, teachers, temperature in (
        (2, 2, 0.1),
        (2, 1, 0.3),
        (5, 2, 0.2),
        (3, 3, 0.4),
        (4, 3, 1.0),
    )
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [0, 2**17])
@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_published(
    case: Parity, cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Piece by piece, as large inputs are treated, and in one."""
    monkeypatch.setattr(sizes, "CACHED_NUMBERS", cache)
    assert_parity(case)


def of_rows(student: Tensor, teacher: Tensor) -> Tensor:
    """The loss of tensors whose first axis is the batch, as they are gathered."""
    return dino_loss(student.movedim(1, 0), teacher.softmax(-1).movedim(1, 0), temperature=0.3)


@pytest.mark.parametrize("cut", [3, 1])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    generator = torch.Generator().manual_seed(3)
    student, teacher = normal(generator, 6, 4, 5), normal(generator, 6, 2, 5)
    student[:cut] += 2
    assert_ranks_agree(two_ranks, of_rows, student, teacher, cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_a_flat_student_pays_the_logarithm() -> None:
    teacher = probabilities(torch.Generator().manual_seed(0), 2, 3, 11)
    value = dino_loss(torch.full((4, 3, 11), 7.0, dtype=torch.float64), teacher)
    torch.testing.assert_close(value, torch.tensor(11.0, dtype=torch.float64).log())


def test_a_sure_and_right_student_pays_nothing() -> None:
    teacher = torch.eye(3).expand(2, 3, 3)
    assert dino_loss(100 * teacher, teacher) == 0


def test_a_view_is_not_compared_with_itself() -> None:
    """Each student view agrees with its own teacher and contradicts the other."""
    teacher = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    student = torch.tensor([[[9.0, 0.0]], [[0.0, 9.0]]])
    assert dino_loss(student, teacher, temperature=1.0).item() == pytest.approx(9, abs=1e-3)
    assert dino_loss(student.flip(0), teacher, temperature=1.0).item() < 1e-3


# --- laws -----------------------------------------------------------------------------------


def test_a_constant_added_to_a_student_changes_nothing() -> None:
    student, teacher = draw(3, 2, 4, 5, torch.Generator().manual_seed(1))
    shifted = dino_loss(student + 1e3, teacher)
    torch.testing.assert_close(shifted, dino_loss(student, teacher), rtol=1e-9, atol=1e-9)


def test_keeps_its_digits_where_logits_are_far_from_zero() -> None:
    """The log-sum-exp and the inner product are both near 1e5; their difference is not."""
    student, teacher = draw(2, 2, 4, 5, torch.Generator().manual_seed(1))
    far = (student.float() + 4096).double()
    value = dino_loss(far.float(), teacher.float())
    torch.testing.assert_close(value.double(), oracle(far - 4096, teacher), rtol=1e-5, atol=0)


def test_a_second_derivative_exists() -> None:
    student, teacher = draw(3, 2, 2, 3, torch.Generator().manual_seed(1))
    assert torch.autograd.gradgradcheck(
        lambda x: dino_loss(x, teacher, temperature=0.5), (student.requires_grad_(),)
    )


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("student", "teacher", "temperature", "said"),
    [
        ((2, 3, 4), (2, 3, 5), 1.0, r"^dino_loss: student must hold two views or more, and teach"),
        ((1, 3, 4), (1, 3, 4), 1.0, r"got \(1, 3, 4\) and \(1, 3, 4\)$"),
        ((2, 3, 4), (3, 3, 4), 1.0, r"teacher the first of them; got \(2, 3, 4\) and \(3, 3, 4\)"),
        (
            (6, 4),
            (2, 3, 4),
            1.0,
            r"student must be \(views, batch, codebook_size\); got shape \(6, ",
        ),
        ((2, 3, 4), (2, 3), 1.0, r"teacher must be \(views, batch, codebook_size\); got shape"),
        ((2, 0, 4), (2, 0, 4), 1.0, r"batch must be >= 1; got 0$"),
        ((2, 3, 4), (2, 3, 4), 0.0, r"^dino_loss: temperature must be > 0; got 0.0$"),
    ],
)
def test_bad_input_is_refused(
    student: tuple[int, ...], teacher: tuple[int, ...], temperature: float, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        dino_loss(torch.zeros(student), torch.zeros(teacher), temperature=temperature)


def test_codes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^dino_loss: teacher must be floating point; got torch"):
        dino_loss(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4, dtype=torch.int64))
