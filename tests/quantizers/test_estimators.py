"""Estimators: the value is the code, the gradient is the paper's."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ssltok.quantizers import rotation_trick, straight_through

both = pytest.mark.parametrize("estimate", [straight_through, rotation_trick])


def pair(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 4, generator=generator, dtype=torch.float64) + 0.3
    q = 2 * torch.randn(6, 4, generator=generator, dtype=torch.float64) - 0.1
    return x.to(dtype).requires_grad_(), q.to(dtype)


# Oracle


def test_rotation_is_the_papers_matrix() -> None:
    x, q = pair()
    g = torch.randn(6, 4, dtype=torch.float64)
    rotation_trick(x, q).backward(g)
    for i in range(6):
        x_unit, q_unit = x[i].detach() / x[i].norm(), q[i] / q[i].norm()
        w = (x_unit + q_unit) / (x_unit + q_unit).norm()
        eye = torch.eye(4, dtype=torch.float64)
        rotation = eye - 2 * torch.outer(w, w) + 2 * torch.outer(q_unit, x_unit)
        torch.testing.assert_close(rotation @ rotation.T, eye)
        scaled = q[i].norm() / x[i].norm() * rotation
        torch.testing.assert_close(scaled @ x[i], q[i])
        assert x.grad is not None
        torch.testing.assert_close(x.grad[i], scaled.T.detach() @ g[i])


def test_straight_through_is_the_identity() -> None:
    x, q = pair()
    g = torch.randn(6, 4, dtype=torch.float64)
    straight_through(x, q).backward(g)
    assert x.grad is not None
    assert torch.equal(x.grad, g)


# Known values


def test_a_rotation_by_nothing_scales() -> None:
    x = torch.tensor([[3.0, 4.0]], requires_grad=True)
    rotation_trick(x, torch.tensor([[6.0, 8.0]])).backward(torch.tensor([[1.0, -2.0]]))
    torch.testing.assert_close(x.grad, torch.tensor([[2.0, -4.0]]))


# Laws


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_value_is_exactly_the_code(
    estimate: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype
) -> None:
    x, q = pair(dtype)
    assert torch.equal(estimate(1e4 * x, q), q)
    assert estimate(x, q).dtype == dtype


@both
def test_the_gradient_has_the_latents_dtype_and_the_code_has_none(
    estimate: Callable[[Tensor, Tensor], Tensor],
) -> None:
    x, q = pair(torch.bfloat16)
    x, q = x.detach().requires_grad_(), q.float().requires_grad_()
    estimate(x, q).sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
    assert q.grad is None


def test_no_rotation_where_none_is_defined() -> None:
    """Zero latents, zero codes and opposite directions: the gradient passes as it is."""
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1.0, 2.0]], requires_grad=True)
    q = torch.tensor([[1.0, 1.0], [0.0, 0.0], [-3.0, -6.0]])
    g = torch.tensor([[5.0, 7.0], [1.0, 3.0], [2.0, 4.0]])
    out = rotation_trick(x, q)
    assert torch.equal(out, q)
    out.backward(g)
    assert x.grad is not None
    assert torch.equal(x.grad, g)


# Complaints


@both
def test_complaints(estimate: Callable[[Tensor, Tensor], Tensor]) -> None:
    who = estimate.__name__
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=f"{who}: latents and quantized must share one shape"):
        estimate(x, x[:1])
    with pytest.raises(ValueError, match=f"{who}: latents must be floating point; got torch.int64"):
        estimate(x.long(), x)
    with pytest.raises(TypeError, match=f"{who}: quantized must be a tensor; got NoneType"):
        estimate(x, None)  # type: ignore[arg-type]
