"""Frechet distance against the matrix square root, two Gaussians in closed form, and its laws."""

import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.metrics import frechet_distance


def features(seed: int, cases: int, dim: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return scale * torch.randn(cases, dim, generator=generator, dtype=torch.float64) @ mix


def by_square_root(real: Tensor, generated: Tensor) -> float:
    """The published fifteen lines: numpy.cov and scipy.linalg.sqrtm."""
    shift = float((real.mean(0) - generated.mean(0)).square().sum())
    a, b = real.T.cov(), generated.T.cov()
    root = scipy.linalg.sqrtm((a @ b).numpy())
    return shift + float(a.trace() + b.trace()) - 2 * float(root.trace().real)


# Oracle.


@given(st.integers(0, 10_000), st.integers(12, 40), st.integers(14, 50), st.integers(2, 6))
def test_agrees_with_the_matrix_square_root(seed: int, n: int, m: int, dim: int) -> None:
    real, generated = features(seed, n, dim), features(seed + 1, m, dim, 1.7) + 0.3
    expected = by_square_root(real, generated)
    assert frechet_distance(real, generated).item() == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_agrees_with_eigenvalues_when_cases_are_few() -> None:
    """Fewer cases than dimensions: singular covariances, where the square root turns complex."""
    real, generated = features(0, 7, 30), features(1, 5, 30) + 1
    shift = (real.mean(0) - generated.mean(0)).square().sum()
    a, b = real.T.cov(), generated.T.cov()
    eigenvalues = torch.linalg.eigvals(a @ b).real.clamp_min(0)
    keep = eigenvalues > 1e-9 * eigenvalues.max()
    expected = shift + a.trace() + b.trace() - 2 * eigenvalues[keep].sqrt().sum()
    torch.testing.assert_close(frechet_distance(real, generated), expected, rtol=1e-6, atol=1e-6)


def by_formula(cases: int, shift: float) -> Tensor:
    i, j = torch.meshgrid(torch.arange(cases), torch.arange(3), indexing="ij")
    return torch.sin(1.3 * i.double() * (j + 1) + shift) + 0.05 * i


def test_has_the_value_of_torchmetrics() -> None:
    """torchmetrics 1.9.0, `image.fid._compute_fid` of the two means and covariances."""
    d = frechet_distance(by_formula(40, 0.0), by_formula(30, 0.4))
    assert d.item() == pytest.approx(0.2282089907859426, rel=1e-9)


# Known values.


def test_two_gaussians_in_one_dimension() -> None:
    """(mu_r - mu_g)^2 + (sigma_r - sigma_g)^2."""
    base = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)  # unbiased variance 1
    assert frechet_distance(2 * base + 5, 7 * base + 1).item() == pytest.approx(16 + 25)


def test_two_diagonal_gaussians() -> None:
    grid = torch.cartesian_prod(*(torch.tensor([-1.0, 1.0]),) * 3).double()  # variance 8/7 each
    a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 4.0, 0.0])
    expected = 8 / 7 * (a - b).square().sum().item()
    assert frechet_distance(grid * a, grid * b).item() == pytest.approx(expected)


# Laws.


@given(st.integers(0, 10_000), st.sampled_from([(5, 9), (20, 3)]))
def test_zero_symmetric_permutable_and_of_squared_units(seed: int, shape: tuple[int, int]) -> None:
    x, y = features(seed, *shape), features(seed + 1, shape[0] + 3, shape[1])
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    d = frechet_distance(x, y)
    assert frechet_distance(x, x).item() <= 1e-10 * x.square().sum().item()
    torch.testing.assert_close(frechet_distance(y, x), d)
    torch.testing.assert_close(frechet_distance(x, y[order]), d)
    torch.testing.assert_close(frechet_distance(3 * x, 3 * y), 9 * d)
    rotation = torch.linalg.qr(features(seed + 2, shape[1], shape[1])).Q
    torch.testing.assert_close(frechet_distance(x @ rotation, y @ rotation), d)


def test_grows_with_noise() -> None:
    x = features(3, 400, 5)
    noise = features(4, 400, 5)
    steps = [frechet_distance(x, x + s * noise).item() for s in (0.0, 0.2, 0.5, 1.0, 2.0)]
    assert steps == sorted(steps)
    assert steps[1] > steps[0]


def test_never_negative_and_of_float64() -> None:
    x = torch.full((4, 3), 1e4, dtype=torch.float32)
    d = frechet_distance(x, x)
    assert d.dtype == torch.float64
    assert d.item() == 0
    assert not frechet_distance(x.requires_grad_(), x).requires_grad


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("cases", [3, 30])
def test_a_broken_feature_leaves_nothing_known(bad: float, cases: int) -> None:
    x, y = features(1, cases, 5), features(2, 20, 5)
    x[2, 1] = bad
    assert frechet_distance(x, y).isnan()
    assert frechet_distance(y, x).isnan()


# Complaints.


@pytest.mark.parametrize(
    ("real", "generated", "said"),
    [
        ((1, 3), (4, 3), r"^frechet_distance: cases of real must be >= 2; got 1$"),
        ((4, 3), (1, 3), r"^frechet_distance: cases of generated must be >= 2; got 1$"),
        ((4, 3), (4, 2), r"^frechet_distance: real and generated must have one dim; got 3 and 2$"),
        ((4, 3, 1), (4, 3), r"real must be \(cases, dim\); got shape \(4, 3, 1\)$"),
    ],
)
def test_refuses(real: tuple[int, ...], generated: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        frechet_distance(torch.zeros(real), torch.zeros(generated))


def test_refuses_what_is_not_floating() -> None:
    with pytest.raises(ValueError, match=r"generated must be floating point; got torch.int64$"):
        frechet_distance(torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"^frechet_distance: real must be a tensor; got list$"):
        frechet_distance([[1.0]], torch.zeros(3, 2))  # type: ignore[arg-type]
