"""EsViT's region loss against the loop over student tokens that looks each match up."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok.losses import dino_loss, region_distillation_loss
from tests.losses.laws import normal, probabilities
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(
    student: Tensor, teacher: Tensor, f: Tensor, g: Tensor, temperature: float = 0.1
) -> Tensor:
    losses = []
    for b in range(student.shape[0]):
        for i in range(student.shape[1]):
            cosines = [torch.cosine_similarity(f[b, i], g[b, j], dim=0) for j in range(g.shape[1])]
            best = int(torch.stack(cosines).detach().argmax())
            x = student[b, i] / temperature
            log_p = x - x.exp().sum().log()
            losses.append(-(teacher[b, best].detach() * log_p).sum())
    return torch.stack(losses).mean()


def draw(tokens: int, others: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    return (
        normal(generator, 2, tokens, 6),
        probabilities(generator, 2, others, 6),
        normal(generator, 2, tokens, 5),
        normal(generator, 2, others, 5) * torch.linspace(1, 9, others)[:, None],
    )


PARITY = [
    Parity(
        "region_distillation_loss",
        f"Li et al. 2022, equation 3, {tokens} and {others} tokens",
        partial(region_distillation_loss, temperature=temperature),
        partial(oracle, temperature=temperature),
        partial(draw, tokens, others),
    )
    for tokens, others, temperature in [(4, 7, 0.3), (5, 2, 0.1), (3, 3, 1.0)]
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


def of_rows(student: Tensor, teacher: Tensor, f: Tensor, g: Tensor) -> Tensor:
    return region_distillation_loss(student, teacher.softmax(-1), f, g)


@pytest.mark.parametrize("cut", [1, 3])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    generator = torch.Generator().manual_seed(3)
    inputs = [normal(generator, 4, n, 5) for n in (3, 2, 3, 2)]
    assert_ranks_agree(two_ranks, of_rows, *inputs, cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_one_token_is_the_view_level_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = normal(generator, 2, 3, 5), probabilities(generator, 2, 3, 5)
    f = normal(generator, 3, 1, 4)
    halves = [
        region_distillation_loss(student[s][:, None], teacher[t][:, None], f, f)
        for s, t in ((0, 1), (1, 0))
    ]
    torch.testing.assert_close(sum(halves) / 2, dino_loss(student, teacher))


def test_the_match_is_by_angle_not_by_length() -> None:
    f = torch.tensor([[[1.0, 0.0]]])
    g = torch.tensor([[[1.0, 0.0], [50.0, 50.0]]])
    student, teacher = torch.tensor([[[20.0, 0.0]]]), torch.eye(2)[None]
    assert region_distillation_loss(student, teacher, f, g, temperature=1.0).item() < 1e-6


# --- laws -----------------------------------------------------------------------------------


def test_the_order_of_the_teachers_tokens_is_nothing() -> None:
    student, teacher, f, g = draw(4, 7, torch.Generator().manual_seed(0))
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    torch.testing.assert_close(
        region_distillation_loss(student, teacher[:, order], f, g[:, order]),
        region_distillation_loss(student, teacher, f, g),
    )


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (
            ((2, 3), (2, 4, 6), (2, 3, 5), (2, 4, 5)),
            r"student must be \(batch, tokens, codebook_size",
        ),
        (((2, 3, 6), (1, 4, 6), (2, 3, 5), (2, 4, 5)), r"teacher must have size 2 in dimension 0"),
        (((2, 3, 6), (2, 4, 7), (2, 3, 5), (2, 4, 5)), r"teacher must have size 6 in dimension 2"),
        (((2, 3, 6), (2, 4, 6), (2, 4, 5), (2, 4, 5)), r"student_features must have size 3 in dim"),
        (((2, 3, 6), (2, 4, 6), (2, 3, 5), (2, 3, 5)), r"teacher_features must have size 4 in dim"),
        (((2, 3, 6), (2, 4, 6), (2, 3, 5), (2, 4, 4)), r"teacher_features must have size 5 in dim"),
        (((2, 0, 6), (2, 4, 6), (2, 0, 5), (2, 4, 5)), r"student.numel\(\) must be >= 1; got 0"),
    ],
)
def test_bad_input_is_refused(shapes: tuple[tuple[int, ...], ...], said: str) -> None:
    with pytest.raises(ValueError, match=r"^region_distillation_loss: " + said):
        region_distillation_loss(*(torch.zeros(shape) for shape in shapes))


def test_a_bad_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match=r"temperature must be > 0; got 0.0$"):
        region_distillation_loss(*(torch.zeros(1, 1, 1) for _ in range(4)), temperature=0.0)
