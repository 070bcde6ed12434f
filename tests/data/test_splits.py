"""Splits: no overlapping windows on both sides, whatever the windows; shares as asked for."""

from collections import Counter
from collections.abc import Hashable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit, TimeSeriesSplit

from ssltok.data import Split, split_blocks, split_groups, split_stratified, split_time


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distance(starts: list[int], size: int, split: Split) -> int:
    """Samples between the nearest two windows of the two sides, below 0 where they overlap."""
    train, test = [starts[k] for k in split.train], [starts[k] for k in split.test]
    apart: list[int] = [max(b - a - size, a - b - size) for a in train for b in test]
    return min(apart)


def disjoint(split: Split, cases: int) -> None:
    sides = [*split.train.tolist(), *split.test.tolist()]
    assert len(set(sides)) == len(sides)
    assert set(sides) <= set(range(cases))
    for side in (split.train, split.test):
        assert side.dtype == np.int64
        assert len(side)
        assert side.tolist() == sorted(side.tolist())


starts_of = st.lists(st.integers(-50, 400), min_size=1, max_size=60)
sizes = st.integers(1, 30)
gaps = st.integers(0, 40)
ratios = st.floats(0.05, 0.95)


@given(starts_of, sizes, gaps, ratios)
def test_time_is_cut_once(starts: list[int], size: int, gap: int, ratio: float) -> None:
    """Against a loop over windows: before the cut less the gap, after the cut, or out."""
    first, end = min(starts), max(starts) + size
    cut = first + round((end - first) * (1 - ratio))
    train = [k for k, s in enumerate(starts) if not any(t >= cut - gap for t in range(s, s + size))]
    test = [k for k, s in enumerate(starts) if all(t >= cut for t in range(s, s + size))]
    if not train or not test:
        with pytest.raises(ValueError, match="both parts must hold windows"):
            split_time(starts, size, test_ratio=ratio, gap=gap)
        return
    split = split_time(starts, size, test_ratio=ratio, gap=gap)
    assert (split.train.tolist(), split.test.tolist()) == (train, test)
    disjoint(split, len(starts))
    assert distance(starts, size, split) >= gap
    out = len(starts) - len(train) - len(test)
    said = f"at least {gap} samples between" if gap else "no sample on both sides"
    assert split.about == (
        f"in time: {len(train)} windows to train on, {len(test)} to test on, {out} left out; {said}"
    )


def test_single_samples_are_split_as_sklearn_splits_them() -> None:
    (train, test), *_ = reversed(list(TimeSeriesSplit(4, gap=3).split(np.zeros((50, 1)))))
    split = split_time(range(50), 1, test_ratio=0.2, gap=3)
    np.testing.assert_array_equal(split.train, train)
    np.testing.assert_array_equal(split.test, test)


@given(st.integers(20, 300), sizes, st.integers(1, 9), st.integers(2, 12), gaps, st.data())
def test_blocks_never_touch(
    length: int, size: int, stride: int, blocks: int, gap: int, data: st.DataObject
) -> None:
    ratio = data.draw(st.floats(0.05, 0.5))
    starts = list(range(0, max(length - size + 1, 1), stride))
    try:
        split = split_blocks(
            starts, size, blocks=blocks, generator=draw(), test_ratio=ratio, gap=gap
        )
    except ValueError as error:
        assert "both parts must hold windows" in str(error)  # noqa: PT017
        return
    disjoint(split, len(starts))
    assert distance(starts, size, split) >= gap
    ends = starts[-1] + size
    edges = [ends * k // blocks for k in range(blocks + 1)]
    block = [sum(edge <= s for edge in edges) - 1 for s in starts]
    for side in (split.train, split.test):
        assert all(starts[k] + size <= edges[block[k] + 1] for k in side), "whole in one block"
    tested = {block[k] for k in split.test}
    assert not tested & {block[k] for k in split.train}
    run = min(round(1 / ratio), blocks)
    assert all(len({b for b in tested if b // run == r}) <= 1 for r in range(blocks))


def test_blocks_lie_over_the_whole_and_lose_no_more_than_the_gap() -> None:
    split = split_blocks(range(1000), 1, blocks=20, generator=draw(3), gap=5)
    tested = sorted({int(k) // 50 for k in split.test})
    assert [b // 5 for b in tested] == [0, 1, 2, 3]
    out = set(range(1000)) - set(split.train.tolist()) - set(split.test.tolist())
    naive = {
        t for t in range(1000) if t // 50 not in tested
        and any((t + d) // 50 in tested for d in range(-5, 6) if 0 <= t + d < 1000)
    }  # fmt: skip
    assert out == naive
    assert split.about.startswith("4 of 20 blocks of time: ")
    other = split_blocks(range(1000), 1, blocks=20, generator=draw(4), gap=5)
    assert other.test.tolist() != split.test.tolist()


@given(st.lists(st.integers(0, 8), min_size=2, max_size=80), ratios, st.integers(0, 9))
def test_groups_stay_whole(groups: list[int], ratio: float, seed: int) -> None:
    if len(set(groups)) < 2:
        with pytest.raises(ValueError, match=r"^split_groups: there must be at least two groups"):
            split_groups(groups, generator=draw(seed))
        return
    split = split_groups(groups, generator=draw(seed), test_ratio=ratio)
    disjoint(split, len(groups))
    assert len(split.train) + len(split.test) == len(groups)
    tested = {groups[k] for k in split.test}
    assert not tested & {groups[k] for k in split.train}
    # Within half of the largest group of the share, unless one group is all that can be tested.
    largest = max(Counter(groups).values())
    if len(tested) > 1:
        assert len(split.test) < ratio * len(groups) + largest / 2


@given(st.lists(st.sampled_from("aaaabbc"), min_size=2, max_size=60), ratios, st.integers(0, 9))
def test_classes_keep_their_shares(labels: list[Hashable], ratio: float, seed: int) -> None:
    counts = Counter(labels)
    if max(counts.values()) < 2:
        with pytest.raises(ValueError, match="some class must have at least two cases"):
            split_stratified(labels, len(labels), generator=draw(seed))
        return
    split = split_stratified(labels, len(labels), generator=draw(seed), test_ratio=ratio)
    disjoint(split, len(labels))
    assert len(split.train) + len(split.test) == len(labels)
    tested = Counter(labels[k] for k in split.test)
    spare = len(labels) - len(counts)
    assert len(split.test) == min(max(int(len(labels) * ratio), 1), spare)
    able = [label for label, count in counts.items() if count > 1]
    for label in counts:
        share = counts[label] * len(split.test) / len(labels)
        assert tested[label] < counts[label], "training has every class"
        if spare > len(split.test) and len(able) == len(counts) <= len(split.test):
            assert tested[label] >= 1
            assert abs(tested[label] - share) < len(counts)
    if len(split.test) >= len(able):
        assert all(tested[label] for label in able)


def test_a_group_is_left_for_training_and_one_for_testing() -> None:
    for ratio in (0.01, 0.99):
        split = split_groups("aab", generator=draw(), test_ratio=ratio)
        disjoint(split, 3)
    assert split_groups("aaaab", generator=draw(), test_ratio=0.01).test.tolist() == [4]


def test_shares_are_those_of_sklearn() -> None:
    labels = list("a" * 57 + "b" * 31 + "c" * 12 + "d" * 20)
    random = np.random.default_rng(0)
    random.shuffle(labels)
    split = split_stratified(labels, 120, generator=draw(), test_ratio=0.25)
    (_, other), *_ = StratifiedShuffleSplit(1, test_size=30, random_state=0).split(labels, labels)
    one, two = (Counter(labels[k] for k in side) for side in (split.test, other))
    assert all(abs(one[label] - two[label]) <= 1 for label in "abcd")


@pytest.mark.parametrize("cases", [5, 9, 10, 22, 1000])
def test_without_labels_it_is_the_random_fifth_of_before(cases: int) -> None:
    order = torch.randperm(cases, generator=draw(7)).tolist()
    for labels in (None, ["x"] * cases):
        split = split_stratified(labels, cases, generator=draw(7))
        assert split.test.tolist() == sorted(order[: cases // 5])
        assert split.train.tolist() == sorted(order[cases // 5 :])
        assert split.about.startswith("at random: ")


def test_a_class_of_one_is_for_training_and_said() -> None:
    split = split_stratified([*"aaaaaaaaaa", "b"], 11, generator=draw())
    assert 10 in split.train
    assert split.about == (
        "at random, each class in proportion: 9 cases to train on, 2 to test on; "
        "1 of 2 classes only in training"
    )


def test_complaints() -> None:
    for ratio in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"^split_time: test_ratio must lie in \(0, 1\); got"):
            split_time([0, 1], 1, test_ratio=ratio)
        with pytest.raises(ValueError, match=r"^split_groups: test_ratio must lie in \(0, 1\)"):
            split_groups("ab", generator=draw(), test_ratio=ratio)
        with pytest.raises(ValueError, match=r"^split_stratified: test_ratio must lie in"):
            split_stratified(list("aabb"), 4, generator=draw(), test_ratio=ratio)
    with pytest.raises(ValueError, match=r"^split_time: gap must be >= 0; got -1$"):
        split_time([0, 1], 1, gap=-1)
    with pytest.raises(ValueError, match=r"^split_time: size must be >= 1; got 0$"):
        split_time([0, 1], 0)
    for starts in ([], [0.5], [[1]]):
        with pytest.raises(ValueError, match=r"^split_blocks: starts must be whole numbers"):
            split_blocks(starts, 1, blocks=2, generator=draw())
    with pytest.raises(ValueError, match=r"^split_blocks: blocks must be >= 2; got 1$"):
        split_blocks([0, 1], 1, blocks=1, generator=draw())
    with pytest.raises(ValueError, match=r"^split_blocks: test_ratio must lie in \(0, 0.5\]"):
        split_blocks([0, 1], 1, blocks=2, generator=draw(), test_ratio=0.6)
    with pytest.raises(ValueError, match=r"one label for each series; got 2 for 3$"):
        split_stratified(list("ab"), 3, generator=draw())
