"""Segments that change places: the published loop with the same draws."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssltok.augment import flip, permutation, slice_and_shuffle
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


@given(length=st.integers(7, 40), most=st.integers(1, 7), seed=st.integers(0, 500))
def test_oracle_permutation(length: int, most: int, seed: int) -> None:
    batch = 4
    series = torch.randn(batch, 2, length, generator=seeded(seed), dtype=torch.float64)
    view = permutation(series, max_segments=most, generator=seeded(seed + 1))
    generator = seeded(seed + 1)
    shares = torch.rand(batch, 1, generator=generator, dtype=torch.float64)
    keys = torch.rand(batch, most, generator=generator, dtype=torch.float64)
    for b in range(batch):
        parts = 1 + int(shares[b].item() * most)
        order = np.argsort(keys[b, :parts].numpy())
        for c in range(2):
            pieces = np.array_split(series[b, c].numpy(), parts)
            expected = np.concatenate([pieces[k] for k in order])
            np.testing.assert_array_equal(view[b, c].numpy(), expected)


# known values


def test_permutation_draws_every_number_of_parts() -> None:
    series = torch.arange(60.0).expand(6000, 1, -1)
    view = permutation(series, max_segments=3, generator=seeded(0))[:, 0]
    jumps = (view.diff() != 1).sum(-1)
    # one part: none; two: one in half of the cases; three: 0, 1, 2 in 1/6, 2/6, 3/6 of them
    shares = torch.bincount(jumps, minlength=3) / 6000
    expected = torch.tensor([1 + 1 / 2 + 1 / 6, 1 / 2 + 2 / 6, 3 / 6]) / 3
    assert (shares - expected).abs().max().item() < 0.025


def test_flip_by_hand_and_as_often_as_said() -> None:
    series = torch.arange(5.0).expand(4000, 2, -1)
    view = flip(series, probability=0.3, generator=seeded(0))
    flipped = view[:, 0, 0] == 4
    assert torch.equal(view[flipped], series[flipped].flip(-1))
    assert torch.equal(view[~flipped], series[~flipped])
    assert flipped.float().mean().item() == pytest.approx(0.3, abs=4 * (0.21 / 4000) ** 0.5)
    assert torch.equal(flip(series, probability=0.0), series)
    assert torch.equal(flip(series, probability=1.0), series.flip(-1))


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
    message = r"permutation: length must be >= 5; got 4"
    with pytest.raises(ValueError, match=message):
        permutation(torch.zeros(2, 1, 4))
    with pytest.raises(ValueError, match=r"permutation: max_segments must be >= 1; got 0"):
        permutation(torch.zeros(2, 1, 8), max_segments=0)
    with pytest.raises(ValueError, match=r"flip: probability must lie in \[0, 1\]; got 1.1"):
        flip(torch.zeros(2, 1, 8), probability=1.1)
