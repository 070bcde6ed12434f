"""Crops: numpy's interpolation of the same part, and overlaps that are overlaps."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.augment import crop_resize, multi_crop, overlapping_crops


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# oracle


@given(
    length=st.integers(2, 60), low=st.floats(0.05, 1.0), seed=st.integers(0, 99)
)  # fmt: skip
def test_oracle_crop_resize(length: int, low: float, seed: int) -> None:
    bounds = (low, 0.5 * (low + 1))
    series = torch.randn(3, 2, length, generator=seeded(seed), dtype=torch.float64)
    draws = torch.rand(2, 3, 1, generator=seeded(seed + 1), dtype=torch.float64)
    view = crop_resize(series, ratio_range=bounds, generator=seeded(seed + 1))
    for b in range(3):
        ratio = bounds[0] + (bounds[1] - bounds[0]) * draws[0, b].item()
        size = min(max(2, round(length * ratio)), length)
        start = int(draws[1, b].item() * (length - size + 1))
        for c in range(2):
            part = series[b, c, start : start + size].numpy()
            expected = np.interp(np.linspace(0, size - 1, length), np.arange(size), part)
            np.testing.assert_allclose(view[b, c].numpy(), expected, atol=1e-9)


def test_oracle_multi_crop() -> None:
    length, small = 40, 11
    series = torch.randn(3, 2, length, generator=seeded(0), dtype=torch.float64)
    crops = multi_crop(
        series, local_length=small, global_views=3, local_views=4,
        global_range=(0.5, 0.9), local_range=(0.1, 0.5), generator=seeded(1),
    )  # fmt: skip
    generator = seeded(1)
    for views, bounds, size in [
        (crops.global_views, (0.5, 0.9), length), (crops.local_views, (0.1, 0.5), small)
    ]:  # fmt: skip
        count = len(views)
        draws = torch.rand(2, 3, count, 1, generator=generator, dtype=torch.float64)
        for v in range(count):
            for b in range(3):
                ratio = bounds[0] + (bounds[1] - bounds[0]) * draws[0, b, v].item()
                wide = max(2, round(length * ratio))
                start = int(draws[1, b, v].item() * (length - wide + 1))
                part = series[b, 1, start : start + wide].numpy()
                expected = np.interp(np.linspace(0, wide - 1, size), np.arange(wide), part)
                np.testing.assert_allclose(views[v, b, 1].numpy(), expected, atol=1e-9)


@given(length=st.integers(1, 40), least=st.integers(1, 5), seed=st.integers(0, 500))
def test_oracle_overlapping_crops(length: int, least: int, seed: int) -> None:
    """Figure 4 of TS2Vec, `a1 <= a2 < b1 <= b2`, from the same draws."""
    least = min(least, length)
    places = torch.arange(float(length), dtype=torch.float64).expand(6, 2, -1)
    crops = overlapping_crops(places, least_overlap=least, generator=seeded(seed))
    generator = seeded(seed)
    draws = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    place_draws = torch.rand(6, generator=generator, dtype=torch.float64).tolist()

    def one_of(low: int, high: int, draw: float) -> int:
        return low + int(draw * (high - low + 1))

    overlap = one_of(least, length, draws[0])
    a2 = one_of(0, length - overlap, draws[1])
    a1 = one_of(0, a2, draws[2])
    b1 = a2 + overlap
    b2 = one_of(b1, length, draws[3])
    for b in range(6):
        offset = one_of(-a1, length - b2, place_draws[b])
        assert crops.first[b, 1].tolist() == list(range(a1 + offset, b1 + offset))
        assert crops.second[b, 1].tolist() == list(range(a2 + offset, b2 + offset))
        assert crops.starts[b] == a2 + offset
    assert crops.first_overlap == slice(a2 - a1, b1 - a1)
    assert crops.second_overlap == slice(0, overlap)
    assert crops.first_valid.shape == (6, b1 - a1)
    assert crops.second_valid.shape == (6, b2 - a2)
    assert crops.first_valid.all()
    assert crops.second_valid.all()


# known values


def test_the_whole_as_the_part_is_the_series() -> None:
    series = torch.randn(3, 2, 17, generator=seeded(0))
    torch.testing.assert_close(crop_resize(series, ratio_range=(1.0, 1.0)), series)


def test_crop_sizes_and_places_are_uniform() -> None:
    ramp = torch.arange(101.0, dtype=torch.float64).expand(8000, 1, -1)
    view = crop_resize(ramp, ratio_range=(0.2, 0.6), generator=seeded(0))[:, 0]
    sizes = view[:, -1] - view[:, 0] + 1
    assert (sizes.min().item(), sizes.max().item()) == (20.0, 61.0)
    assert sizes.mean().item() == pytest.approx(40.4, abs=0.6)
    assert sizes.var().item() == pytest.approx((0.4 * 101) ** 2 / 12, rel=0.05)
    share = view[:, 0] / (101 - sizes)
    assert share.mean().item() == pytest.approx(0.5, abs=0.015)
    assert share.var().item() == pytest.approx(1 / 12, rel=0.06)


def test_overlap_sizes_are_uniform() -> None:
    series = torch.zeros(2, 1, 12)
    generator = seeded(0)
    sizes = torch.tensor(
        [
            overlapping_crops(series, least_overlap=3, generator=generator).second_overlap.stop
            for _ in range(4000)
        ]
    )
    shares = torch.bincount(sizes, minlength=13) / 4000
    assert shares[:3].sum() == 0
    assert (shares[3:] - 0.1).abs().max().item() < 0.02


# laws


def test_every_way_to_overlap_occurs() -> None:
    """Without the draws: each end of either crop, and each end of the series, is reached."""
    places = torch.arange(5.0).expand(4, 1, -1)
    generator = seeded(0)
    seen = set()
    for _ in range(2500):
        crops = overlapping_crops(places, least_overlap=1, generator=generator)
        ends = torch.stack([crops.first[:, 0, 0], crops.second[:, 0, -1]], 1).long()
        around = crops.first_overlap.start, crops.second.shape[-1] - crops.second_overlap.stop
        seen |= {(crops.second_overlap.stop, *around, *row) for row in ends.tolist()}
    assert seen == {
        (overlap, before, behind, start, start + before + overlap + behind - 1)
        for overlap in range(1, 6)
        for before in range(6 - overlap)
        for behind in range(6 - overlap - before)
        for start in range(6 - overlap - before - behind)
    }


@given(seed=st.integers(0, 300), least=st.integers(1, 4))
def test_the_overlap_holds_a_real_sample_wherever_one_can(seed: int, least: int) -> None:
    length = 12
    valid = torch.rand(40, length, generator=seeded(seed)) < 0.15
    valid[:8] = torch.arange(length) < torch.arange(8)[:, None]  # padding behind
    places = torch.arange(float(length)).expand(40, 1, -1)
    crops = overlapping_crops(places, least_overlap=least, valid=valid, generator=seeded(seed))
    before, overlap = crops.first_overlap.start, crops.second_overlap.stop
    behind = crops.second.shape[-1] - overlap
    held = crops.first_valid[:, crops.first_overlap].any(1)
    for row in range(40):
        starts = range(before, length - overlap - behind + 1)
        possible = [s for s in starts if valid[row, s : s + overlap].any()]
        assert held[row] == bool(possible)
        assert crops.starts[row] in (possible or starts)


def test_all_real_is_the_same_as_no_mask() -> None:
    series = torch.randn(6, 2, 15, generator=seeded(0))
    one = overlapping_crops(series, generator=seeded(1))
    two = overlapping_crops(series, valid=torch.ones(6, 15, dtype=torch.bool), generator=seeded(1))
    for a, b in zip(one, two, strict=True):
        same = torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
        assert same


def test_a_place_is_as_likely_as_any_other_with_a_real_sample() -> None:
    """Where both crops are one sample long, it is any of the real ones."""
    places = torch.arange(4.0).expand(3000, 1, -1)
    valid = torch.tensor([True, False, True, True]).expand(3000, -1)
    for seed in range(200):
        crops = overlapping_crops(places, least_overlap=1, valid=valid, generator=seeded(seed))
        if crops.first.shape[-1] == crops.second.shape[-1] == 1:
            break
    counts = torch.bincount(crops.starts, minlength=4)
    assert counts[1] == 0
    assert (counts[[0, 2, 3]] - 1000).abs().max() < 5 * (3000 * 2 / 9) ** 0.5


def test_padding_is_cut_along_or_left_out() -> None:
    series = torch.randn(4, 2, 20, generator=seeded(0))
    valid = torch.arange(20) < torch.tensor([[20], [9], [1], [13]])
    series = series.masked_fill(~valid[:, None], torch.nan)
    crops = overlapping_crops(series, valid=valid, generator=seeded(3))
    for part, real in [(crops.first, crops.first_valid), (crops.second, crops.second_valid)]:
        assert torch.equal(part.isfinite()[:, 0], real)
    views = multi_crop(series, local_length=7, valid=valid, generator=seeded(3))
    assert views.global_views.isfinite().all()
    assert views.local_views.isfinite().all()
    short = multi_crop(series[1:2, :, :9], local_length=7, generator=seeded(3))
    padded = multi_crop(series[1:2], local_length=7, valid=valid[1:2], generator=seeded(3))
    torch.testing.assert_close(short.local_views, padded.local_views)


def test_the_generator_alone_decides() -> None:
    series = torch.randn(4, 2, 20, generator=seeded(0))
    state = torch.get_rng_state()
    first = overlapping_crops(series, generator=seeded(1))
    assert torch.equal(first.first, overlapping_crops(series, generator=seeded(1)).first)
    crops = multi_crop(series, local_length=5, generator=seeded(1))
    again = multi_crop(series, local_length=5, generator=seeded(1))
    assert torch.equal(crops.local_views, again.local_views)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(crops.global_views[0], crops.global_views[1])


def test_no_local_view() -> None:
    crops = multi_crop(torch.zeros(2, 1, 9), local_length=4, local_views=0)
    assert crops.local_views.shape == (0, 2, 1, 4)


# complaints


def test_complaints() -> None:
    series = torch.zeros(2, 1, 8)
    with pytest.raises(ValueError, match=r"crop_resize: ratio_range must satisfy 0 < low <= high;"):
        crop_resize(series, ratio_range=(0.0, 0.5))
    for wrong in (0.5, (0.5,), None):
        with pytest.raises(
            ValueError, match=rf"crop_resize: ratio_range must satisfy.*got {re.escape(str(wrong))}"
        ):
            crop_resize(series, ratio_range=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"crop_resize: ratio_range must not exceed 1; got"):
        crop_resize(series, ratio_range=(0.5, 1.5))
    with pytest.raises(ValueError, match=r"multi_crop: local_length must be >= 2; got 1"):
        multi_crop(series, local_length=1)
    with pytest.raises(ValueError, match=r"multi_crop: global_views must be >= 1; got 0"):
        multi_crop(series, local_length=4, global_views=0)
    with pytest.raises(ValueError, match=r"multi_crop: local_views must be >= 0; got -1"):
        multi_crop(series, local_length=4, local_views=-1)
    with pytest.raises(ValueError, match=r"multi_crop: global_range must not exceed 1; got"):
        multi_crop(series, local_length=4, global_range=(0.5, 1.5))
    with pytest.raises(ValueError, match=r"multi_crop: local_range must satisfy 0 < low <= high;"):
        multi_crop(series, local_length=4, local_range=(0.5, 0.1))
    with pytest.raises(ValueError, match=r"multi_crop: length must be >= 2; got 1"):
        multi_crop(series[..., :1], local_length=4)
    with pytest.raises(ValueError, match=r"overlapping_crops: least_overlap must be >= 1; got 0"):
        overlapping_crops(series, least_overlap=0)
    with pytest.raises(ValueError, match=r"overlapping_crops: length must be >= 9; got 8"):
        overlapping_crops(series, least_overlap=9)
