"""The centre: DINO's update, over unequal batches of two ranks as over one batch."""

import pytest
import torch
from torch import Tensor

from ssltok.state import RunningCenter
from tests.ranks import Ranks


def outputs(seed: int, batch: int, dim: int = 5) -> Tensor:
    return torch.randn(batch, dim, generator=torch.Generator().manual_seed(seed)).double() + seed


# oracle


def test_follows_the_published_update() -> None:
    for seed in range(20):
        center = RunningCenter(5, momentum=0.7).double()
        want = torch.zeros(5).double()
        for step in range(3):
            batch = outputs(seed + step, 3 + step)
            center.update(batch)
            want = want * 0.7 + batch.mean(0) * (1 - 0.7)
        torch.testing.assert_close(center(), want, rtol=1e-12, atol=1e-12)


# known values


def test_the_first_step_takes_a_tenth() -> None:
    """The start is 0, not the first mean (a published defect: ten times too large)."""
    center = RunningCenter(2)
    center.update(torch.tensor([[10.0, -20.0], [30.0, 0.0]]))
    torch.testing.assert_close(center(), torch.tensor([2.0, -1.0]))


# laws


def test_forward_reads_and_update_writes() -> None:
    center = RunningCenter(5)
    center.update(outputs(1, 4).requires_grad_())
    before = center().clone()
    center.train()
    assert torch.equal(center(), before)
    assert not center().requires_grad
    center.eval()
    center.update(outputs(2, 4))
    assert not torch.equal(center(), before)


def test_no_row_leaves_it_alone() -> None:
    center = RunningCenter(5)
    center.update(outputs(1, 4))
    before = center().clone()
    center.update(torch.zeros(0, 5))
    assert torch.equal(center(), before)


def test_round_trip_of_its_state() -> None:
    center = RunningCenter(5)
    center.update(outputs(1, 4))
    other = RunningCenter(5)
    other.load_state_dict(center.state_dict())
    assert torch.equal(other(), center())


def test_half_precision_is_summed_in_single() -> None:
    batch = torch.ones(5000, 1, dtype=torch.bfloat16)
    center = RunningCenter(1, momentum=0.0)
    center.update(batch)
    assert float(center()) == 1.0
    assert center().dtype == torch.float32


# distribution


def center_after(first: Tensor, second: Tensor) -> Tensor:
    center = RunningCenter(5, momentum=0.7).double()
    center.update(first)
    center.update(second)
    result: Tensor = center()
    return result


@pytest.mark.parametrize("rows", [(3, 3), (5, 2), (4, 0)])
def test_two_ranks_are_one(two_ranks: Ranks, rows: tuple[int, int]) -> None:
    a = [outputs(s, rows[0]) for s in (1, 2)]
    b = [outputs(s, rows[1]) for s in (5, 9)]
    got = two_ranks.run(center_after, tuple(a), tuple(b))
    want = center_after(torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]]))
    for one in got:
        torch.testing.assert_close(one, want, rtol=1e-12, atol=1e-12)


# complaints


def test_refuses() -> None:
    center = RunningCenter(3)
    with pytest.raises(ValueError, match=r"^RunningCenter: targets must have 3 columns; got 2$"):
        center.update(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"targets must be \(batch, dim\); got shape \(3,\)$"):
        center.update(torch.zeros(3))
    with pytest.raises(ValueError, match=r"targets must be floating point; got torch.int64$"):
        center.update(torch.zeros(4, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"dim must be >= 1; got 0$"):
        RunningCenter(0)
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\]; got -0.5$"):
        RunningCenter(3, momentum=-0.5)
