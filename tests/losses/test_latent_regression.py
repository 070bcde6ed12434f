"""Latent regression against data2vec's, I-JEPA's and CAE's own sums."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.losses import latent_regression_loss
from tests.losses.laws import normal
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def element(d: Tensor, beta: float | None) -> Tensor:
    """One element, by cases."""
    if beta is None:
        return d * d
    return d * d * (0.5 / beta) if abs(d.item()) < beta else d.abs() - 0.5 * beta


def oracle(pred: Tensor, target: Tensor, beta: float | None = 1.0) -> Tensor:
    d = (pred - target.detach()).flatten()
    return torch.stack([element(x, beta) for x in d]).mean()


def data2vec(pred: Tensor, target: Tensor) -> Tensor:
    """The speech code: squared error summed over features, over tokens, times 1 / sqrt(dim)."""
    rows, dim = len(pred), pred.shape[1]
    d = pred - target.detach()
    total: Tensor = (d * d).sum(-1).sum() / math.sqrt(dim) / rows
    return total


def data2vec_by_ours(pred: Tensor, target: Tensor) -> Tensor:
    return latent_regression_loss(pred, target, beta=None) * math.sqrt(pred.shape[-1])


def draw(*shape: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return normal(generator, *shape), normal(generator, *shape)


def rows(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return draw(5, 7, generator=generator)


def tokens(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return draw(2, 3, 5, generator=generator)


PARITY = [
    Parity(
        "latent_regression_loss",
        f"{source}, beta {beta}",
        partial(latent_regression_loss, beta=beta),
        partial(oracle, beta=beta),
        drawn,
    )
    for source, beta, drawn in [
        ("Assran et al. 2023, the authors' code", 1.0, tokens),
        ("Baevski et al. 2022, vision", 2.0, rows),
        ("Chen et al. 2022, equation 2", None, tokens),
        ("absolute error", 0.0, rows),
    ]
] + [
    Parity(
        "latent_regression_loss",
        "Baevski et al. 2022, speech, the authors' code",
        data2vec_by_ours,
        data2vec,
        rows,
    )
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_published(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize("cut", [3, 1])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, cut: int) -> None:
    pred, target = draw(6, 5, generator=torch.Generator().manual_seed(3))
    assert_ranks_agree(two_ranks, latent_regression_loss, pred, target, cut=cut)
    mask = torch.tensor([1, 0, 1, 1, 0, 1], dtype=torch.bool)
    assert_ranks_agree(two_ranks, latent_regression_loss, pred, target, mask, cut=cut)


# --- known values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beta", "want"), [(None, 4 + 0.25), (0.0, 2 + 0.5), (1.0, 1.5 + 0.125), (4.0, 0.5 + 0.03125)]
)
def test_two_errors(beta: float | None, want: float) -> None:
    pred = torch.tensor([[2.0, -0.5]])
    value = latent_regression_loss(pred, torch.zeros(1, 2), beta=beta)
    assert value.item() == pytest.approx(want / 2)


# --- laws -----------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [None, 0.0, 0.3])
def test_a_mask_selects(beta: float | None) -> None:
    pred, target = tokens(torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, False, True], [False, False, True]])
    want = latent_regression_loss(pred[mask], target[mask], beta=beta)
    pred[~mask], target[~mask] = torch.nan, torch.inf
    pred.requires_grad_()
    value = latent_regression_loss(pred, target, mask, beta=beta)
    (gradient,) = torch.autograd.grad(value, pred)
    torch.testing.assert_close(value, want)
    assert torch.equal(gradient[~mask], torch.zeros_like(gradient[~mask]))
    assert gradient[mask].abs().min() > 0


def test_nothing_masked_costs_nothing() -> None:
    pred, target = tokens(torch.Generator().manual_seed(0))
    value = latent_regression_loss(
        pred.requires_grad_(), target, torch.zeros(2, 3, dtype=torch.bool)
    )
    value.backward()
    assert value == 0
    assert pred.grad is not None
    assert torch.equal(pred.grad, torch.zeros_like(pred))


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pred", "target", "mask", "beta", "said"),
    [
        ((2, 3), (2, 4), None, 1.0, r"pred and target must share one shape"),
        ((3,), (3,), None, 1.0, r"pred.ndim must be >= 2; got 1$"),
        ((0, 3), (0, 3), None, 1.0, r"pred.numel\(\) must be >= 1; got 0$"),
        ((2, 3), (2, 3), (3,), 1.0, r"mask must have shape \(2,\); got \(3,\)$"),
        ((2, 3), (2, 3), None, -1.0, r"beta must be >= 0; got -1.0$"),
    ],
)
def test_bad_input_is_refused(
    pred: tuple[int, ...],
    target: tuple[int, ...],
    mask: tuple[int, ...] | None,
    beta: float,
    said: str,
) -> None:
    hidden = None if mask is None else torch.ones(mask, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"^latent_regression_loss: " + said):
        latent_regression_loss(torch.zeros(pred), torch.zeros(target), hidden, beta=beta)
