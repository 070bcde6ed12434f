"""LeJEPA and VISReg, which look along random lines, against their algorithms written out."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.losses import (
    LeJEPALoss,
    VISRegLoss,
    lejepa_loss,
    lejepa_terms,
    sigreg_loss,
    visreg_loss,
    visreg_terms,
)
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree, value_and_gradients
from tests.ranks import Ranks


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def lejepa(*views: Tensor, **options: Any) -> Tensor:
    """The loss along the directions of one seed."""
    return lejepa_loss(*views, **options, generator=seeded())


def visreg(*views: Tensor, **options: Any) -> Tensor:
    return visreg_loss(*views, **options, generator=seeded())


def lines(dim: int, slices: int, like: Tensor) -> Tensor:
    """The directions of the seed, one a row."""
    drawn = torch.randn(dim, slices, generator=seeded()).to(like.dtype).T
    return torch.stack([line / (line @ line) ** 0.5 for line in drawn])


def distance(views: tuple[Tensor, ...], count: int) -> Tensor:
    """Mean squared distance from the mean of the first views, view by view."""
    mean = sum(views[1:count], views[0]) / count
    return sum(((z - mean) ** 2).sum() for z in views) / (len(views) * views[0].numel())  # type: ignore[return-value]


def lejepa_oracle(
    *views: Tensor,
    global_views: int | None = None,
    gaussian_weight: float,
    slices: int,
    points: int,
    limit: float,
) -> Tensor:
    """Complex exponentials over [-T, T], slice by slice and view by view."""
    t = torch.linspace(-limit, limit, 2 * points - 1, dtype=views[0].dtype)
    gauss = torch.exp(-(t**2) / 2)
    total = torch.zeros((), dtype=views[0].dtype)
    for z in views:
        for line in lines(z.shape[1], slices, z):
            empirical = torch.exp(1j * t[:, None] * (z @ line)).mean(1)
            total = total + torch.trapezoid((empirical - gauss).abs() ** 2 * gauss, t) * len(z)
    gaussian = total / (slices * len(views))
    invariance = distance(views, len(views) if global_views is None else global_views)
    return gaussian_weight * gaussian + (1 - gaussian_weight) * invariance


def visreg_oracle(
    *views: Tensor,
    global_views: int | None = None,
    regularization_weight: float,
    scale_weight: float = 1.0,
    shape_weight: float = 1.0,
    center_weight: float = 1.0,
    slices: int,
    eps: float = 1e-4,
) -> Tensor:
    """Algorithm 1, slice by slice, with sorted projections and a detached divisor."""
    batch, dim = views[0].shape
    normal = torch.distributions.Normal(0.0, 1.0)
    places = torch.arange(1, batch + 1, dtype=torch.float64) / (batch + 1)
    quantiles = normal.icdf(places).to(views[0].dtype)
    total = torch.zeros((), dtype=views[0].dtype)
    for z in views:
        mean, deviation = z.mean(0), z.std(0, correction=0)
        unit = (z - mean) / (deviation.detach() + eps)
        errors = [
            ((unit @ line).sort().values - quantiles).square().mean()
            for line in lines(dim, slices, z)
        ]
        total = total + scale_weight * (1 - deviation).square().mean()
        total = total + shape_weight * torch.stack(errors).mean()
        total = total + center_weight * mean.square().mean()
    count = len(views) if global_views is None else global_views
    weight = regularization_weight
    return weight * total / len(views) + (1 - weight) * distance(views, count)


def draw(views: int, batch: int, dim: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Views of one sample, with another scale and mean in each feature."""
    scale = torch.linspace(0.3, 1.8, dim, dtype=torch.float64)
    z = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(views, batch, dim, generator=generator, dtype=torch.float64)
    return tuple(scale * (z + 0.5 * part) + 0.4 * scale for part in noise)


LEJEPA: list[tuple[int, int, int, dict[str, Any], str]] = [
    (2, 7, 4, {"gaussian_weight": 0.05, "slices": 5, "points": 17, "limit": 3.0}, "two global"),
    (
        4, 5, 3,
        {"global_views": 2, "gaussian_weight": 0.4, "slices": 4, "points": 9, "limit": 5.0},
        "two of four global",
    ),
    (1, 6, 5, {"gaussian_weight": 1.0, "slices": 3, "points": 2, "limit": 1.0}, "one view"),
]  # fmt: skip
OTHER = {"scale_weight": 2.0, "shape_weight": 0.7, "center_weight": 3.0, "eps": 0.2}
VISREG: list[tuple[int, int, int, dict[str, Any], str]] = [
    (2, 7, 4, {"regularization_weight": 0.9, "slices": 5}, "two global"),
    (4, 5, 3, {"global_views": 2, "regularization_weight": 0.6, "slices": 4, **OTHER}, "of four"),
    (1, 2, 6, {"regularization_weight": 1.0, "slices": 3}, "one view of two rows"),
]
PARITY = [
    Parity(
        name, f"{source}, {case}", partial(ours, **options), partial(oracle, **options),
        partial(draw, views, batch, dim),
    )
    for name, source, ours, oracle, cases in (
        ("lejepa_loss", "Balestriero and LeCun 2025", lejepa, lejepa_oracle, LEJEPA),
        ("visreg_loss", "Wu et al. 2026, algorithm 1", visreg, visreg_oracle, VISREG),
    )
    for views, batch, dim, options, case in cases
]  # fmt: skip


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_paper_s(case: Parity) -> None:
    assert_parity(case)


@pytest.mark.parametrize("loss", [lejepa, visreg], ids=lambda f: f.__name__)
@pytest.mark.parametrize("cut", [0, 2])
def test_two_ranks_are_the_whole_batch(loss: Any, cut: int, two_ranks: Ranks) -> None:
    views = draw(3, 7, 4, torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, partial(loss, slices=6, global_views=2), *views, cut=cut)


# --- known values ---------------------------------------------------------------------------


def test_lejepa_is_sigreg_and_a_distance() -> None:
    views = draw(3, 9, 4, torch.Generator().manual_seed(1))
    terms = lejepa_terms(*views, global_views=1, slices=7, generator=seeded())
    each = [sigreg_loss(z, slices=7, generator=seeded()) for z in views]
    torch.testing.assert_close(terms.gaussian, torch.stack(each).mean())
    expected = sum(float((z - views[0]).square().mean()) for z in views) / 3
    assert terms.invariance.item() == pytest.approx(expected)
    loss = lejepa_loss(*views, global_views=1, slices=7, generator=seeded())
    torch.testing.assert_close(loss, 0.95 * terms.invariance + 0.05 * terms.gaussian)


def test_visreg_of_gaussian_quantiles_is_nothing() -> None:
    """One feature that holds the quantiles themselves: shape costs its scale's defect alone."""
    places = torch.arange(1, 1000, dtype=torch.float64) / 1000
    z = torch.special.ndtri(places)[torch.randperm(999, generator=seeded())][:, None]
    terms = visreg_terms(z / z.std(correction=0), slices=3, generator=seeded())
    assert terms.scale.item() == pytest.approx(0, abs=1e-12)
    assert terms.center.item() == pytest.approx(0, abs=1e-12)
    assert terms.shape.item() < 1e-4
    shifted = visreg_terms(3 * z / z.std(correction=0) + 2, slices=3, generator=seeded())
    assert shifted.scale.item() == pytest.approx(4)
    assert shifted.center.item() == pytest.approx(4)
    torch.testing.assert_close(shifted.shape, terms.shape, rtol=1e-3, atol=1e-6)


def test_visreg_of_a_collapsed_batch() -> None:
    quantiles = torch.special.ndtri(torch.arange(1, 6, dtype=torch.float64) / 6)
    terms = visreg_terms(torch.full((5, 3), 2.0, dtype=torch.float64), slices=4)
    assert terms.scale == 1
    assert terms.center == 4
    assert terms.shape.item() == pytest.approx(quantiles.square().mean().item())


# --- laws -----------------------------------------------------------------------------------


def test_visreg_pulls_hardest_at_collapse_and_shape_does_not_pull_at_scale() -> None:
    """The slope towards a larger scale tends to a constant; SIGReg's vanishes."""
    z = torch.randn(64, 5, generator=seeded(), dtype=torch.float64)
    z = z - z.mean(0)
    for size in (1e-2, 1e-5):
        factor = torch.tensor(size, dtype=torch.float64, requires_grad=True)
        scale = visreg_terms(factor * z, slices=4, generator=seeded()).scale
        (slope,) = torch.autograd.grad(scale, factor)
        deviation = z.std(0, correction=0)
        assert slope.item() == pytest.approx(-2 * deviation.mean().item(), rel=0.05)


@pytest.mark.parametrize("loss", [lejepa_loss, visreg_loss])
def test_randomness_comes_from_the_generator_only(loss: Any) -> None:
    views = draw(2, 8, 5, torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    first = loss(*views, slices=3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(state, torch.get_rng_state())
    module = {lejepa_loss: LeJEPALoss, visreg_loss: VISRegLoss}[loss](slices=3)
    assert torch.equal(module(*views, generator=torch.Generator().manual_seed(1)), first)
    assert not torch.equal(module(*views, generator=torch.Generator().manual_seed(2)), first)


@pytest.mark.parametrize("loss", [lejepa, visreg], ids=lambda f: f.__name__)
def test_digits_at_unequal_scales(loss: Any) -> None:
    """Features from 1 to 1e4 in float32, and far from 0, against the same in float64."""
    scales = torch.logspace(0, 4, 6)
    noise = torch.randn(2, 16, 6, generator=torch.Generator().manual_seed(6))
    views = tuple((scales * (part + 3)) for part in noise)
    value, slopes = value_and_gradients(partial(loss, slices=8), views)
    wide = tuple(z.double() for z in views)
    expected, exact = value_and_gradients(partial(loss, slices=8), wide)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
    if loss is visreg:  # phases of 1e4 radians have lost theirs in SIGReg, as they must
        for got, wanted in zip(slopes, exact, strict=True):
            error = (got.double() - wanted).abs().amax(dim=0)
            assert (error <= 1e-4 * wanted.abs().amax(dim=0)).all()


def test_second_derivatives() -> None:
    """Of LeJEPA, whose value has them; VISReg's divisor is detached."""
    views = [z.requires_grad_() for z in draw(2, 4, 3, torch.Generator().manual_seed(0))]
    few = partial(lejepa, slices=2, points=4, global_views=1, gaussian_weight=0.4)
    assert torch.autograd.gradcheck(few, views)
    assert torch.autograd.gradgradcheck(few, views)
    for name in ("scale", "center", "invariance"):

        def term(*z: Tensor, name: str = name) -> Tensor:
            value: Tensor = getattr(visreg_terms(*z, slices=2, generator=seeded()), name)
            return value

        assert torch.autograd.gradcheck(term, views), name
        assert torch.autograd.gradgradcheck(term, views), name


@pytest.mark.parametrize("loss", [lejepa_loss, visreg_loss])
def test_derivatives_of_a_batch_of_batches(loss: Any) -> None:
    many = [draw(2, 4, 3, torch.Generator().manual_seed(s)) for s in range(2)]
    stacked = [torch.stack(column) for column in zip(*many, strict=True)]
    torch.manual_seed(0)
    slopes = torch.func.vmap(torch.func.grad(loss), randomness="same")(*stacked)
    for views, slope in zip(many, slopes, strict=True):
        torch.manual_seed(0)
        _, expected = value_and_gradients(loss, views)
        torch.testing.assert_close(slope, expected[0])


def test_meta() -> None:
    views = [torch.zeros(4, 3, device="meta") for _ in range(3)]
    generator = torch.Generator("cpu")
    for loss in (lejepa_loss, visreg_loss):
        assert loss(*views).shape == ()
    assert math.isfinite(generator.initial_seed())


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "views", "options", "said"),
    [
        (lejepa_loss, 0, {}, "lejepa_loss: number of views must be >= 1; got 0"),
        (lejepa_loss, 2, {"global_views": 0}, "lejepa_loss: global_views must be >= 1; got 0"),
        (lejepa_loss, 2, {"global_views": 3}, "lejepa_loss: global_views must be at most the num"),
        (lejepa_loss, 2, {"gaussian_weight": 2.0}, "lejepa_loss: gaussian_weight must lie in"),
        (lejepa_loss, 2, {"slices": 0}, "lejepa_loss: slices must be >= 1; got 0"),
        (lejepa_loss, 2, {"points": 1}, "lejepa_loss: points must be >= 2; got 1"),
        (lejepa_loss, 2, {"limit": 0.0}, "lejepa_loss: limit must be > 0; got 0.0"),
        (visreg_loss, 0, {}, "visreg_loss: number of views must be >= 1; got 0"),
        (visreg_loss, 2, {"global_views": 3}, "visreg_loss: global_views must be at most the num"),
        (visreg_loss, 2, {"regularization_weight": 2.0}, "visreg_loss: regularization_weight must"),
        (visreg_loss, 2, {"slices": 0}, "visreg_loss: slices must be >= 1; got 0"),
        (visreg_loss, 2, {"eps": 0.0}, "visreg_loss: eps must be > 0; got 0.0"),
    ],
)
def test_bad_input_is_refused(loss: Any, views: int, options: Any, said: str) -> None:
    with pytest.raises(ValueError, match="^" + said):
        loss(*[torch.zeros(4, 3)] * views, **options)
    with pytest.raises(ValueError, match="batch must be >= 2; got 1"):
        visreg_loss(torch.zeros(1, 3))
