"""`windows` and `stitch`: against loops over samples, there and back for every size and stride."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssltok.data import Windows, stitch, windows

SHAPES: list[tuple[int, ...]] = [(), (1,), (3,), (2, 3)]


def naive_starts(length: int, size: int, stride: int, *, partial: bool) -> list[int]:
    starts = []
    start = 0
    while start + size <= length:
        starts.append(start)
        start += stride
    if partial and starts[-1] + size != length:
        starts.append(length - size)
    return starts


def naive_stitch(
    values: NDArray[Any], starts: list[int], length: int, weights: list[float]
) -> NDArray[np.float64]:
    """Sample by sample: the weighted mean of what holds it."""
    series = np.full(length, np.nan)
    for t in range(length):
        above = below = 0.0
        for window, start in zip(values, starts, strict=True):
            if start <= t < start + len(weights):
                above += weights[t - start] * float(window[t - start])
                below += weights[t - start]
        if below:
            series[t] = above / below
    return series


def noise(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(3.0, 50.0, shape)


@given(st.integers(1, 40), st.data())
def test_windows_are_those_of_a_loop(length: int, data: st.DataObject) -> None:
    size, stride = data.draw(st.integers(1, length)), data.draw(st.integers(1, length + 2))
    partial, shape = data.draw(st.booleans()), data.draw(st.sampled_from(SHAPES))
    series = noise(*shape, length)
    cut = windows(series, size, stride, partial=partial)
    starts = naive_starts(length, size, stride, partial=partial)
    assert cut.starts.tolist() == starts
    assert cut.starts.dtype == np.int64
    assert cut.length == length
    assert cut.values.shape == (len(starts), *shape, size)
    for window, start in zip(cut.values, starts, strict=True):
        np.testing.assert_array_equal(window, series[..., start : start + size])
    tensors = windows(torch.from_numpy(series), size, stride, partial=partial)
    np.testing.assert_array_equal(tensors.values.numpy(), cut.values)
    np.testing.assert_array_equal(tensors.starts, cut.starts)


def test_stitch_undoes_windows_for_every_size_and_stride() -> None:
    """To the bit, in every type, wherever windows leave no sample out."""
    for length in range(1, 14):
        for size in range(1, length + 1):
            for stride in range(1, size + 1):
                series = noise(2, length, seed=length)
                for each in (
                    series,
                    series.astype(np.float32),
                    torch.from_numpy(series).bfloat16(),
                ):
                    back: Any = stitch(windows(each, size, stride))
                    assert type(back) is type(each)
                    assert back.dtype == each.dtype
                    assert torch.equal(torch.as_tensor(back), torch.as_tensor(each))


@given(st.integers(1, 30), st.data())
def test_stitch_is_the_weighted_mean(length: int, data: st.DataObject) -> None:
    size, stride = data.draw(st.integers(1, length)), data.draw(st.integers(1, length + 2))
    taper = data.draw(st.none() | st.lists(st.floats(0.01, 100), min_size=size, max_size=size))
    cut = windows(np.zeros(length), size, stride, partial=data.draw(st.booleans()))
    values = noise(*cut.values.shape, seed=7)
    back = stitch(cut._replace(values=values), taper=taper)
    # A Hann window without its zeros: the squared sine at j / (size + 1) of half a turn.
    hann = [np.sin(np.pi * (j + 1) / (size + 1)) ** 2 for j in range(size)]
    expected = naive_stitch(values, cut.starts.tolist(), length, taper or hann)
    np.testing.assert_allclose(back, expected, rtol=1e-9, atol=1e-9)
    tensor = stitch(cut._replace(values=torch.from_numpy(values)), taper=taper)
    np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_windows_in_any_order_and_twice() -> None:
    values, starts = noise(4, 3), [4, 0, 2, 0]
    back = stitch(Windows(values, np.array(starts), 9))
    hann = [float(w) for w in np.sin(np.pi * np.arange(1, 4) / 4) ** 2]
    np.testing.assert_allclose(back, naive_stitch(values, starts, 9, hann))
    assert np.isnan(back[7:]).all()


def test_there_is_no_step_where_a_window_ends() -> None:
    """Two levels meet: with equal weights a jump of half, with the taper less than a tenth."""
    cut = windows(np.zeros(96), 64, 32)
    levels = np.array([[0.0], [1.0]]) * np.ones((2, 64))
    plain = np.abs(np.diff(stitch(cut._replace(values=levels), taper=np.ones(64)))).max()
    assert plain == 0.5
    assert np.abs(np.diff(stitch(cut._replace(values=levels)))).max() < 0.1


def test_nothing_is_copied_where_windows_end_with_the_series(tmp_path: Any) -> None:
    series = noise(3, 20)
    assert np.shares_memory(windows(series, 8, 4).values, series)
    assert np.shares_memory(windows(series, 8, 5, partial=False).values, series)
    assert not np.shares_memory(windows(series, 8, 5).values, series)
    tensor = torch.from_numpy(series)
    assert windows(tensor, 8, 4).values.data_ptr() == tensor.data_ptr()
    np.save(tmp_path / "x.npy", series)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    cut = windows(mapped, 8, 5, partial=False)
    assert np.shares_memory(cut.values, mapped)
    with pytest.raises(ValueError, match="read-only"):
        windows(series, 8, 4).values[0, 0, 0] = 1.0


def test_the_series_and_the_windows_stay_as_they_are() -> None:
    series = noise(2, 11)
    before = series.copy()
    cut = windows(series, 4, 3)
    kept = cut.values.copy()
    stitch(cut)
    np.testing.assert_array_equal(series, before)
    np.testing.assert_array_equal(cut.values, kept)


def test_missing_values_stay_missing() -> None:
    series = noise(2, 30)
    series[0, 4:9] = series[1, 29] = np.nan
    np.testing.assert_array_equal(stitch(windows(series, 7, 3)), series)


def test_any_type_is_cut_and_the_index_is_handed_on() -> None:
    names = [f"t{t}" for t in range(9)]
    cut = windows(np.arange(9) % 2 == 0, 3, 2, index=names)
    assert cut.values.tolist() == [[t % 2 == 0 for t in range(s, s + 3)] for s in range(0, 7, 2)]
    assert cut.index is names


def test_stitching_passes_gradients() -> None:
    series = torch.from_numpy(noise(2, 9)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: stitch(windows(x, 4, 2)), series)


def test_complaints() -> None:
    x: Any = np.zeros((2, 9))
    with pytest.raises(TypeError, match=r"^windows: series must be an array or a tensor; got list"):
        windows([1.0, 2.0], 1, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^windows: series must be \(\.\.\., length\)"):
        windows(np.array(1.0), 1, 1)
    for size in (0, 10):
        with pytest.raises(ValueError, match=rf"size must lie in \[1, 9\].*; got {size}$"):
            windows(x, size, 1)
    with pytest.raises(ValueError, match=r"^windows: stride must be >= 1; got 0$"):
        windows(x, 3, 0)
    with pytest.raises(ValueError, match=r"index must name each of the 9 samples; got 8 names$"):
        windows(x, 3, 1, index=range(8))
    cut = windows(x, 3, 2)
    for bad, message in [
        (
            cut._replace(values=cut.values[1:]),
            r"must be \(4 windows, .*; got shape \(3, 2, 3\)$",
        ),
        (cut._replace(values=np.zeros((4, 3), dtype=int)), r"must be floating point; got int64$"),
        (cut._replace(length=8), r"of 3 must start in \[0, 5\]; got 0 to 6$"),
        (cut._replace(starts=cut.starts - 1), r"must start in \[0, 6\]; got -1 to 5$"),
    ]:
        with pytest.raises(ValueError, match=rf"^stitch: .*{message}"):
            stitch(bad)
    for taper in ([1.0, 1.0], [1.0, 0.0, 1.0], [1.0, np.inf, 1.0], [1.0, np.nan, 1.0]):
        with pytest.raises(ValueError, match=r"^stitch: taper must be positive and \(3,\); got"):
            stitch(cut, taper=taper)
