"""Whitening against its definitions: an inverse of the Cholesky factor, and Newton's loop."""

import pytest
import torch
from torch import Tensor

from ssltok.losses import cholesky_whiten, iterative_whiten


def draw(batch: int, dim: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    mix = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return z @ (mix + 2 * torch.eye(dim)) + 5


def cholesky_oracle(z: Tensor, eps: float) -> Tensor:
    """The authors' steps: shrink, factorise, invert, multiply."""
    shrunk = (1 - eps) * torch.cov(z.T) + eps * torch.eye(z.shape[1], dtype=z.dtype)
    inverse: Tensor = torch.linalg.inv(torch.linalg.cholesky(shrunk))
    return (z - z.mean(0)) @ inverse.T


def newton_oracle(z: Tensor, iterations: int, group_size: int, eps: float) -> Tensor:
    """Algorithm 1 of IterNorm, group by group."""
    parts = []
    for group in torch.split(z, group_size, dim=1):
        x = (group - group.mean(0)).T
        identity = torch.eye(group_size, dtype=z.dtype)
        sigma = x @ x.T / x.shape[1] + eps * identity
        normalized = sigma / torch.trace(sigma)
        p = identity
        for _ in range(iterations):
            p = (3 * p - torch.linalg.matrix_power(p, 3) @ normalized) / 2
        parts.append((p / torch.trace(sigma) ** 0.5 @ x).T)
    return torch.cat(parts, dim=1)


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("batch", "dim", "eps"), [(9, 4, 0.0), (6, 5, 0.01), (4, 7, 0.3)])
def test_cholesky(batch: int, dim: int, eps: float, seed: int) -> None:
    z = draw(batch, dim, seed).requires_grad_()
    got, expected = cholesky_whiten(z, eps=eps), cholesky_oracle(z, eps)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    weight = torch.linspace(-1, 2, got.numel(), dtype=z.dtype).view_as(got).sin()
    pair = [torch.autograd.grad((weight * x).sum(), z)[0] for x in (got, expected)]
    torch.testing.assert_close(*pair, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("batch", "dim", "group_size", "iterations", "eps"),
    [(9, 4, 4, 5, 1e-5), (12, 6, 3, 4, 0.02), (5, 4, 1, 1, 0.1), (7, 6, 2, 2, 1e-3)],
)
def test_iterative(
    batch: int, dim: int, group_size: int, iterations: int, eps: float, seed: int
) -> None:
    z = draw(batch, dim, seed).requires_grad_()
    got = iterative_whiten(z, iterations=iterations, group_size=group_size, eps=eps)
    expected = newton_oracle(z, iterations, group_size, eps)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    weight = torch.linspace(-1, 2, got.numel(), dtype=z.dtype).view_as(got).sin()
    pair = [torch.autograd.grad((weight * x).sum(), z)[0] for x in (got, expected)]
    torch.testing.assert_close(*pair, rtol=1e-9, atol=1e-9)


# --- known values ---------------------------------------------------------------------------


def test_cholesky_whitens() -> None:
    white = cholesky_whiten(draw(50, 6))
    torch.testing.assert_close(torch.cov(white.T), torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(white.mean(0), torch.zeros(6, dtype=torch.float64))


def test_newton_s_iteration_tends_to_the_inverse_root() -> None:
    z = draw(200, 5)
    white = iterative_whiten(z, iterations=40, group_size=5, eps=1e-12)
    torch.testing.assert_close(
        white.T @ white / 200, torch.eye(5, dtype=torch.float64), rtol=1e-6, atol=1e-6
    )


def test_defaults_are_the_authors() -> None:
    z = draw(200, 128)
    torch.testing.assert_close(iterative_whiten(z), newton_oracle(z, 5, 64, 1e-5))
    torch.testing.assert_close(cholesky_whiten(z), cholesky_oracle(z, 0.0))


# --- laws -----------------------------------------------------------------------------------


def test_gradients_are_right() -> None:
    z = draw(6, 4).requires_grad_()
    assert torch.autograd.gradcheck(cholesky_whiten, z)
    assert torch.autograd.gradcheck(lambda x: iterative_whiten(x, group_size=2), z)
    assert torch.autograd.gradgradcheck(lambda x: iterative_whiten(x, group_size=2), z)


def test_cholesky_undoes_triangular_maps() -> None:
    z = draw(9, 4)
    lower = torch.tensor(
        [[2.0, 0, 0, 0], [1, 3, 0, 0], [-1, 2, 0.5, 0], [4, 1, 1, 1]], dtype=torch.float64
    )
    torch.testing.assert_close(cholesky_whiten(z @ lower.T + 3), cholesky_whiten(z))


@pytest.mark.parametrize("whiten", [cholesky_whiten, lambda z: iterative_whiten(z, group_size=3)])
def test_precision_under_autocast_and_in_halves(whiten: type) -> None:
    z = draw(32, 3).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = whiten(z)
    assert torch.equal(inside, whiten(z))
    assert whiten(z.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("eps", [0.0, 1e-4])
def test_a_constant_or_repeated_feature_is_finite(eps: float) -> None:
    z = draw(9, 4).float()
    z[:, 1] = 0.1
    z[:, 3] = z[:, 0]
    z.requires_grad_()
    white = cholesky_whiten(z, eps=eps)
    (gradient,) = torch.autograd.grad((white**3).sum(), z)
    assert white.isfinite().all()
    assert gradient.isfinite().all()


def test_they_compile() -> None:
    def both(z: Tensor) -> Tensor:
        return cholesky_whiten(z) + iterative_whiten(z, group_size=2)

    z = draw(9, 4)
    compiled = torch.compile(both, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(z), both(z))


# --- complaints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("z", "eps", "said"),
    [
        (torch.zeros(3), 0.0, r"^cholesky_whiten: z must be \(batch, dim\); got shape \(3,\)$"),
        (torch.zeros(4, 4), 0.0, r"^cholesky_whiten: batch must be >= 5; got 4$"),
        (torch.zeros(1, 4), 0.1, r"^cholesky_whiten: batch must be >= 2; got 1$"),
        (torch.zeros(9, 4), 1.5, r"^cholesky_whiten: eps must lie in \[0, 1\]; got 1.5$"),
        (torch.zeros(9, 4).int(), 0.0, r"^cholesky_whiten: z must be floating point; got"),
    ],
)
def test_cholesky_refuses(z: Tensor, eps: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cholesky_whiten(z, eps=eps)


@pytest.mark.parametrize(
    ("z", "options", "said"),
    [
        (torch.zeros(3), {}, r"^iterative_whiten: z must be \(batch, dim\); got shape \(3,\)$"),
        (torch.zeros(1, 64), {}, r"^iterative_whiten: batch must be >= 2; got 1$"),
        (torch.zeros(9, 65), {}, r"^iterative_whiten: group_size must divide dim; got 64 and 65$"),
        (torch.zeros(9, 64), {"iterations": 0}, r"^iterative_whiten: iterations must be >= 1; got"),
        (torch.zeros(9, 64), {"group_size": 0}, r"^iterative_whiten: group_size must be >= 1; got"),
        (torch.zeros(9, 64), {"eps": 0.0}, r"^iterative_whiten: eps must be > 0; got 0.0$"),
        (torch.zeros(9, 64).int(), {}, r"^iterative_whiten: z must be floating point; got"),
    ],
)
def test_iterative_refuses(z: Tensor, options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        iterative_whiten(z, **options)
