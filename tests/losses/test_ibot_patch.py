"""iBOT's patch loss against the loop over series and tokens, in both shapes of its input."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok.losses import center_and_sharpen, ibot_patch_loss
from tests.losses.laws import normal, probabilities
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks

MASK = torch.tensor(
    [[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 1, 0]], dtype=torch.bool
)


def oracle(student: Tensor, teacher: Tensor, temperature: float = 0.1) -> Tensor:
    """DINOv2: each masked token weighs 1 / (masked in its series), the sum is over the batch."""
    total = torch.zeros((), dtype=torch.float64)
    for b in range(MASK.shape[0]):
        for i in range(MASK.shape[1]):
            if MASK[b, i]:
                x = student[b, i] / temperature
                log_p = x - x.exp().sum().log()
                total = total - (teacher[b, i].detach() * log_p).sum() / MASK[b].sum()
    return total / MASK.shape[0]


def of_masked_rows(student: Tensor, teacher: Tensor, temperature: float = 0.1) -> Tensor:
    return ibot_patch_loss(student[MASK], teacher[MASK], MASK, temperature=temperature)


def of_all_tokens(student: Tensor, teacher: Tensor, temperature: float = 0.1) -> Tensor:
    return ibot_patch_loss(student, teacher, MASK, temperature=temperature)


def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return normal(generator, 4, 5, 7), probabilities(generator, 4, 5, 7)


PARITY = [
    Parity(
        "ibot_patch_loss",
        f"Zhou et al. 2022, equation 2, {name}",
        partial(ours, temperature=temperature),
        partial(oracle, temperature=temperature),
        draw,
    )
    for name, ours, temperature in [
        ("masked rows", of_masked_rows, 0.3),
        ("all tokens", of_all_tokens, 0.3),
        ("their temperature", of_masked_rows, 0.1),
    ]
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


def of_rows(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    return ibot_patch_loss(student, teacher.softmax(-1), mask)


@pytest.mark.parametrize("cut", [1, 3])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    generator = torch.Generator().manual_seed(3)
    student, teacher = normal(generator, 4, 5, 6), normal(generator, 4, 5, 6)
    assert_ranks_agree(two_ranks, of_rows, student, teacher, MASK, cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_golden_number_of_dinov2() -> None:
    """Values that lightly's tests took from the authors' code: temperatures 0.1 and 0.2."""
    teacher = torch.tensor([[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]]])
    student = torch.tensor([[[0.2, 0.1], [0.3, 0.4]], [[0.5, 0.6], [0.8, 0.7]]])
    mask = torch.tensor([[True, False], [True, True]])
    probs = center_and_sharpen(teacher, torch.zeros(2), temperature=0.1)
    # softmax of a gap of 1 against a gap of -1/2, 1/2 and -1/2: closed form
    p = 1 / (1 + torch.tensor(-1.0).exp())
    right, wrong = (torch.tensor(s).exp().add(1).log() for s in (-0.5, 0.5))
    hit, miss = p * right + (1 - p) * wrong, p * wrong + (1 - p) * right
    want = (miss + (hit + miss) / 2) / 2
    got = ibot_patch_loss(student, probs, mask, temperature=0.2)
    torch.testing.assert_close(got, want)


def test_a_series_weighs_the_same_however_many_tokens_are_masked() -> None:
    mask = torch.tensor([[True, True, True, True], [True, False, False, False]])
    student = torch.zeros(2, 4, 2)
    teacher = torch.tensor([1.0, 0.0]).expand(2, 4, 2)
    student[1, 0] = torch.tensor([-30.0, 0.0])
    value = ibot_patch_loss(student, teacher, mask, temperature=1.0)
    assert value.item() == pytest.approx((0.693147 + 30) / 2)


def test_nothing_masked_costs_nothing() -> None:
    student = torch.randn(2, 3, 4, requires_grad=True)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    for pred in (student, student[nothing]):
        value = ibot_patch_loss(pred, pred.detach().softmax(-1), nothing)
        value.backward()
        assert value == 0
    assert student.grad is not None
    assert torch.equal(student.grad, torch.zeros(2, 3, 4))


# --- laws -----------------------------------------------------------------------------------


def test_tokens_that_are_not_masked_cannot_leak() -> None:
    student, teacher = draw(torch.Generator().manual_seed(0))
    want = of_all_tokens(student, teacher)
    student[~MASK], teacher[~MASK] = torch.nan, torch.nan
    student.requires_grad_()
    value = of_all_tokens(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    assert torch.equal(value, want)
    assert torch.equal(gradient[~MASK], torch.zeros_like(gradient[~MASK]))


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("student", "teacher", "temperature", "said"),
    [
        ((4, 5, 7), (4, 5, 6), 1.0, r"^ibot_patch_loss: student and teacher must share one shape"),
        ((4, 6, 7), (4, 6, 7), 1.0, r"with mask \(batch, tokens\) = \(4, 5\); got shape \(4, 6, 7"),
        (
            (7,),
            (7,),
            1.0,
            r"student must be \(masked, codebook_size\) or \(batch, tokens, codebook_size",
        ),
        ((9, 7), (9, 7), 0.0, r"temperature must be > 0; got 0.0$"),
    ],
)
def test_bad_input_is_refused(
    student: tuple[int, ...], teacher: tuple[int, ...], temperature: float, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ibot_patch_loss(torch.zeros(student), torch.zeros(teacher), MASK, temperature=temperature)


def test_bad_masks_are_refused() -> None:
    rows = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"^ibot_patch_loss: mask must be boolean; got torch.flo"):
        ibot_patch_loss(rows, rows, torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"mask must be \(batch, tokens\); got shape \(3,\)$"):
        ibot_patch_loss(rows, rows, torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask.numel\(\) must be >= 1; got 0$"):
        ibot_patch_loss(rows, rows, torch.ones(0, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"got 3 rows for 4 masked tokens$"):
        ibot_patch_loss(rows, rows, torch.ones(2, 2, dtype=torch.bool))
