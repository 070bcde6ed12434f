"""Kernel distance against the double loop, point masses, and its laws."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import polynomial_kernel as sk_polynomial
from sklearn.metrics.pairwise import rbf_kernel as sk_rbf
from torch import Tensor

from ssltok._shared import sizes
from ssltok.metrics import gaussian_kernel, kernel_distance, polynomial_kernel


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Oracle.


@given(st.integers(0, 10_000))
def test_is_the_double_loop(seed: int) -> None:
    x, y = draw(seed, 4, 3), draw(seed + 1, 6, 3)

    def k(a: Tensor, b: Tensor) -> float:
        return math.exp(-float((a - b).square().sum()) / (2 * 1.5**2))

    xx = [k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    yy = [k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j]
    xy = [k(a, b) for a in x for b in y]
    expected = sum(xx) / 12 + sum(yy) / 30 - 2 * sum(xy) / 24
    kernel = partial(gaussian_kernel, bandwidth=1.5)
    assert kernel_distance(x, y, kernel=kernel).item() == pytest.approx(expected, abs=1e-12)


def test_kernels_agree_with_scikit_learn() -> None:
    x, y = draw(0, 5, 3), draw(1, 4, 3)
    poly = torch.from_numpy(sk_polynomial(x.numpy(), y.numpy(), degree=3, coef0=1))
    torch.testing.assert_close(polynomial_kernel(x, y), poly)
    rbf = torch.from_numpy(sk_rbf(x.numpy(), y.numpy(), gamma=1 / (2 * 0.7**2)))
    torch.testing.assert_close(gaussian_kernel(x, y, bandwidth=0.7), rbf)


def test_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draw(2, 11, 3), draw(3, 7, 3)
    whole = kernel_distance(x, y)
    monkeypatch.setattr(sizes, "ROWS", 4)
    torch.testing.assert_close(kernel_distance(x, y), whole)


def test_has_the_value_of_torchmetrics() -> None:
    """torchmetrics 1.9.0, `image.kid.poly_mmd`."""

    def by_formula(shift: float) -> Tensor:
        i, j = torch.meshgrid(torch.arange(40), torch.arange(3), indexing="ij")
        return torch.sin(1.3 * i.double() * (j + 1) + shift) + 0.05 * i

    d = kernel_distance(by_formula(0.0), by_formula(0.4))
    assert d.item() == pytest.approx(-1.6319701264010575, rel=1e-9)


# Known values.


def test_point_masses() -> None:
    """All real cases at a, all generated at b: k(a, a) + k(b, b) - 2 k(a, b)."""
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, -2.0]])
    kernel = partial(gaussian_kernel, bandwidth=5.0)
    d = kernel_distance(a.repeat(3, 1), b.repeat(5, 1), kernel=kernel)
    assert d.item() == pytest.approx(2 - 2 * math.exp(-0.5))
    d = kernel_distance(a.repeat(3, 1), b.repeat(5, 1))
    assert d.item() == pytest.approx((5 / 2 + 1) ** 3 + 11**3 - 2 * 1)


# Laws.


def test_unbiased_where_the_frechet_distance_is_not() -> None:
    """Sets of 20 from one law: the mean over draws is 0 within its error."""
    values = torch.stack(
        [kernel_distance(draw(s, 20, 4), draw(s + 999, 20, 4)) for s in range(200)]
    )
    assert values.mean().abs() < 3 * values.std() / 200**0.5
    assert values.min() < 0 < values.max()


@given(st.integers(0, 10_000))
def test_symmetric_and_permutable(seed: int) -> None:
    x, y = draw(seed, 6, 3), draw(seed + 1, 8, 3)
    d = kernel_distance(x, y)
    torch.testing.assert_close(kernel_distance(y, x), d)
    torch.testing.assert_close(kernel_distance(x.flip(0), y.flip(0)), d)


def test_grows_with_noise() -> None:
    x, noise = draw(5, 300, 4), draw(6, 300, 4)
    steps = [kernel_distance(x, x + s * noise).item() for s in (0.3, 0.6, 1.0, 2.0)]
    assert steps == sorted(steps)


# Complaints.


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"^kernel_distance: cases of real must be >= 2; got 1$"):
        kernel_distance(torch.zeros(1, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"must have one dim; got 2 and 3$"):
        kernel_distance(torch.zeros(3, 2), torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"^gaussian_kernel: bandwidth must be > 0; got 0.0$"):
        gaussian_kernel(torch.zeros(1, 2), torch.zeros(1, 2), bandwidth=0.0)
