"""Gather and the reductions: what two ranks compute is what one process computes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from ssltok.distributed import gather, reduce_mean, reduce_sum
from tests.ranks import Ranks


def run_gather(tensor: Tensor, rows: list[int] | None = None) -> Tensor:
    return gather(tensor, rows=rows)


def run_sum(tensor: Tensor) -> Tensor:
    return reduce_sum(tensor)


def run_mean(tensor: Tensor) -> Tensor:
    return reduce_mean(tensor)


def run_gradient(function: Callable[..., Tensor], tensor: Tensor, weight: Tensor) -> Any:
    """The gradient that DDP would hand out for `sum(weight * function(scale * tensor)^3)`."""
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    value = (weight * function(scale * tensor) ** 3).sum()
    (gradient,) = torch.autograd.grad(value, scale)
    dist.all_reduce(gradient)
    return value.detach(), gradient / dist.get_world_size()


def run_rank_dependent(tensor: Tensor, factor: float) -> Tensor:
    """Ranks whose losses differ: each row's gradient is the sum over the ranks' losses."""
    leaf = tensor.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((factor * gather(leaf)).sum(), leaf)
    return gradient


def run_wrong_rows(tensor: Tensor, rows: list[int]) -> str:
    try:
        gather(tensor, rows=rows)
    except ValueError as error:
        return str(error)
    return "no complaint"


def run_without_gradient(tensor: Tensor) -> bool:
    return gather(tensor).requires_grad


def rows(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in sizes]


# --- oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(2, 2), (1, 4), (5, 2), (0, 3), (3, 0)])
@pytest.mark.parametrize("told", [False, True])
def test_gather_concatenates_in_rank_order(
    two_ranks: Ranks, sizes: tuple[int, int], told: bool
) -> None:
    parts = rows(*sizes)
    said = [list(sizes) if told else None] * 2
    for got in two_ranks.run(run_gather, *zip(parts, said, strict=True)):
        assert torch.equal(got, torch.cat(parts))


@pytest.mark.parametrize("sizes", [(2, 2), (1, 4), (0, 3)])
def test_gathered_gradient_is_the_whole_batch_s(two_ranks: Ranks, sizes: tuple[int, int]) -> None:
    parts, weight = rows(*sizes), rows(sum(sizes))[0] + 2
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    value = (weight * (scale * torch.cat(parts)) ** 3).sum()
    (gradient,) = torch.autograd.grad(value, scale)
    args = [(gather, part, weight) for part in parts]
    for got, got_gradient in two_ranks.run(run_gradient, *args):
        torch.testing.assert_close(got, value.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(got_gradient, gradient, rtol=1e-12, atol=1e-12)


def test_reduced_gradients_are_the_single_process_s(two_ranks: Ranks) -> None:
    for function, whole in (
        (reduce_sum, lambda parts: parts[0] + parts[1]),
        (reduce_mean, lambda parts: torch.cat(list(parts)).mean(0)),
    ):
        parts = rows(2, 2) if function is reduce_sum else rows(1, 4)
        weight = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
        scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
        value = (weight * whole([scale * part for part in parts]) ** 3).sum()
        (gradient,) = torch.autograd.grad(value, scale)
        args = [(function, part, weight) for part in parts]
        for got, got_gradient in two_ranks.run(run_gradient, *args):
            torch.testing.assert_close(got, value.detach(), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(got_gradient, gradient, rtol=1e-12, atol=1e-12)


# --- known values ---------------------------------------------------------------------------


def test_sum_and_mean(two_ranks: Ranks) -> None:
    parts = (torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 12.0], [7.0, 6.0]]))
    for got in two_ranks.run(run_mean, *[(part,) for part in parts]):
        assert torch.equal(got, torch.tensor([4.0, 6.0]))  # not the mean of the ranks' means
    pair = (torch.tensor([1, 2]), torch.tensor([10, 20]))
    for got in two_ranks.run(run_sum, *[(part,) for part in pair]):
        assert torch.equal(got, torch.tensor([11, 22]))


def test_ranks_with_different_losses_add_their_gradients(two_ranks: Ranks) -> None:
    parts = rows(1, 2)
    got = two_ranks.run(run_rank_dependent, (parts[0], 2.0), (parts[1], 5.0))
    assert torch.equal(got[0], torch.full((1, 3), 7.0, dtype=torch.float64))
    assert torch.equal(got[1], torch.full((2, 3), 7.0, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.bfloat16, torch.float16])
def test_other_dtypes(two_ranks: Ranks, dtype: torch.dtype) -> None:
    parts = [torch.tensor([1, 0]).to(dtype), torch.tensor([1, 1, 0]).to(dtype)]
    for got in two_ranks.run(run_gather, *[(part,) for part in parts]):
        assert got.dtype == dtype
        assert torch.equal(got, torch.cat(parts))


def test_half_precision_is_summed_wider(two_ranks: Ranks) -> None:
    part = torch.full((2, 3), 256.0, dtype=torch.bfloat16)
    for got in two_ranks.run(run_mean, (part,), (part[:1] + 6,)):
        assert got.dtype == torch.bfloat16
        assert torch.equal(got, torch.full((3,), 258.0, dtype=torch.bfloat16))


# --- laws -----------------------------------------------------------------------------------


def test_one_process_is_the_identity() -> None:
    z = torch.randn(3, 2)
    assert gather(z) is z
    assert reduce_sum(z) is z
    torch.testing.assert_close(reduce_mean(z), z.mean(0))


def test_what_needs_no_gradient_gets_none(two_ranks: Ranks) -> None:
    assert two_ranks.run(run_without_gradient, *[(part,) for part in rows(1, 2)]) == [False, False]


def test_a_slice_that_is_not_contiguous(two_ranks: Ranks) -> None:
    parts = [part.T[:2].T for part in rows(4, 4)]
    for got in two_ranks.run(run_gather, *[(part,) for part in parts]):
        assert torch.equal(got, torch.cat(parts))


def test_one_process_compiles() -> None:
    def loss(z: Tensor) -> Tensor:
        return (gather(z) ** 2).sum() + reduce_mean(z).sum() + reduce_sum(z).sum()

    z = torch.randn(3, 2)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(z), loss(z))


# --- complaints -----------------------------------------------------------------------------


def test_bad_input_is_refused(two_ranks: Ranks) -> None:
    with pytest.raises(TypeError, match=r"^gather: tensor must be a tensor; got list$"):
        gather([1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^reduce_sum: tensor must be a tensor; got float$"):
        reduce_sum(1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^gather: tensor.ndim must be >= 1; got 0$"):
        gather(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"^reduce_mean: tensor must be floating point; got"):
        reduce_mean(torch.tensor([1]))
    with pytest.raises(ValueError, match=r"^reduce_mean: tensor.ndim must be >= 1; got 0$"):
        reduce_mean(torch.tensor(1.0))
    part = torch.zeros(2, 3)
    said = two_ranks.run(run_wrong_rows, (part, [2]), (part, [3, 3]))
    assert said[0] == ("gather: rows must name 2 processes, and 2 rows for rank 0; got [2]")
    assert said[1] == ("gather: rows must name 2 processes, and 2 rows for rank 1; got [3, 3]")
