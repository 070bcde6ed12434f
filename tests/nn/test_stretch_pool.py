"""Means over stretches of time."""

import math

import pytest
import torch
from torch.nn import functional

from ssltok.nn import mean_pool, stretch_pool


def grid(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("frames", [1, 3, 7, 16])
@pytest.mark.parametrize("stretches", [1, 2, 3, 5])
def test_whole_rows_are_as_adaptive_average_pooling(frames: int, stretches: int) -> None:
    x = grid(2, 3, 4, frames)
    expected = functional.adaptive_avg_pool1d(x.mean(dim=2), stretches).mT.flatten(1)
    torch.testing.assert_close(stretch_pool(x, stretches=stretches), expected)


def test_each_stretch_is_the_mean_of_its_real_places() -> None:
    """The rule written out, with holes and ends that differ."""
    x, valid = grid(5, 2, 3, 9), grid(5, 3, 9, seed=1) > -0.5
    valid[1, :, 6:] = False
    valid[2, :, [0, 4]] = False
    pooled = stretch_pool(x, valid, stretches=4).unflatten(1, (4, 2))
    for row in range(5):
        frames = [t for t in range(9) if valid[row, :, t].any()]
        for s in range(4):
            first, end = math.floor(s * len(frames) / 4), math.ceil((s + 1) * len(frames) / 4)
            here = [
                x[row, :, f, t] for t in frames[first:end] for f in range(3) if valid[row, f, t]
            ]
            torch.testing.assert_close(pooled[row, s], torch.stack(here).mean(dim=0))


def test_one_stretch_is_the_mean() -> None:
    x, valid = grid(4, 3, 2, 6), grid(4, 2, 6, seed=2) > 0
    torch.testing.assert_close(stretch_pool(x, valid, stretches=1), mean_pool(x, valid))


def test_a_padded_row_is_the_row_alone_and_nothing_is_read_beyond() -> None:
    x = grid(1, 3, 11)
    padded = functional.pad(x, (2, 4), value=math.nan).requires_grad_()
    valid = ~padded[:, 0].isnan()
    pooled = stretch_pool(padded, valid, stretches=3)
    torch.testing.assert_close(pooled, stretch_pool(x, stretches=3))
    pooled.sum().backward()
    assert padded.grad is not None
    assert padded.grad.isfinite().all()


def test_gradients_and_an_empty_row() -> None:
    x, valid = grid(3, 2, 5).requires_grad_(), grid(3, 5, seed=3) > -1
    valid[1] = False
    assert torch.autograd.gradcheck(lambda z: stretch_pool(z, valid, stretches=2), x)
    assert not stretch_pool(x, valid, stretches=2)[1].any()
    assert stretch_pool(x.half(), valid, stretches=2).dtype == torch.float16


def test_it_compiles_in_one_graph() -> None:
    x, valid = grid(3, 2, 5), grid(3, 5, seed=3) > -1
    whole = torch.compile(stretch_pool, fullgraph=True, backend="eager")
    assert torch.equal(whole(x, valid, stretches=2), stretch_pool(x, valid, stretches=2))


def test_bad_input_is_refused() -> None:
    x = grid(2, 3, 4)
    with pytest.raises(ValueError, match=r"stretch_pool: axes of latents must be >= 3; got 2"):
        stretch_pool(x[0], stretches=2)
    with pytest.raises(ValueError, match=r"stretch_pool: stretches must be >= 1; got 0"):
        stretch_pool(x, stretches=0)
    with pytest.raises(TypeError, match=r"stretch_pool: stretches must be an integer; got 2.5"):
        stretch_pool(x, stretches=2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 4\); got \(2, 3\)"):
        stretch_pool(x, torch.ones(2, 3, dtype=torch.bool), stretches=2)
    with pytest.raises(ValueError, match=r"elements must be >= 1; got 0"):
        stretch_pool(x[:, :, :0], stretches=2)
