"""Segments that change places: the published loop with the same draws."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssltok.augment import slice_and_shuffle
from ssltok.augment._resample import reorder_segments


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# oracle


@given(length=st.integers(1, 40), segments=st.integers(1, 7), seed=st.integers(0, 500))
def test_oracle_slice_and_shuffle(length: int, segments: int, seed: int) -> None:
    batch = 3
    series = torch.randn(batch, 2, length, generator=seeded(seed), dtype=torch.float64)
    view = slice_and_shuffle(series, segments=segments, generator=seeded(seed + 1))
    generator = seeded(seed + 1)
    places = torch.rand(batch, segments - 1, generator=generator, dtype=torch.float64)
    keys = torch.rand(batch, segments, generator=generator, dtype=torch.float64)
    for b in range(batch):
        cuts = sorted(int(p * length) for p in places[b].tolist())
        order = np.argsort(keys[b].numpy())
        for c in range(2):
            pieces = np.split(series[b, c].numpy(), cuts)
            expected = np.concatenate([pieces[k] for k in order])
            np.testing.assert_array_equal(view[b, c].numpy(), expected)


# known values


def test_reorder_by_hand_with_an_empty_segment_and_a_tail() -> None:
    series = torch.arange(7.0)[None, None]
    bounds = torch.tensor([[0, 2, 2, 5]])  # [0 1] [] [2 3 4], and 5 6 behind
    view = reorder_segments(series, bounds, torch.tensor([[2, 1, 0]]))
    assert view.flatten().tolist() == [2.0, 3.0, 4.0, 0.0, 1.0, 5.0, 6.0]


def test_one_segment_is_the_series() -> None:
    series = torch.randn(3, 2, 7, generator=seeded(0))
    assert torch.equal(slice_and_shuffle(series, segments=1), series)


# laws


def test_no_sample_is_lost_and_channels_stay_together() -> None:
    series = torch.arange(30.0).expand(500, 2, -1)
    view = slice_and_shuffle(series, generator=seeded(1))
    assert torch.equal(view.sort(-1).values, series)
    assert torch.equal(view[:, 0], view[:, 1])


def test_cuts_and_orders_are_uniform() -> None:
    """With two segments: P(swapped) is 1/2, and the cut is uniform on 0 ... length - 1."""
    count, length = 8000, 10
    series = torch.arange(float(length)).expand(count, 1, -1)
    first = slice_and_shuffle(series, segments=2, generator=seeded(1))[:, 0, 0]
    # a swapped series begins with its cut; cut 0 and the unswapped begin with 0
    counts = torch.bincount(first.long(), minlength=length) / count
    expected = torch.full((length,), 0.5 / length)
    expected[0] = 0.5 + 0.5 / length
    assert (counts - expected).abs().max().item() < 4 * (0.25 / count) ** 0.5


# complaints


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"slice_and_shuffle: segments must be >= 1; got 0"):
        slice_and_shuffle(torch.zeros(2, 1, 8), segments=0)
