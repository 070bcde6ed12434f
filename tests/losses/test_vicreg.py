"""VICReg against the paper's equations written out."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.losses import vicreg_loss, vicreg_terms
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree, value_and_gradients
from tests.ranks import Ranks


def oracle(
    z_a: Tensor,
    z_b: Tensor,
    *,
    invariance_weight: float,
    variance_weight: float,
    covariance_weight: float,
    eps: float = 1e-4,
) -> Tensor:
    """Equations 1 to 6, with the whole covariance matrix."""
    batch, dim = z_a.shape
    loss = invariance_weight * ((z_a - z_b) ** 2).sum() / (batch * dim)
    for z in (z_a, z_b):
        covariance = torch.cov(z.T)
        for i in range(dim):
            deviation = (covariance[i, i] + eps) ** 0.5
            if deviation < 1:
                loss = loss + variance_weight * (1 - deviation) / dim
        different = ~torch.eye(dim, dtype=torch.bool)
        loss = loss + covariance_weight * (covariance[different] ** 2).sum() / dim
    return loss


def authors(z_a: Tensor, z_b: Tensor) -> Tensor:
    """The authors' training code: 25, 25, 1, and a variance term that is halved."""
    batch, dim = z_a.shape
    a, b = z_a - z_a.mean(0), z_b - z_b.mean(0)
    loss = 25 * torch.nn.functional.mse_loss(z_a, z_b)
    for z in (a, b):
        std = torch.sqrt(z.var(0) + 0.0001)
        loss = loss + 25 * torch.mean(torch.relu(1 - std)) / 2
        covariance = (z.T @ z) / (batch - 1)
        loss = loss + covariance[~torch.eye(dim, dtype=torch.bool)].pow(2).sum() / dim
    return loss


def views(batch: int, dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    def draw() -> Tensor:
        return torch.randn(batch, dim, generator=generator, dtype=torch.float64)

    scale = torch.linspace(0.2, 1.6, dim, dtype=torch.float64)  # both sides of the hinge
    z = draw() * scale
    return z + 0.3 * draw() + 2, z @ (torch.eye(dim) + 0.2 * torch.ones(dim)).double() - 1


OTHER: dict[str, Any] = {
    "invariance_weight": 3.0,
    "variance_weight": 7.0,
    "covariance_weight": 0.4,
    "eps": 0.01,
}
PAPER: dict[str, Any] = {
    "invariance_weight": 25.0,
    "variance_weight": 25.0,
    "covariance_weight": 1.0,
}
OPTIONS: list[tuple[int, int, dict[str, Any], str]] = [
    (7, 5, OTHER, "other weights"),
    (5, 9, OTHER, "other weights, batch < dim"),
    (6, 9, PAPER, "the paper's weights"),
    (2, 3, OTHER, "a batch of two"),
]
PARITY = [
    Parity(
        "vicreg_loss",
        f"Bardes et al. 2022, equations 1 to 6, {name}",
        partial(vicreg_loss, **options),
        partial(oracle, **options),
        partial(views, batch, dim),
    )
    for batch, dim, options, name in OPTIONS
] + [
    Parity(
        "vicreg_loss",
        "the authors' code (variance halved)",
        partial(vicreg_loss, variance_weight=12.5),
        authors,
        partial(views, 7, 11),
    )
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize(("batch", "dim"), [(6, 11), (11, 6)])
def test_two_ranks_are_the_whole_batch(two_ranks: Ranks, batch: int, dim: int) -> None:
    z_a, z_b = views(batch, dim, torch.Generator().manual_seed(0))
    z_a[: batch // 3] += 4
    assert_ranks_agree(two_ranks, vicreg_loss, z_a, z_b, cut=batch // 3)


# --- known values ---------------------------------------------------------------------------


def test_defaults_are_the_paper_s() -> None:
    z_a, z_b = views(8, 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(vicreg_loss(z_a, z_b), oracle(z_a, z_b, **PAPER))


def test_collapse_shows_in_the_variance() -> None:
    terms = vicreg_terms(torch.full((5, 3), 0.7), torch.full((5, 3), 0.7))
    assert [t.item() for t in terms] == pytest.approx([0, 2 * (1 - 0.01), 0], abs=1e-6)


def test_equal_features_show_in_the_covariance() -> None:
    z = torch.tensor([[1.0], [-1.0]], dtype=torch.float64).expand(-1, 3)  # variance 2
    terms = vicreg_terms(z, z)
    # Two views, 3 * 2 ordered pairs, each covariance 2, squared, over dim 3.
    assert [t.item() for t in terms] == pytest.approx([0, 0, 2 * 6 * 4 / 3])


# --- laws -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "dim"), [(4, 6), (6, 4)])
def test_gradients_are_right(batch: int, dim: int) -> None:
    z_a, z_b = (z.requires_grad_() for z in views(batch, dim, torch.Generator().manual_seed(2)))
    assert torch.autograd.gradcheck(vicreg_loss, (z_a, z_b))


def test_a_shift_of_both_views_changes_nothing() -> None:
    z_a, z_b = views(6, 9, torch.Generator().manual_seed(2))
    torch.testing.assert_close(vicreg_loss(z_a + 50, z_b + 50), vicreg_loss(z_a, z_b))


def test_eps_bounds_the_gradient_of_a_constant_feature() -> None:
    z = torch.zeros(4, 2, dtype=torch.float64)
    z[0, 0] = 1e-9  # the slope of the root is at most 1 / (2 sqrt(eps)) = 50
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(vicreg_terms(z, z.detach()).variance, z)
    assert 0 < gradient.abs().max() <= 50 * 2 * 1e-9


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("z_a", "z_b", "eps", "said"),
    [
        (torch.zeros(4, 3), torch.zeros(5, 3), 0.1, r"^vicreg_loss: z_a and z_b must share one"),
        (
            torch.zeros(4),
            torch.zeros(4),
            0.1,
            r"^vicreg_loss: z_a must be \(batch, ..., dim\);",
        ),
        (torch.zeros(4, 0, 3), torch.zeros(4, 0, 3), 0.1, r"^vicreg_loss: places must be >= 1;"),
        (torch.zeros(1, 3), torch.zeros(1, 3), 0.1, r"^vicreg_loss: batch must be >= 2; got 1$"),
        (torch.zeros(4, 3), torch.zeros(4, 3), -1.0, r"^vicreg_loss: eps must be >= 0; got -1.0$"),
    ],
)
def test_bad_input_is_refused(z_a: Tensor, z_b: Tensor, eps: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        vicreg_loss(z_a, z_b, eps=eps)


# --- tokens and grids -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 3, 4), (4, 2, 3, 9), (5, 1, 6)])
def test_each_place_of_a_grid_has_statistics_of_its_own(shape: tuple[int, ...]) -> None:
    """The mean over the places of what each costs alone; one place is a plain batch."""
    generator = torch.Generator().manual_seed(2)
    z_a = torch.randn(shape, generator=generator, dtype=torch.float64)
    z_b = 0.4 * z_a + torch.randn(shape, generator=generator, dtype=torch.float64)
    for options in ({}, OTHER):
        got = value_and_gradients(partial(vicreg_loss, **options), (z_a, z_b))

        def alone(a: Tensor, b: Tensor, options: dict[str, Any] = options) -> Tensor:
            places = zip(a.flatten(1, -2).unbind(1), b.flatten(1, -2).unbind(1), strict=True)
            weights = {"invariance_weight": 25, "variance_weight": 25, "covariance_weight": 1}
            return torch.stack([oracle(x, y, **{**weights, **options}) for x, y in places]).mean()

        expected = value_and_gradients(alone, (z_a, z_b))
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 3, 9), (12, 3, 4)])
def test_places_keep_their_digits_at_unequal_scales(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(4)
    scales = torch.logspace(0, 4, shape[-1])
    z_a, z_b = (scales * torch.randn(shape, generator=generator) for _ in range(2))
    value, slopes = value_and_gradients(vicreg_loss, (z_a, z_b))
    expected, exact = value_and_gradients(vicreg_loss, (z_a.double(), z_b.double()))
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
    for got, wanted in zip(slopes, exact, strict=True):
        error = (got.double() - wanted).abs().amax(dim=(0, 1))
        assert (error <= 1e-5 * wanted.abs().amax(dim=(0, 1)) + 1e-6).all()
