"""Triplet loss against FaceNet's equation, triplet by triplet."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.losses import triplet_loss
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def oracle(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float,
    normalize: bool = True,
    squared: bool = True,
) -> Tensor:
    terms = []
    for a, p, n in zip(anchor, positive, negative, strict=True):
        if normalize:
            a, p, n = (row / (row @ row) ** 0.5 for row in (a, p, n))
        near, far = ((a - p) ** 2).sum(), ((a - n) ** 2).sum()
        if not squared:
            near, far = near**0.5, far**0.5
        hinge = near - far + margin
        terms.append(hinge if hinge > 0 else 0 * hinge)
    return torch.stack(terms).sum() / len(terms)


def triplets(batch: int, dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    a, p, n = torch.randn(3, batch, dim, generator=generator, dtype=torch.float64)
    return 2 * a, a + 1.5 * p, 0.5 * a + n


OPTIONS: list[tuple[str, float, bool, bool]] = [
    ("FaceNet's", 0.2, True, True),
    ("another margin", 1.3, True, True),
    ("plain distances", 1.0, False, False),
    ("distances of normalised rows", 0.4, True, False),
    ("squared distances of rows", 2.0, False, True),
]
PARITY = [
    Parity(
        "triplet_loss",
        f"Schroff et al. 2015, equation 3, {name}",
        partial(triplet_loss, margin=margin, normalize=normalize, squared=squared),
        partial(oracle, margin=margin, normalize=normalize, squared=squared),
        partial(triplets, 5, 3),
    )
    for name, margin, normalize, squared in OPTIONS
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


def test_the_loss_of_torch_is_within_reach() -> None:
    a, p, n = triplets(6, 4, torch.Generator().manual_seed(0))
    theirs = torch.nn.TripletMarginLoss(eps=0.0)(a, p, n)
    ours = triplet_loss(a, p, n, margin=1.0, normalize=False, squared=False)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_two_ranks_are_the_whole_batch(two_ranks: Ranks) -> None:
    inputs = triplets(7, 4, torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, partial(triplet_loss, margin=1.0), *inputs, cut=2)


# --- known values ---------------------------------------------------------------------------


def test_known_triangle() -> None:
    a, p, n = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]], [[6.0, 8.0]]])
    options = {"normalize": False, "squared": False}
    assert triplet_loss(a, p, n, margin=7.0, **options).item() == 5 - 10 + 7
    assert triplet_loss(a, p, n, margin=80.0, normalize=False).item() == 25 - 100 + 80
    assert triplet_loss(a, p, n, margin=4.0, **options).item() == 0


# --- laws -----------------------------------------------------------------------------------


@pytest.mark.parametrize("squared", [True, False])
def test_gradients_are_right(squared: bool) -> None:
    inputs = [x.requires_grad_() for x in triplets(4, 3, torch.Generator().manual_seed(1))]
    loss = partial(triplet_loss, margin=0.7, squared=squared)
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("squared", [True, False])
def test_equal_rows_have_a_finite_gradient(squared: bool) -> None:
    a = torch.ones(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(triplet_loss(a, a, a, squared=squared), a)
    assert gradient.isfinite().all()


# --- complaints -----------------------------------------------------------------------------

Z = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("inputs", "margin", "said"),
    [
        ((Z, Z[:3], Z), 0.1, r"^triplet_loss: anchor and positive must share one shape; got"),
        ((Z, Z, Z[:3]), 0.1, r"^triplet_loss: anchor and negative must share one shape; got"),
        ((Z[0], Z[0], Z[0]), 0.1, r"^triplet_loss: anchor must be \(batch, dim\); got shape"),
        ((Z[:0], Z[:0], Z[:0]), 0.1, r"^triplet_loss: batch must be >= 1; got 0$"),
        ((Z, Z, Z), -0.1, r"^triplet_loss: margin must be >= 0; got -0.1$"),
        ((Z, Z.int(), Z), 0.1, r"^triplet_loss: positive must be floating point; got"),
    ],
)
def test_bad_input_is_refused(
    inputs: tuple[Tensor, Tensor, Tensor], margin: float, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        triplet_loss(*inputs, margin=margin)
