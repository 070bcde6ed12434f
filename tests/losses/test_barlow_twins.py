"""Barlow Twins against the paper's algorithm written out."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.losses import BarlowTwinsLoss, barlow_twins_loss, barlow_twins_terms
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(z_a: Tensor, z_b: Tensor, *, redundancy_weight: float) -> Tensor:
    """Algorithm 1 with the authors' BatchNorm(affine=False): row by row."""
    batch, dim = z_a.shape

    def normalize(z: Tensor) -> Tensor:
        mean = z.sum(0) / batch
        variance = ((z - mean) ** 2).sum(0) / batch
        return (z - mean) / (variance + 1e-5) ** 0.5

    a, b = normalize(z_a), normalize(z_b)
    loss = torch.zeros((), dtype=z_a.dtype)
    for i in range(dim):
        c = (a[:, i, None] * b).sum(0) / batch  # feature i of one view with each of the other
        loss = loss + (1 - c[i]) ** 2 + redundancy_weight * ((c**2).sum() - c[i] ** 2)
    return loss


def views(batch: int, dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    def draw() -> Tensor:
        return torch.randn(batch, dim, generator=generator, dtype=torch.float64)

    z = draw()
    return z + 0.3 * draw() + 2, 1.7 * z @ (
        torch.eye(dim) + 0.2 * torch.ones(dim)
    ).double() + draw()


PARITY = [
    Parity(
        "barlow_twins_loss",
        f"Zbontar et al. 2021, algorithm 1, {name}",
        partial(barlow_twins_loss, redundancy_weight=weight),
        partial(oracle, redundancy_weight=weight),
        partial(views, batch, dim),
    )
    for batch, dim, weight, name in [
        (7, 5, 0.0051, "the authors' weight"),  # the direct form
        (5, 9, 0.7, "another weight"),  # the form without the dim x dim matrix
        (9, 8, 5e-3, "the paper's weight"),
        (3, 2, 0.3, "a batch of three"),  # of two: standardised to +-1, no gradient to compare
    ]
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize(("batch", "dim"), [(6, 11), (11, 6)])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, batch: int, dim: int) -> None:
    z_a, z_b = views(batch, dim, torch.Generator().manual_seed(0))
    z_a[: batch // 3] += 4  # the ranks differ: local statistics would show
    assert_ranks_agree(two_ranks, barlow_twins_loss, z_a, z_b, cut=batch // 3)


# --- known values ---------------------------------------------------------------------------


def test_identical_orthogonal_views_cost_nothing() -> None:
    z = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64) * 100
    assert barlow_twins_loss(z, z).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("constant", [1, 3])
def test_a_constant_feature_costs_one(constant: int) -> None:
    z = 100 * torch.randn(64, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z[:, :constant] = 3.5
    terms = barlow_twins_terms(z, z)
    assert terms.invariance.item() == pytest.approx(constant, abs=1e-6)


def test_features_that_say_the_same_cost_their_pairs() -> None:
    z = 100 * torch.randn(9, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    terms = barlow_twins_terms(z.expand(-1, 4), z.expand(-1, 4))
    assert terms.redundancy.item() == pytest.approx(4 * 3, rel=1e-6)
    assert terms.invariance.item() == pytest.approx(0, abs=1e-9)


def test_perfect_correlation_is_one_and_not_less() -> None:
    """Peers mix an unbiased deviation with 1/N: their loss of identical views is dim / N^2."""
    z = torch.randn(32, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e3
    assert barlow_twins_terms(z, z).invariance.item() == pytest.approx(0, abs=1e-12)


# --- laws -----------------------------------------------------------------------------------


def test_affine_maps_change_nothing() -> None:
    z_a, z_b = views(9, 4, torch.Generator().manual_seed(1))
    z_a, z_b = 100 * z_a, 100 * z_b
    scale = torch.tensor([2.0, 5.0, 3.0, 7.0], dtype=torch.float64)
    before, after = barlow_twins_loss(z_a, z_b), barlow_twins_loss(z_a * scale + 9, z_b - 4)
    torch.testing.assert_close(after, before, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("batch", "dim"), [(4, 6), (6, 4)])
def test_gradients_are_right(batch: int, dim: int) -> None:
    z_a, z_b = (z.requires_grad_() for z in views(batch, dim, torch.Generator().manual_seed(2)))
    assert torch.autograd.gradcheck(barlow_twins_loss, (z_a, z_b))


def test_both_forms_agree_where_they_meet() -> None:
    z_a, z_b = views(12, 12, torch.Generator().manual_seed(3))
    direct = barlow_twins_terms(z_a, z_b).redundancy
    gram = barlow_twins_terms(torch.cat([z_a, z_a], 1), torch.cat([z_b, z_b], 1))
    # Doubled features: each square counts four times, each diagonal one twice as off-diagonal.
    columns = [(z_a[:, i : i + 1], z_b[:, i : i + 1]) for i in range(12)]
    on = torch.stack([barlow_twins_terms(*pair).invariance for pair in columns])  # (1 - c_ii)^2
    diagonal = (1 - on.sqrt()).square().sum()
    torch.testing.assert_close(gram.redundancy, 4 * direct + 2 * diagonal, rtol=1e-9, atol=0)


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("z_a", "z_b", "said"),
    [
        (torch.zeros(4, 3), torch.zeros(4, 2), r"^barlow_twins_loss: z_a and z_b must share one"),
        (torch.zeros(4), torch.zeros(4), r"^barlow_twins_loss: z_a must be \(batch, dim\)"),
        (torch.zeros(1, 3), torch.zeros(1, 3), r"^barlow_twins_loss: batch must be >= 2; got 1$"),
        (torch.zeros(0, 3), torch.zeros(0, 3), r"^barlow_twins_loss: batch must be >= 2; got 0$"),
        (
            torch.zeros(4, 3, dtype=torch.int64),
            torch.zeros(4, 3),
            r"^barlow_twins_loss: z_a must be floating point; got torch.int64$",
        ),
    ],
)
def test_bad_input_is_refused(z_a: Tensor, z_b: Tensor, said: str) -> None:
    for call in (barlow_twins_loss, BarlowTwinsLoss()):
        with pytest.raises(ValueError, match=said):
            call(z_a, z_b)
