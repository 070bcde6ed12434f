"""The door: every shape of data becomes one form, or says clearly why not."""

from typing import Any

import numpy as np
import pytest
import torch

from ssltok.data import label_index, read_series


def test_every_container_gives_the_same_set() -> None:
    array = np.random.default_rng(0).standard_normal((3, 2, 9))
    expected = read_series(array)
    others: list[Any] = [torch.from_numpy(array), list(array), [*map(torch.from_numpy, array)]]
    for other in others:  # each holds the same numbers
        got = read_series(other)
        assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))
    assert expected.values.dtype == torch.float32
    assert torch.equal(expected.values, torch.from_numpy(array).float())
    assert bool(expected.valid.all())
    assert expected.lengths.tolist() == [9, 9, 9]
    assert read_series(array[:, 0]).values.shape == (3, 1, 9)


def test_gaps_and_tails() -> None:
    nan = np.nan
    short = np.array([nan, 1.0, nan, nan, 4.0, 5.0, 6.0, 7.0, nan])
    got = read_series([np.arange(10.0), short])
    assert got.lengths.tolist() == [10, 8]
    # A straight line inside, the nearest value beyond the ends.
    assert got.values[1, 0].tolist() == [1, 1, 2, 3, 4, 5, 6, 7, 7, 7]
    assert got.valid[1, 0].tolist() == [False, True, False, False, *[True] * 4, False, False]


def test_a_silent_channel_stays_nan_and_invalid() -> None:
    x = np.ones((2, 2, 8))
    x[1, 1] = np.nan
    got = read_series(x)
    assert got.lengths.tolist() == [8, 8]
    assert bool(got.values[1, 1].isnan().all())
    assert not bool(got.valid[1, 1].any())


def test_a_fixed_length_pads() -> None:
    got = read_series(np.ones((1, 1, 8)), length=11)
    assert got.values.shape == (1, 1, 11)
    assert got.lengths.tolist() == [8]
    assert got.valid[0, 0].tolist() == [True] * 8 + [False] * 3


def test_the_digest_sees_every_value_and_gap() -> None:
    x = np.random.default_rng(0).standard_normal((2, 1, 9))
    y, z = x.copy(), x.copy()
    y[1, 0, 3] += 1e-3
    z[0, 0, 2] = np.nan
    digests = {read_series(part).digest() for part in (x, y, z)}
    assert len(digests) == 3
    assert read_series(x).digest() in digests


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ([], r"X must hold at least one series; got none"),
        (np.zeros((0, 1, 9)), r"X must hold at least one series; got none"),
        (
            np.zeros(9),
            r"X must be \(cases, channels, length\) or \(cases, length\); got shape \(9,\)",
        ),
        (np.zeros((2, 1, 7)), r"series must have at least 8 samples; got 7 at most"),
        (np.full((1, 1, 9), np.nan), r"every series must hold values; got only NaN in series 0"),
        (np.array([[1.0] * 8, [np.inf] * 8]), r"values must be finite; got infinity in series 1"),
        (
            np.full((1, 8), 1e30),
            r"at most 1e\+18 in size; got 1e\+30, finite but too large",
        ),
        ([np.zeros((2, 9)), np.zeros((1, 9))], r"must have 2 channel\(s\); got 1 in series 1"),
        ([np.zeros((1, 2, 9))], r"each series must be \(channels, length\) or \(length,\)"),
        ([[]], r"each series must be .* and not empty; got shape \(1, 0\) for series 0"),
    ],
)
def test_refuses(x: Any, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^me: .*{said}"):
        read_series(x, who="me")


def test_refuses_what_the_model_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"must have 2 channel\(s\); got 1 in series 0"):
        read_series(np.zeros((1, 1, 9)), channels=2)
    with pytest.raises(ValueError, match=r"at most 9 samples, as in training; got 10"):
        read_series(np.zeros((1, 1, 10)), length=9)


@pytest.mark.parametrize("x", ["text", 3, {"a": 1}, [["a", "b"]], [object()]])
def test_refuses_what_is_no_series(x: Any) -> None:
    with pytest.raises(TypeError, match=r"^read_series: .*; got "):
        read_series(x)


def test_labels_of_any_kind() -> None:
    assert label_index(None, 2)[0].tolist() == [-1, -1]
    numbers, classes = label_index(np.array([7, 3, 7]), 3)
    assert (numbers.tolist(), classes) == ([1, 0, 1], [3, 7])
    assert label_index([("a", 1), "b", ("a", 1)], 3)[1] == [("a", 1), "b"]
    assert label_index(["b", "a"], 2, classes=["c", "b", "a"])[0].tolist() == [1, 2]
    numbers, classes = label_index(torch.tensor([5, 5]), 2)
    assert (numbers.tolist(), classes) == ([0, 0], [5])


def test_labels_refused() -> None:
    with pytest.raises(ValueError, match=r"one label for each series; got 2 for 3"):
        label_index(["a", "b"], 3)
    with pytest.raises(ValueError, match=r"known labels \['a'\]; got 'b'"):
        label_index(["b"], 1, classes=["a"])
    with pytest.raises(ValueError, match=r"y must be one-dimensional; got shape \(1, 2\)"):
        label_index(np.zeros((1, 2)), 2)
    with pytest.raises(TypeError, match=r"labels must be hashable; got \['a'\]"):
        label_index([["a"]], 1)  # type: ignore[list-item]
