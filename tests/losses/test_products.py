"""Sums over products: against the whole product, written out, and its derivatives."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok.losses._products_fast import (
    contrast,
    gram,
    product_sums,
    self_product_sums,
    unit_rows,
)


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small inputs take torch's own functions; these tests are of ours."""
    monkeypatch.setattr(sizes, "FEW_NUMBERS", 0)
    monkeypatch.setattr(sizes, "PRODUCT_ROWS", 0)


SHAPES = [(1, 5), (3, 8), (8, 8), (7, 8), (5, 8), (9, 4), (5, 1)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def written_out(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    product = a.T @ b
    return product.diagonal(), (product**2)[~torch.eye(a.shape[1], dtype=torch.bool)].sum()


def rest_alone(z: Tensor) -> Tensor:
    return self_product_sums(z).rest


@pytest.mark.parametrize(("batch", "dim"), SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("least", [0, 100])
def test_product_sums(
    batch: int,
    dim: int,
    dtype: torch.dtype,
    tolerance: float,
    least: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sizes, "PRODUCT_ROWS", least)
    a, b = draw(batch, dim), draw(batch, dim, seed=1)
    for x, y, got in (
        (a, b, product_sums(a.to(dtype), b.to(dtype))),
        (a, a, self_product_sums(a.to(dtype))),
    ):
        diagonal, rest = written_out(x, y)
        scale = (x.T @ y).square().sum().item()
        assert got.rest.dtype == dtype
        torch.testing.assert_close(
            got.diagonal.double(), diagonal, rtol=tolerance, atol=tolerance * scale**0.5
        )
        assert got.rest.item() == pytest.approx(rest.item(), rel=0, abs=tolerance * scale)


@pytest.mark.parametrize(("batch", "dim"), [(3, 5), (5, 6), (5, 3)])
def test_derivatives_of_product_sums(batch: int, dim: int) -> None:
    a, b = draw(batch, dim).requires_grad_(), draw(batch, dim, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(product_sums, (a, b))
    assert torch.autograd.gradgradcheck(product_sums, (a, b))
    assert torch.autograd.gradcheck(self_product_sums, a)
    assert torch.autograd.gradgradcheck(self_product_sums, a)


@pytest.mark.parametrize("term", [0, 1])
@pytest.mark.parametrize(("batch", "dim"), [(3, 5), (5, 3)])
def test_one_term_alone_has_its_gradient(batch: int, dim: int, term: int) -> None:
    a, b = draw(batch, dim).requires_grad_(), draw(batch, dim, seed=1).requires_grad_()
    for got, x, y in ((product_sums(a, b), a, b), (self_product_sums(a), a, a)):
        found = torch.autograd.grad(got[term].sum(), (a, b), materialize_grads=True)
        wanted = torch.autograd.grad(written_out(x, y)[term].sum(), (a, b), materialize_grads=True)
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("rows", [4, 7, 9])
def test_gram_in_blocks_is_the_whole_product(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    z = draw(rows, 5)
    whole = z @ z.T
    monkeypatch.setattr(sizes, "PRODUCT_ROWS", 4)
    with torch.no_grad():
        torch.testing.assert_close(gram(z), whole)
        torch.testing.assert_close(gram(z.T.contiguous().T), whole)
        stacked = torch.stack([z, 2 * z])
        torch.testing.assert_close(torch.func.vmap(gram)(stacked), stacked @ stacked.mT)
    x = z.requires_grad_()
    for function in (rest_alone, lambda z: contrast(z.repeat(2, 1) + 1, views=2).sum()):
        assert torch.autograd.gradcheck(function, x)


@pytest.mark.parametrize(("shape", "views"), [((4, 3), 2), ((2, 6, 5), 3), ((2, 2, 2, 1), 2)])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_contrast(shape: tuple[int, ...], views: int, scale: float) -> None:
    z, rows = draw(*shape), shape[-2]
    got = contrast(z, views=views, scale=scale).reshape(-1, rows)
    for group, row in zip(z.reshape(-1, *shape[-2:]), got, strict=True):
        for i in range(rows):
            products = scale * group @ group[i]
            others = torch.stack([products[j].exp() for j in range(rows) if j != i]).sum()
            same = [j for j in range(rows) if j != i and (j - i) % (rows // views) == 0]
            assert len(same) == views - 1
            torch.testing.assert_close(row[i], others.log() - products[same].mean())


def test_derivatives_of_contrast() -> None:
    z = draw(2, 6, 3).requires_grad_()
    function = partial(contrast, views=3, scale=1.5)
    assert torch.autograd.gradcheck(function, z)
    assert torch.autograd.gradgradcheck(function, z)


def test_large_products_do_not_overflow() -> None:
    assert contrast(1e4 * draw(4, 3).float(), views=2).isfinite().all()


@pytest.mark.parametrize("small", [0, 100])
def test_unit_rows(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "FEW_NUMBERS", small)
    z = draw(4, 3)
    z[1] = 0
    got = unit_rows(z)
    for row, unit in zip(z, got, strict=True):
        torch.testing.assert_close(unit, row / max((row @ row).item() ** 0.5, 1e-12))
    torch.testing.assert_close(unit_rows(z, eps=100.0), z / 100)


def test_derivatives_of_unit_rows() -> None:
    z = draw(2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(unit_rows, z)
    assert torch.autograd.gradgradcheck(unit_rows, z)
    assert torch.autograd.gradcheck(partial(unit_rows, eps=2.0), z)  # some rows are shorter
    short = torch.tensor([[0.0, 0.0, 0.0], [1e-3, 0.0, 0.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(unit_rows(short, eps=0.1).sum(), short)
    torch.testing.assert_close(slope, torch.tensor([[0.0], [10.0]]).expand(2, 3))  # 0: no direction


def test_they_vmap() -> None:
    z = draw(2, 4, 6)
    for function in (rest_alone, partial(contrast, views=2), unit_rows):
        got = torch.func.vmap(function)(z)
        torch.testing.assert_close(got, torch.stack([function(x) for x in z]))
        slope = torch.func.vmap(torch.func.grad(lambda x, f=function: f(x).sum()))(z)
        x = z[1].clone().requires_grad_()
        torch.testing.assert_close(slope[1], torch.autograd.grad(function(x).sum(), x)[0])
