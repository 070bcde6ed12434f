"""Cosine regression against the sums of BYOL and SimSiam written out."""

import pytest
import torch
from torch import Tensor

from ssltok.losses import cosine_regression_loss, negative_cosine_loss
from tests.losses.laws import normal
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def byol(pred: Tensor, target: Tensor) -> Tensor:
    """The squared distance of unit vectors, summed over features, averaged over the batch."""
    p = pred / (pred**2).sum(-1, keepdim=True) ** 0.5
    t = target.detach() / (target.detach() ** 2).sum(-1, keepdim=True) ** 0.5
    return ((p - t) ** 2).sum(-1).mean()


def simsiam(pred: Tensor, target: Tensor) -> Tensor:
    return -torch.cosine_similarity(pred, target.detach(), dim=-1).mean()


def draw(*shape: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return normal(generator, *shape), normal(generator, *shape, scale=5.0)


PARITY = [
    Parity(name, f"{source}, shape {shape}", ours, oracle, lambda g, s=shape: draw(*s, generator=g))  # type: ignore[misc]
    for shape in [(5, 7), (2, 3, 5)]
    for name, source, ours, oracle in [
        ("cosine_regression_loss", "Grill et al. 2020, equation 2", cosine_regression_loss, byol),
        ("negative_cosine_loss", "Chen and He 2021, equation 1", negative_cosine_loss, simsiam),
    ]
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: f"{c.name}: {c.source}")
def test_value_and_gradient_are_published(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize("cut", [3, 1])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    pred, target = draw(6, 5, generator=torch.Generator().manual_seed(3))
    for loss in (cosine_regression_loss, negative_cosine_loss):
        assert_ranks_agree(two_ranks, loss, pred, target, cut=cut)


# --- known values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "cosine"), [([3.0, 0.0], 1), ([0.0, 2.0], 0), ([-1.0, 0.0], -1), ([3.0, 4.0], 0.6)]
)
def test_angles(target: list[float], cosine: float) -> None:
    pred, aim = torch.tensor([[7.0, 0.0]]), torch.tensor([target])
    assert cosine_regression_loss(pred, aim).item() == pytest.approx(2 - 2 * cosine, abs=1e-6)
    assert negative_cosine_loss(pred, aim).item() == pytest.approx(-cosine, abs=1e-6)


# --- laws -----------------------------------------------------------------------------------


def test_lengths_are_nothing() -> None:
    pred, target = draw(4, 5, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([[1e-8], [1e-2], [1e3], [1e8]], dtype=torch.float64)
    torch.testing.assert_close(
        cosine_regression_loss(pred * scale, target / scale), cosine_regression_loss(pred, target)
    )


def test_the_two_are_one_up_to_an_affine_map() -> None:
    pred, target = draw(4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        cosine_regression_loss(pred, target), 2 + 2 * negative_cosine_loss(pred, target)
    )


def test_zero_vectors_give_a_finite_gradient() -> None:
    pred = torch.zeros(2, 3, requires_grad=True)
    cosine_regression_loss(pred, torch.zeros(2, 3)).backward()
    assert pred.grad is not None
    assert torch.isfinite(pred.grad).all()


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pred", "target", "said"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), r"pred and target must share one shape; got \(2, 3"),
        (torch.zeros(3), torch.zeros(3), r"pred.ndim must be >= 2; got 1$"),
        (torch.zeros(0, 3), torch.zeros(0, 3), r"pred.numel\(\) must be >= 1; got 0$"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3), r"pred must be floating point; got torch.in"),
        (torch.zeros(2, 3), torch.zeros(2, 3).long(), r"target must be floating point; got torch"),
    ],
)
def test_bad_input_is_refused(pred: Tensor, target: Tensor, said: str) -> None:
    for loss in (cosine_regression_loss, negative_cosine_loss):
        with pytest.raises(ValueError, match=rf"^{loss.__name__}: {said}"):
            loss(pred, target)
