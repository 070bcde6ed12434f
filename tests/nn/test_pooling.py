"""Mean and maximum over the grid."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssltok.nn import AverageMaxPool, average_max_pool

# Oracle ---------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_it_is_the_mean_and_the_maximum(batch: int, dim: int, freq: int, frames: int) -> None:
    x = torch.randn(batch, dim, freq, frames, dtype=torch.float64)
    pooled = average_max_pool(x)
    assert pooled.shape == (batch, 2 * dim)
    for row in range(batch):
        for channel in range(dim):
            values = [float(v) for v in x[row, channel].flatten()]
            assert float(pooled[row, channel]) == pytest.approx(sum(values) / len(values))
            assert float(pooled[row, dim + channel]) == max(values)
    assert torch.equal(AverageMaxPool()(x), pooled)


# Known values ---------------------------------------------------------------------------------


def test_a_constant_grid_is_twice_its_value() -> None:
    assert average_max_pool(torch.full((2, 3, 4, 5), 1.5)).tolist() == [[1.5] * 6] * 2


# Laws -----------------------------------------------------------------------------------------


def test_gradients() -> None:
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(average_max_pool, (x,))


def test_order_on_the_grid_does_not_matter() -> None:
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(average_max_pool(x), average_max_pool(x.flip(2).roll(2, 3)))


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"average_max_pool: latents must be \(batch, dim, freq,"):
        average_max_pool(torch.randn(2, 3, 4))
    with pytest.raises(ValueError, match=r"latents must be floating point; got torch.int64"):
        average_max_pool(torch.ones(1, 1, 1, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"average_max_pool: elements must be >= 1; got 0"):
        average_max_pool(torch.randn(2, 3, 0, 4))
