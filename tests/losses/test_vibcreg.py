"""VIbCReg against its authors' code written out."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.losses import vibcreg_loss, vibcreg_terms
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.losses.test_vicreg import views
from tests.ranks import Ranks


def oracle(
    z_a: Tensor,
    z_b: Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 200.0,
    eps: float = 1e-4,
) -> Tensor:
    """Similarity, variance, and the mean squared entry of the correlation matrix less its diag."""
    batch, dim = z_a.shape
    loss = invariance_weight * ((z_a - z_b) ** 2).sum() / (batch * dim)
    for z in (z_a, z_b):
        loss = loss + variance_weight * torch.relu(1 - (z.var(0) + eps) ** 0.5).sum() / dim
        correlation = torch.corrcoef(z.T)[~torch.eye(dim, dtype=torch.bool)]
        loss = loss + covariance_weight * (correlation**2).sum() / dim**2
    return loss


OTHER: dict[str, Any] = {
    "invariance_weight": 3.0,
    "variance_weight": 7.0,
    "covariance_weight": 0.4,
    "eps": 0.01,
}
OPTIONS: list[tuple[int, int, dict[str, Any], str]] = [
    (7, 5, OTHER, "other weights"),
    (5, 9, OTHER, "other weights, batch < dim"),
    (6, 9, {}, "their weights"),
    (6, 9, {"covariance_weight": 100.0}, "NC-VQVAE's weights"),
]
PARITY = [
    Parity(
        "vibcreg_loss",
        f"Lee and Aune 2021, the authors' code, {name}",
        partial(vibcreg_loss, **options),
        partial(oracle, **options),
        partial(views, batch, dim),
    )
    for batch, dim, options, name in OPTIONS
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_authors(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize(("batch", "dim"), [(6, 11), (11, 6)])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, batch: int, dim: int) -> None:
    z_a, z_b = views(batch, dim, torch.Generator().manual_seed(0))
    z_a[: batch // 3] += 4
    assert_ranks_agree(two_ranks, vibcreg_loss, z_a, z_b, cut=batch // 3)


# --- known values ---------------------------------------------------------------------------


def test_collapse_shows_in_the_variance() -> None:
    terms = vibcreg_terms(torch.full((4, 3), 0.5), torch.full((4, 3), 0.5))
    assert [t.item() for t in terms] == pytest.approx([0, 2 * (1 - 0.01), 0], abs=1e-6)


def test_features_that_say_the_same_show_in_the_covariance() -> None:
    z = torch.randn(9, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = torch.tensor([1.0, -3.0, 50.0, 0.01], dtype=torch.float64)
    assert vibcreg_terms(z * scale, z * scale).covariance.item() == pytest.approx(2 * 12 / 16)


def test_independent_features_leave_the_floor_of_the_batch() -> None:
    z = torch.randn(20, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert vibcreg_terms(z, z).covariance.item() == pytest.approx(2 / 19, rel=0.02)


# --- laws -----------------------------------------------------------------------------------


def test_the_covariance_term_ignores_scale_and_shift_of_a_feature() -> None:
    z, other = views(6, 9, torch.Generator().manual_seed(2))
    scale = torch.linspace(1e-4, 1e4, 9, dtype=torch.float64)
    before = vibcreg_terms(z, other).covariance
    torch.testing.assert_close(vibcreg_terms(z * scale - 3, other).covariance, before)


@pytest.mark.parametrize(("batch", "dim"), [(4, 6), (6, 4)])
def test_gradients_are_right(batch: int, dim: int) -> None:
    z_a, z_b = (z.requires_grad_() for z in views(batch, dim, torch.Generator().manual_seed(2)))
    assert torch.autograd.gradcheck(vibcreg_loss, (z_a, z_b))


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("z_a", "z_b", "eps", "said"),
    [
        (torch.zeros(4, 3), torch.zeros(5, 3), 0.1, r"^vibcreg_loss: z_a and z_b must share one"),
        (torch.zeros(4, 3, 2), torch.zeros(4, 3, 2), 0.1, r"^vibcreg_loss: z_a must be \(batch, "),
        (torch.zeros(1, 3), torch.zeros(1, 3), 0.1, r"^vibcreg_loss: batch must be >= 2; got 1$"),
        (torch.zeros(4, 3), torch.zeros(4, 3), -1.0, r"^vibcreg_loss: eps must be >= 0; got -1.0"),
    ],
)
def test_bad_input_is_refused(z_a: Tensor, z_b: Tensor, eps: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        vibcreg_loss(z_a, z_b, eps=eps)
