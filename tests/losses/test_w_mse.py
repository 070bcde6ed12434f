"""W-MSE against its authors' loops over shuffles, sub-batches and views."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.losses import WMSELoss, w_mse_loss
from tests.losses.parity import Parity, assert_parity, assert_ranks_agree
from tests.ranks import Ranks


def whiten(x: Tensor, eps: float) -> Tensor:
    shrunk = (1 - eps) * torch.cov(x.T) + eps * torch.eye(x.shape[1], dtype=x.dtype)
    inverse: Tensor = torch.linalg.inv(torch.linalg.cholesky(shrunk))
    return (x - x.mean(0)) @ inverse.T


def oracle(
    *views: Tensor,
    sub_batch: int | None = None,
    iterations: int = 1,
    eps: float = 0.0,
    normalize: bool = True,
) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    batch, pairs = len(views[0]), 0
    loss = torch.zeros((), dtype=views[0].dtype)
    for _ in range(iterations):
        order = torch.arange(batch)
        if sub_batch is not None:
            order = torch.randperm(batch, generator=generator)
        white = []
        for view in views:
            rows = torch.empty_like(view)
            for index in order.view(-1, sub_batch or batch):
                rows[index] = whiten(view[index], eps)
            white.append(rows)
        for i in range(len(views)):
            for j in range(i + 1, len(views)):
                a, b = white[i], white[j]
                if normalize:
                    a, b = (x / x.square().sum(1, keepdim=True).sqrt() for x in (a, b))
                    loss = loss + 2 - 2 * (a * b).sum(1).mean()
                else:
                    loss = loss + torch.nn.functional.mse_loss(a, b)
                pairs += 1
    return loss / pairs


def seeded(*views: Tensor, **options: float | bool | None) -> Tensor:
    return w_mse_loss(*views, **options, generator=torch.Generator().manual_seed(3))  # type: ignore[arg-type]


def views(count: int, batch: int, dim: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    z = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, batch, dim, generator=generator, dtype=torch.float64)
    mix = torch.eye(dim, dtype=torch.float64) + 0.3
    return tuple((1 + i) * z @ mix + 0.6 * noise[i] + i for i in range(count))


CASES: list[tuple[str, int, int, int, dict[str, float | bool | None]]] = [
    ("the whole batch", 2, 12, 3, {}),
    ("sub-batches, two shuffles", 2, 24, 3, {"sub_batch": 12, "iterations": 2}),
    ("three views, shrunk", 3, 9, 4, {"eps": 0.1}),
    ("plain squared error", 2, 10, 2, {"normalize": False}),
]
PARITY = [
    Parity(
        "w_mse_loss",
        f"Ermolov et al. 2021 and its code, {name}",
        partial(seeded, **options),
        partial(oracle, **options),  # type: ignore[arg-type]
        partial(views, count, batch, dim),
    )
    for name, count, batch, dim, options in CASES
]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PARITY, ids=lambda c: c.source)
def test_value_and_gradient_are_the_authors(case: Parity) -> None:
    assert_parity(case)


def test_two_ranks_are_the_whole_batch(two_ranks: Ranks) -> None:
    inputs = views(2, 12, 3, torch.Generator().manual_seed(0))
    assert_ranks_agree(two_ranks, w_mse_loss, *inputs, cut=5)
    assert_ranks_agree(two_ranks, partial(seeded, sub_batch=6), *inputs, cut=5)


# --- known values ---------------------------------------------------------------------------


def test_whitening_undoes_what_the_views_differ_by() -> None:
    (z, _) = views(2, 12, 3, torch.Generator().manual_seed(0))
    lower = torch.tensor([[2.0, 0, 0], [1, 3, 0], [-1, 2, 0.5]], dtype=torch.float64)
    assert w_mse_loss(z, z @ lower.T + 7).item() == pytest.approx(0, abs=1e-12)
    assert w_mse_loss(z, -z).item() == pytest.approx(4)


def test_plain_error_of_opposites() -> None:
    """Whitened entries have mean square (B - 1) / B: the error of z and -z is four times that."""
    (z, _) = views(2, 12, 3, torch.Generator().manual_seed(0))
    assert w_mse_loss(z, -z, normalize=False).item() == pytest.approx(4 * 11 / 12)


# --- laws -----------------------------------------------------------------------------------


def test_both_views_get_a_gradient() -> None:
    z_a, z_b = (z.requires_grad_() for z in views(2, 12, 3, torch.Generator().manual_seed(0)))
    gradients = torch.autograd.grad(w_mse_loss(z_a, z_b), (z_a, z_b))
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients)


def test_randomness_comes_from_the_generator_only() -> None:
    pair = views(2, 24, 3, torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    first = w_mse_loss(*pair, sub_batch=8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(state, torch.get_rng_state())
    module = WMSELoss(sub_batch=8)
    assert torch.equal(module(*pair, generator=torch.Generator().manual_seed(1)), first)
    assert not torch.equal(module(*pair, generator=torch.Generator().manual_seed(2)), first)


def test_gradients_are_right() -> None:
    inputs = [z.requires_grad_() for z in views(2, 6, 2, torch.Generator().manual_seed(0))]
    assert torch.autograd.gradcheck(w_mse_loss, inputs)


# --- complaints -----------------------------------------------------------------------------

Z = torch.zeros(12, 3)


@pytest.mark.parametrize(
    ("inputs", "options", "said"),
    [
        ([Z], {}, r"^w_mse_loss: number of views must be >= 2; got 1$"),
        ([Z, Z[:6]], {}, r"^w_mse_loss: the views must share one shape; got"),
        ([Z[0], Z[0]], {}, r"^w_mse_loss: each view must be \(batch, dim\); got shape \(3,\)$"),
        ([Z[:3], Z[:3]], {}, r"^w_mse_loss: rows whitened together must be >= 4; got 3$"),
        ([Z, Z], {"sub_batch": 3}, r"^w_mse_loss: rows whitened together must be >= 4; got 3$"),
        ([Z, Z], {"sub_batch": 5}, r"^w_mse_loss: sub_batch must divide batch; got 5 and 12$"),
        ([Z, Z], {"iterations": 2}, r"^w_mse_loss: iterations > 1 need a sub_batch; got 2 and"),
        ([Z, Z], {"iterations": 0}, r"^w_mse_loss: iterations must be >= 1; got 0$"),
        ([Z, Z], {"eps": -0.1}, r"^w_mse_loss: eps must lie in \[0, 1\]; got -0.1$"),
        ([Z, Z.int()], {}, r"^w_mse_loss: each view must be floating point; got torch.int32$"),
    ],
)
def test_bad_input_is_refused(inputs: list[Tensor], options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        w_mse_loss(*inputs, **options)  # type: ignore[arg-type]
