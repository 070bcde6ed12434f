"""The queue: against a deque, with batches that do not divide it."""

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.distributed import gather
from ssltok.state import FeatureQueue
from tests.ranks import Ranks


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# oracle


@given(st.integers(1, 7), st.lists(st.integers(0, 17), max_size=6))
def test_holds_the_last_features(size: int, batches: list[int]) -> None:
    queue = FeatureQueue(size, 2, generator=seeded())
    want = deque(map(tuple, queue().tolist()), maxlen=size)
    count = 0.0
    for batch in batches:
        rows = torch.arange(batch).float()[:, None] * torch.ones(1, 2) + count
        count += batch
        queue.update(rows)
        want.extend(map(tuple, rows.tolist()))
    assert sorted(map(tuple, queue().tolist())) == sorted(want)


# known values


def test_wraps_around_its_end() -> None:
    """Four and four and four into ten: nothing is dropped (a published defect)."""
    queue = FeatureQueue(10, 1)
    for start in (0, 4, 8):
        queue.update(torch.arange(start, start + 4.0)[:, None])
    assert queue()[:, 0].tolist() == [10, 11, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_batch_larger_than_the_queue_leaves_its_last_rows_and_their_order() -> None:
    queue = FeatureQueue(3, 1)
    queue.update(torch.arange(5.0)[:, None])
    assert sorted(queue()[:, 0].tolist()) == [2, 3, 4]
    queue.update(torch.tensor([[5.0]]))  # in place of the oldest
    assert sorted(queue()[:, 0].tolist()) == [3, 4, 5]


def test_begins_with_random_unit_vectors() -> None:
    queue = FeatureQueue(500, 3, generator=seeded(1))
    torch.testing.assert_close(queue().norm(dim=1), torch.ones(500))
    assert float(queue().mean(0).abs().max()) < 0.1
    assert torch.equal(queue(), FeatureQueue(500, 3, generator=seeded(1))())


# laws


def test_forward_reads_and_update_writes() -> None:
    queue = FeatureQueue(4, 2, generator=seeded())
    before = queue().clone()
    queue.train()
    assert torch.equal(queue(), before)
    keys = torch.ones(3, 2, requires_grad=True)
    queue.update(keys)
    assert not queue().requires_grad
    assert torch.equal(queue()[3], before[3])
    assert torch.equal(queue()[:3], torch.ones(3, 2))


def test_a_push_before_the_backward_pass_is_an_error() -> None:
    queue = FeatureQueue(4, 2)
    query = torch.ones(3, 2, requires_grad=True)
    loss = (query @ queue().T).square().sum()
    queue.update(torch.ones(3, 2))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_round_trip_of_its_state() -> None:
    queue = FeatureQueue(5, 1)
    queue.update(torch.arange(3.0)[:, None])
    other = FeatureQueue(5, 1)
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.update(torch.tensor([[7.0], [8.0], [9.0]]))
    assert torch.equal(queue(), other())
    assert queue()[:, 0].tolist() == [9, 1, 2, 7, 8]


# distribution


def queue_after(*batches: Tensor) -> Tensor:
    queue = FeatureQueue(7, 2, generator=seeded())
    for batch in batches:
        queue.update(gather(batch))
    result: Tensor = queue()
    return result


def test_two_ranks_are_one(two_ranks: Ranks) -> None:
    def draw(seed: int, batch: int) -> Tensor:
        return torch.randn(batch, 2, generator=seeded(seed))

    a, b = [draw(1, 3), draw(2, 1)], [draw(3, 2), draw(4, 4)]
    got = two_ranks.run(queue_after, tuple(a), tuple(b))
    want = queue_after(*(torch.cat(pair) for pair in zip(a, b, strict=True)))
    assert torch.equal(got[0], want)
    assert torch.equal(got[1], want)


# complaints


def test_refuses() -> None:
    queue = FeatureQueue(4, 3)
    with pytest.raises(ValueError, match=r"^FeatureQueue: features must have 3 columns; got 2$"):
        queue.update(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"features must be \(batch, dim\); got shape \(3,\)$"):
        queue.update(torch.zeros(3))
    with pytest.raises(ValueError, match=r"features must be floating point; got torch.bool$"):
        queue.update(torch.zeros(4, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"size must be >= 1; got 0$"):
        FeatureQueue(0, 3)
    with pytest.raises(ValueError, match=r"dim must be >= 1; got 0$"):
        FeatureQueue(3, 0)
