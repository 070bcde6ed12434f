"""The sum over processes, asked of two real ones; its gradients are under `distributed`."""

import pytest
import torch
from torch import Tensor

from ssltok._shared.ranks import broadcast_from_first, in_a_group, sum_over_ranks
from tests.ranks import Ranks


def _talk(tensor: Tensor) -> tuple[bool, Tensor, Tensor]:
    kept = tensor.clone()
    total = sum_over_ranks(tensor)
    first = broadcast_from_first(tensor.clone())
    assert torch.equal(tensor, kept)
    return in_a_group(), total, first


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_ranks_hear_each_other(two_ranks: Ranks, dtype: torch.dtype) -> None:
    a, b = torch.tensor([[1, 2], [3, 4]], dtype=dtype), torch.tensor([[10, 20], [5, 0]]).to(dtype)
    for grouped, total, first in two_ranks.run(_talk, (a.T,), (b.T,)):
        assert grouped
        assert torch.equal(total, (a + b).T)
        assert total.dtype == dtype
        assert torch.equal(first, a.T)


def test_alone_it_is_the_tensor_itself() -> None:
    tensor = torch.ones(3)
    assert not in_a_group()
    assert sum_over_ranks(tensor) is tensor
    assert broadcast_from_first(tensor) is tensor
