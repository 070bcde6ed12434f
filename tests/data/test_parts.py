"""`train_and_test` and `windowed`: which samples of a long series stand on which side."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssltok.data import Dataset, train_and_test, windowed


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counting(length: int, *, cases: int = 1, channels: int = 2) -> NDArray[np.float64]:
    """Each value says its series (thousands), its channel (fractions) and its sample."""
    case, channel = np.arange(cases)[:, None, None], np.arange(channels)[:, None]
    return 1e4 * case + np.arange(length) + 0.1 * channel


def long(series: Any, **fields: Any) -> Dataset:
    return Dataset("long", series, None, None, None)._replace(**fields)


def samples(windows: NDArray[Any]) -> set[float]:
    return {float(value) for value in windows[:, 0].ravel()}


@given(st.integers(60, 300), st.integers(1, 20), st.integers(1, 30), st.integers(0, 25))
def test_one_long_series_is_parted_in_time(length: int, size: int, stride: int, gap: int) -> None:
    series = counting(length)
    try:
        parts = train_and_test(long(series), draw(), window=size, stride=stride, gap=gap)
    except ValueError as error:
        assert "both parts must hold windows" in str(error)  # noqa: PT017
        return
    starts = list(range(0, length - size + 1, stride))
    cut = round((starts[-1] + size) * 0.8)
    train = [s for s in starts if s + size <= cut - gap]
    test = [s for s in starts if s >= cut]
    for part, expected in ((parts.train, train), (parts.test, test)):
        assert part.shape == (len(expected), 2, size)
        for window, start in zip(part, expected, strict=True):
            np.testing.assert_array_equal(window, series[0, :, start : start + size])
        assert np.shares_memory(part, series)
    assert min(samples(parts.test)) - max(samples(parts.train)) > gap
    assert parts.train_labels is parts.test_labels is None
    assert parts.about == (
        f"windows of {size} every {stride}, parted in time: {len(train)} to train on, {len(test)} "
        f"to test on, {len(starts) - len(train) - len(test)} left out; at least {gap} samples "
        "between the two, so no sample is in both"
    )


def test_a_quarter_of_a_window_is_the_stride_and_a_window_the_gap() -> None:
    times = pd.date_range("2024-01-01", periods=500, freq="h").to_numpy()
    parts = train_and_test(long(counting(500), times=times), draw(), window=48)
    assert parts.about.startswith("hourly, windows of 48 every 12, parted in time: ")
    assert min(samples(parts.test)) - max(samples(parts.train)) > 48


def test_several_series_are_each_parted_in_time() -> None:
    data = long([counting(200)[0], 1e4 + counting(120)[0]], train_labels=["a", "b"])
    parts = train_and_test(data, draw(), window=10, stride=5, gap=3)
    assert "parted in time, each series: " in parts.about
    for offset, label in ((0.0, "a"), (1e4, "b")):
        sides = [
            [x for x in samples(side) if offset <= x < offset + 1e3]
            for side in (parts.train, parts.test)
        ]
        assert min(sides[1]) - max(sides[0]) > 3
        for part, labels in ((parts.train, parts.train_labels), (parts.test, parts.test_labels)):
            for window, given_label in zip(part, labels, strict=True):
                inside = offset <= window[0, 0] < offset + 1e3
                assert inside == (given_label == label)


def test_groups_stay_whole_with_and_without_windows() -> None:
    groups = list("aabbccdd")
    data = long(counting(60, cases=8), groups=groups)
    for window in (None, 10):
        parts = train_and_test(data, draw(), window=window)
        sides = [
            {groups[int(x // 1e4)] for x in samples(part)} for part in (parts.train, parts.test)
        ]
        assert sides[0] | sides[1] == set("abcd")
        assert not sides[0] & sides[1]
        assert "by group" in parts.about
        assert "no group" in parts.about


def test_without_a_window_each_class_is_in_proportion() -> None:
    labels = ["a"] * 20 + ["b"] * 5
    parts = train_and_test(long(counting(9, cases=25), train_labels=labels), draw())
    assert (parts.test_labels.count("a"), parts.test_labels.count("b")) == (4, 1)
    for part, told in ((parts.train, parts.train_labels), (parts.test, parts.test_labels)):
        assert [labels[int(case[0, 0] // 1e4)] for case in part] == told
    assert parts.about.startswith("at random, each class in proportion: 20 cases")


def test_a_test_part_of_its_own_is_windowed_too() -> None:
    data = long(counting(60), test=7e4 + counting(40), train_labels=["a"], test_labels=["b"])
    parts = train_and_test(data, draw(), window=10, stride=10)
    assert (len(parts.train), len(parts.test)) == (6, 4)
    assert (parts.train_labels, parts.test_labels) == (["a"] * 6, ["b"] * 4)
    assert parts.about == (
        "6 windows of 10 every 10, for testing 4 windows of 10 every 10; "
        "the test part is the data's own"
    )
    assert train_and_test(data, draw())[:4] == (data.train, ["a"], data.test, ["b"])


def test_windows_that_end_in_a_gap_are_left_out_and_counted() -> None:
    series = counting(100)
    series[0, :, 30:45] = np.nan  # all channels
    series[0, 0, 60:80] = np.nan  # one of them
    cut = windowed(long(series), size=8, stride=1)
    starts = [s for s in range(93) if not 30 <= s + 7 < 45]
    np.testing.assert_array_equal(cut.train, np.stack([series[0, :, s : s + 8] for s in starts]))
    assert cut.about == f"{len(starts)} windows of 8 every 1 (15 that end in a gap left out)"
    parts = train_and_test(long(series), draw(), window=8, stride=1)
    assert parts.about.endswith("; 15 that end in a gap left out before")
    assert not np.isnan(np.concatenate([parts.train, parts.test])[..., -1]).all(axis=1).any()


def test_windowed_keeps_everything_else() -> None:
    times = pd.date_range("2024-01-01", periods=100, freq="D")
    data = long(counting(100), times=times, channels=("x", "y"), about="100 times x 2 channels")
    cut = windowed(data, size=20)
    assert cut.about == "100 times x 2 channels, daily, 17 windows of 20 every 5"
    assert (cut.name, cut.channels, cut.times, cut.test) == ("long", ("x", "y"), None, None)
    assert np.shares_memory(cut.train, data.train)


def test_complaints() -> None:
    one = long(counting(60))
    with pytest.raises(
        ValueError,
        match=r"^run: data without a test part must hold at least 5 ser"
        r"ies, or long ones and a window to cut them into; got 1 series and no w",
    ):
        train_and_test(one, draw())
    for window, stride in ((61, 1), (0, 1), (10, 0), (10, -2)):
        with pytest.raises(ValueError, match=r"^me: a window must lie in \[1, 60\], .* stride"):
            train_and_test(one, draw(), window=window, stride=stride, who="me")
        with pytest.raises(ValueError, match=r"^me: a window must lie in \[1, 60\], .* stride"):
            windowed(one, size=window, stride=stride, who="me")
    with pytest.raises(ValueError, match=r"^split_time: both parts must hold windows; got 1 to tr"):
        train_and_test(one, draw(), window=24)
    with pytest.raises(ValueError, match=r"^run: groups must name the group of each series; got 2"):
        train_and_test(one._replace(groups=["a", "b"]), draw(), window=8)
    irregular = pd.DatetimeIndex(pd.date_range("2024-01-01", periods=61, freq="h").delete(7))
    for call in (
        lambda: train_and_test(one._replace(times=irregular), draw(), window=8),
        lambda: windowed(one._replace(times=irregular), size=8, who="run"),
    ):
        with pytest.raises(ValueError, match=r"^run: times must be regular, or resampled"):
            call()
    with pytest.raises(ValueError, match=r"some window must end with a value; got 7 without one$"):
        windowed(long(np.full((1, 1, 14), np.nan)), size=8, stride=1)
