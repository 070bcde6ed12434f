"""Pooling over the real places of a grid or series."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.nn import AttentionPool, AverageMaxPool, average_max_pool, max_pool, mean_pool

Pool = Callable[..., Tensor]


def attention(dim: int) -> AttentionPool:
    torch.manual_seed(dim)
    pool = AttentionPool(dim, hidden_dim=5, channel_dim=1)
    torch.nn.init.normal_(pool.score.weight)
    return pool.double()


POOLS: dict[str, Pool] = {
    "mean_pool": mean_pool,
    "max_pool": max_pool,
    "average_max_pool": average_max_pool,
    "AttentionPool": attention(3),
}
every = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


def some_valid(batch: int, *places: int) -> Tensor:
    valid = torch.rand(batch, *places) < 0.6
    valid.flatten(1)[:, 0] = True
    return valid


# Oracle ---------------------------------------------------------------------------------------


SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))


@given(shape=SHAPES, padded=st.booleans())
def test_it_is_the_mean_and_the_maximum(*, shape: tuple[int, int, int, int], padded: bool) -> None:
    batch, dim, freq, frames = shape
    x = torch.randn(batch, dim, freq, frames, dtype=torch.float64)
    valid = some_valid(batch, freq, frames) if padded else None
    pooled = average_max_pool(x, valid)
    assert pooled.shape == (batch, 2 * dim)
    for row in range(batch):
        for channel in range(dim):
            here = [
                (f, t)
                for f in range(freq)
                for t in range(frames)
                if valid is None or valid[row, f, t]
            ]
            values = [float(x[row, channel, f, t]) for f, t in here]
            assert float(pooled[row, channel]) == pytest.approx(sum(values) / len(values))
            assert float(pooled[row, dim + channel]) == max(values)
    assert torch.equal(AverageMaxPool()(x, valid), pooled)
    assert torch.equal(torch.cat([mean_pool(x, valid), max_pool(x, valid)], dim=1), pooled)


def test_attention_is_a_softmax_over_the_real_places() -> None:
    pool = attention(3)
    x = torch.randn(4, 3, 7, dtype=torch.float64)
    valid = some_valid(4, 7)
    for row in range(4):
        h = x[row].T[valid[row]]
        weights = (torch.tanh(h @ pool.inward.weight.T) @ pool.score.weight[0]).exp()
        expected = (weights[:, None] * h).sum(0) / weights.sum()
        torch.testing.assert_close(pool(x, valid)[row], expected)


# Known values ---------------------------------------------------------------------------------


def test_a_constant_grid_is_twice_its_value() -> None:
    assert average_max_pool(torch.full((2, 3, 4, 5), 1.5)).tolist() == [[1.5] * 6] * 2


@every
def test_nothing_real_gives_zeros_and_no_gradient(pool: Pool) -> None:
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[True] * 4, [False] * 4])
    pooled = pool(x, valid)
    assert (pooled[1] == 0).all()
    (grad,) = torch.autograd.grad(pooled.sum(), x)
    assert (grad[1] == 0).all()
    assert torch.isfinite(grad).all()


def test_half_precision_sums_exactly() -> None:
    """512 and six ones have the mean 74; their sum, 518, would round to 520 in bfloat16."""
    x = torch.tensor([[[512.0, 1, 1, 1, 1, 1, 1, 9]]], dtype=torch.bfloat16)
    valid = torch.arange(8).expand(1, -1) < 7
    assert mean_pool(x, valid).tolist() == mean_pool(x[..., :7], channel_dim=1).tolist() == [[74.0]]
    assert mean_pool(x, valid).dtype == torch.bfloat16


def test_weights_of_attention_are_computed_in_float32() -> None:
    """1 / 255 would round up in bfloat16, and the mean of ones be 1.004."""
    pool, ones = AttentionPool(1, hidden_dim=2, channel_dim=1), torch.ones(1, 1, 255)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert pool(ones).item() == pytest.approx(1.0, abs=1e-5)
    low = AttentionPool(3, hidden_dim=2, channel_dim=1).bfloat16()
    torch.nn.init.normal_(low.score.weight)
    high = copy.deepcopy(low).float()
    x, valid = torch.randn(4, 3, 255).bfloat16(), some_valid(4, 255)
    assert low(x, valid).dtype == torch.bfloat16
    torch.testing.assert_close(low(x, valid).float(), high(x.float(), valid), atol=3e-3, rtol=1e-2)


# Laws -----------------------------------------------------------------------------------------


@every
def test_padding_is_not_read(pool: Pool) -> None:
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    valid = torch.arange(6).expand(2, 6) < torch.tensor([[4], [6]])
    expected = pool(x[:1, :, :4], valid[:1, :4])
    x[0, :, 4:] = torch.nan
    leaf = x.requires_grad_()
    pooled = pool(leaf, valid)
    torch.testing.assert_close(pooled[:1], expected)
    (grad,) = torch.autograd.grad(pooled.square().sum(), leaf)
    assert (grad[0, :, 4:] == 0).all()
    assert torch.isfinite(grad).all()


@every
def test_gradients(pool: Pool) -> None:
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pool, (x,))
    assert torch.autograd.gradcheck(pool, (x, some_valid(2, 2, 4)))


@every
def test_order_on_the_grid_does_not_matter(pool: Pool) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(pool(x), pool(x.flip(2).roll(2, 3)))


@pytest.mark.parametrize("pool", [mean_pool, max_pool, average_max_pool])
def test_channels_may_be_last(pool: Pool) -> None:
    x, valid = torch.randn(2, 3, 4, 5), some_valid(2, 4, 5)
    assert torch.equal(pool(x.movedim(1, -1), valid, channel_dim=-1), pool(x, valid))


def test_channels_may_be_last_in_attention() -> None:
    first, last = (AttentionPool(3, hidden_dim=2, channel_dim=dim) for dim in (1, 2))
    last.load_state_dict(first.state_dict())
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(last(x.mT), first(x))


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"average_max_pool: axes of latents must be >= 3; got 2"):
        average_max_pool(torch.randn(2, 3))
    with pytest.raises(ValueError, match=r"latents must be floating point; got torch.int64"):
        average_max_pool(torch.ones(1, 1, 1, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"average_max_pool: elements must be >= 1; got 0"):
        average_max_pool(torch.randn(2, 3, 0, 4))
    x = torch.randn(2, 3, 4)
    with pytest.raises(
        ValueError, match=r"mean_pool: valid must have shape \(2, 4\); got \(2, 3\)"
    ):
        mean_pool(x, torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"max_pool: valid must be boolean; got torch.float32"):
        max_pool(x, torch.ones(2, 4))
    for axis in (0, -3, 3, -4):
        with pytest.raises(
            ValueError, match=rf"channel_dim must name an axis of latents behind.*got {axis}"
        ):
            mean_pool(x, channel_dim=axis)
    with pytest.raises(ValueError, match=r"AttentionPool: hidden_dim must be >= 1; got 0"):
        AttentionPool(3, hidden_dim=0)
    with pytest.raises(ValueError, match=r"AttentionPool: features must be 5; got 3"):
        AttentionPool(5, hidden_dim=2, channel_dim=1)(x)


@pytest.mark.parametrize(
    "pool",
    [mean_pool, max_pool, average_max_pool, AverageMaxPool(), AttentionPool(5, hidden_dim=2)],
)
def test_three_axes_must_say_where_the_features_are(pool: Pool) -> None:
    """`(batch, dim, tokens)` and `(batch, tokens, dim)` look alike; a fitting valid tells."""
    said = r"channel_dim must be given for latents of three axes, 1 or -1 \(.*; got None for shape"
    with pytest.raises(ValueError, match=said):
        pool(torch.randn(2, 5, 7))
    with pytest.raises(ValueError, match=said):
        pool(torch.randn(2, 5, 5), torch.ones(2, 5, dtype=torch.bool))
    assert pool(torch.randn(2, 5, 7), torch.ones(2, 7, dtype=torch.bool)).shape[0] == 2
    assert pool(torch.randn(2, 5, 7, 3)).shape[1] in {5, 10}
