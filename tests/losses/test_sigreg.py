"""SIGReg against the Epps-Pulley statistic with complex exponentials, slice by slice."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.losses import SIGRegLoss, sigreg_loss
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def seeded(z: Tensor, **options: float) -> Tensor:
    """The loss with the directions of one seed."""
    return sigreg_loss(z, **options, generator=torch.Generator().manual_seed(3))  # type: ignore[arg-type]


def oracle(z: Tensor, *, slices: int, points: int, limit: float) -> Tensor:
    """The published integral over [-T, T], with complex numbers."""
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randn(z.shape[1], slices, generator=generator).to(z.dtype)
    t = torch.linspace(-limit, limit, 2 * points - 1, dtype=z.dtype)
    total = torch.zeros((), dtype=z.dtype)
    for direction in drawn.T:
        projected = z @ (direction / (direction @ direction) ** 0.5)
        empirical = torch.exp(1j * t[:, None] * projected).mean(1)
        gap = (empirical - torch.exp(-(t**2) / 2)).abs() ** 2
        total = total + torch.trapezoid(gap * torch.exp(-(t**2) / 2), t) * len(z)
    return total / slices


def rows(batch: int, dim: int, generator: torch.Generator) -> tuple[Tensor]:
    return (1.4 * torch.randn(batch, dim, generator=generator, dtype=torch.float64) + 0.5,)


PARITY = [
    Parity(
        "sigreg_loss",
        f"Balestriero and LeCun 2025, section 4, {name}",
        partial(seeded, slices=slices, points=points, limit=limit),
        partial(oracle, slices=slices, points=points, limit=limit),
        partial(rows, batch, dim),
    )
    for batch, dim, slices, points, limit, name in [
        (7, 4, 5, 17, 3.0, "the authors' nodes"),
        (5, 3, 4, 9, 5.0, "the listing's nodes"),
        (3, 6, 2, 2, 1.0, "two nodes"),
    ]
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


def test_two_ranks_are_the_whole_batch(two_ranks: Ranks) -> None:
    inputs = rows(7, 4, torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, partial(seeded, slices=6), *inputs, cut=2)


# --- known values ---------------------------------------------------------------------------


def test_a_point_mass_at_zero() -> None:
    """Its characteristic function is 1: the integral of (1 - g)^2 g, times the batch."""
    t = torch.linspace(-3, 3, 33, dtype=torch.float64)
    g = torch.exp(-(t**2) / 2)
    expected = 5 * torch.trapezoid((1 - g) ** 2 * g, t).item()
    assert sigreg_loss(torch.zeros(5, 4, dtype=torch.float64)).item() == pytest.approx(expected)


def test_a_gaussian_batch_leaves_the_floor() -> None:
    z = torch.randn(4096, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(-3, 3, 33, dtype=torch.float64)
    g = torch.exp(-(t**2) / 2)
    floor = torch.trapezoid((1 - g**2) * g, t).item()
    assert floor == pytest.approx(math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3)), rel=0.01)
    assert seeded(z).item() == pytest.approx(floor, rel=0.15)


# --- laws -----------------------------------------------------------------------------------


def test_randomness_comes_from_the_generator_only() -> None:
    (z,) = rows(8, 5, torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    first = sigreg_loss(z, slices=3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(state, torch.get_rng_state())
    module = SIGRegLoss(slices=3)
    assert torch.equal(module(z, generator=torch.Generator().manual_seed(1)), first)
    assert not torch.equal(module(z, generator=torch.Generator().manual_seed(2)), first)


def test_each_call_draws_other_directions() -> None:
    (z,) = rows(8, 5, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    pair = [sigreg_loss(z, slices=3, generator=generator) for _ in range(2)]
    assert not torch.equal(*pair)


def test_first_and_second_derivatives() -> None:
    (z,) = rows(4, 3, torch.Generator().manual_seed(0))
    few = partial(seeded, slices=2, points=4)
    assert torch.autograd.gradcheck(few, z.requires_grad_())
    assert torch.autograd.gradgradcheck(few, z)


def test_derivatives_of_a_batch_of_batches() -> None:
    """Here the gradient is written out; alone, it is Horner's rule."""
    stacked = torch.stack([rows(4, 3, torch.Generator().manual_seed(s))[0] for s in range(2)])
    torch.manual_seed(0)
    slopes = torch.func.vmap(torch.func.grad(sigreg_loss), randomness="same")(stacked)
    for z, slope in zip(stacked, slopes, strict=True):
        z = z.clone().requires_grad_()
        torch.manual_seed(0)
        torch.testing.assert_close(slope, torch.autograd.grad(sigreg_loss(z), z)[0])


@pytest.mark.parametrize("change", [lambda z: 0.2 * z, lambda z: 5 * z, lambda z: z + 1])
def test_it_sees_scale_and_shift(change: partial[Tensor]) -> None:
    z = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    assert seeded(change(z)) > 5 * seeded(z)


def test_gradients_are_right() -> None:
    (z,) = rows(5, 3, torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(partial(seeded, slices=4), z.requires_grad_())


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("z", "options", "said"),
    [
        (torch.zeros(3), {}, r"^sigreg_loss: z must be \(batch, dim\); got shape \(3,\)$"),
        (torch.zeros(0, 3), {}, r"^sigreg_loss: batch must be >= 1; got 0$"),
        (torch.zeros(2, 3).int(), {}, r"^sigreg_loss: z must be floating point; got torch.int32$"),
        (torch.zeros(2, 3), {"slices": 0}, r"^sigreg_loss: slices must be >= 1; got 0$"),
        (torch.zeros(2, 3), {"points": 1}, r"^sigreg_loss: points must be >= 2; got 1$"),
        (torch.zeros(2, 3), {"limit": 0.0}, r"^sigreg_loss: limit must be > 0; got 0.0$"),
    ],
)
def test_bad_input_is_refused(z: Tensor, options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sigreg_loss(z, **options)  # type: ignore[arg-type]
