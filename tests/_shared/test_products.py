"""Sums over products: against the whole product, written out, and its derivatives."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok._shared.products import logsumexp_of_others, product_sums, self_product_sums

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
def test_product_sums(batch: int, dim: int, dtype: torch.dtype, tolerance: float) -> None:
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


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 2, 2, 1)])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_logsumexp_of_others(shape: tuple[int, ...], scale: float) -> None:
    z = draw(*shape)
    got = logsumexp_of_others(z, scale=scale).reshape(-1, shape[-2])
    for group, row in zip(z.reshape(-1, *shape[-2:]), got, strict=True):
        for i in range(shape[-2]):
            others = [j for j in range(shape[-2]) if j != i]
            expected = torch.stack([(scale * group[i] @ group[j]).exp() for j in others])
            torch.testing.assert_close(row[i], expected.sum().log())


def test_derivatives_of_logsumexp_of_others() -> None:
    z = draw(2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(partial(logsumexp_of_others, scale=1.5), z)
    assert torch.autograd.gradgradcheck(partial(logsumexp_of_others, scale=1.5), z)


def test_large_products_do_not_overflow() -> None:
    assert logsumexp_of_others(1e4 * draw(4, 3).float()).isfinite().all()


def test_they_vmap() -> None:
    z = draw(2, 4, 6)
    for function in (rest_alone, logsumexp_of_others):
        got = torch.func.vmap(function)(z)
        torch.testing.assert_close(got, torch.stack([function(x) for x in z]))
        slope = torch.func.vmap(torch.func.grad(lambda x, f=function: f(x).sum()))(z)
        x = z[1].clone().requires_grad_()
        torch.testing.assert_close(slope[1], torch.autograd.grad(function(x).sum(), x)[0])
