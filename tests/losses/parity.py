"""Value and gradient of a loss against its naive float64 transcription, and over two ranks."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ssltok.distributed import gather
from tests.ranks import Ranks

__all__ = [
    "SEEDS",
    "Parity",
    "assert_parity",
    "assert_ranks_agree",
    "parity_errors",
    "value_and_gradients",
]

SEEDS = range(20)


class Parity(NamedTuple):
    """One row of the parity table: a loss, its published source, and an oracle that is not it.

    `draw` returns the inputs in float64 (labels in int64, which get no gradient).
    """

    name: str
    source: str
    ours: Callable[..., Tensor]
    oracle: Callable[..., Tensor]
    draw: Callable[[torch.Generator], tuple[Tensor, ...]]


def value_and_gradients(
    loss: Callable[..., Tensor], inputs: tuple[Tensor, ...]
) -> tuple[Tensor, list[Tensor]]:
    """The loss, and its gradient in each floating input (0 where none flows)."""
    leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    value = loss(*leaves)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    gradients = torch.autograd.grad(value, wanted, materialize_grads=True)
    return value.detach(), list(gradients)


def distance(ours: Tensor, oracle: Tensor) -> float:
    """Largest error, relative to the largest entry of the oracle (to 1 if that is smaller)."""
    assert ours.shape == oracle.shape
    scale = max(1.0, oracle.abs().max().item())
    return (ours.double() - oracle.double()).abs().max().item() / scale


def parity_errors(case: Parity, seed: int, dtype: torch.dtype) -> tuple[float, float]:
    """Errors of value and gradient in `dtype`; the oracle sees the same numbers in float64."""
    drawn = case.draw(torch.Generator().manual_seed(seed))
    inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in drawn)
    exact = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    value, gradients = value_and_gradients(case.ours, inputs)
    expected, expected_gradients = value_and_gradients(case.oracle, exact)
    assert value.dtype == dtype
    assert value.shape == ()
    pairs = zip(gradients, expected_gradients, strict=True)
    scale = max(g.abs().max().item() for g in expected_gradients)
    assert scale > 0, "an oracle without gradient tests nothing"
    error = max((a.double() - b).abs().max().item() for a, b in pairs) / scale
    return distance(value, expected), error


def assert_parity(case: Parity) -> None:
    """Twenty seeds: 1e-10 in float64 and 1e-5 in float32, in value and gradient."""
    for seed in SEEDS:
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
            value, gradient = parity_errors(case, seed, dtype)
            said = f"{case.name}, seed {seed}, {dtype}: value {value:.1e}, gradient {gradient:.1e}"
            assert value <= tolerance, said
            assert gradient <= tolerance, said


def _on_rank(
    loss: Callable[..., Tensor], theta: Tensor, inputs: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    weight = theta.clone().requires_grad_()
    value = loss(*[gather(x @ weight if x.is_floating_point() else x) for x in inputs])
    (gradient,) = torch.autograd.grad(value, weight)
    dist.all_reduce(gradient)  # DDP: the mean over ranks
    return value.detach(), gradient / dist.get_world_size()


def assert_ranks_agree(
    two_ranks: Ranks, loss: Callable[..., Tensor], *inputs: Tensor, cut: int
) -> None:
    """Two ranks with different, unequal data: value and DDP gradient are the whole batch's.

    Every floating input passes through one shared weight; rank 0 holds the first `cut` rows.
    `loss` must be importable, for it travels to the ranks.
    """
    generator = torch.Generator().manual_seed(5)
    dim = next(x.shape[-1] for x in inputs if x.is_floating_point())
    theta = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    whole = theta.clone().requires_grad_()
    value = loss(*[x @ whole if x.is_floating_point() else x for x in inputs])
    (gradient,) = torch.autograd.grad(value, whole)
    first, second = tuple(x[:cut] for x in inputs), tuple(x[cut:] for x in inputs)
    for got, got_gradient in two_ranks.run(_on_rank, (loss, theta, first), (loss, theta, second)):
        torch.testing.assert_close(got, value.detach(), rtol=1e-12, atol=1e-12)
        scale = gradient.abs().max()
        torch.testing.assert_close(got_gradient / scale, gradient / scale, rtol=0, atol=1e-12)
