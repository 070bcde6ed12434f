"""Which cases or windows are for training and which for testing, so that neither sees the other."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ssltok._shared.checks import check_at_least, check_number
from ssltok.data._labels import label_index

__all__ = ["Split", "split_blocks", "split_groups", "split_stratified", "split_time"]


class Split(NamedTuple):
    """Two parts that do not touch.

    Attributes:
        train: What to learn from: int64 indices in rising order.
        test: What to test on, likewise.
        about: How they were parted, in one line.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    about: str


def split_time(starts: ArrayLike, size: int, *, test_ratio: float = 0.2, gap: int = 0) -> Split:
    """Train on the past and test on the future, with a purged gap between them.

    The time from the first sample of the first window to the last of the last is cut at
    `1 - test_ratio`. Test windows start at the cut or later; training windows end `gap` samples
    before it. What lies across is left out, so no sample stands on both sides, and between the
    two there are always at least `gap` samples.

    Args:
        starts: First sample of each window, `(windows,)`, as of `windows`, in any order.
        size: Samples of a window; 1 splits single samples.
        test_ratio: Share of the time to test on, between 0 and 1.
        gap: Samples between the last of training and the first of testing, such as how far one
            value still tells of another.

    Returns:
        The split; its line says the gap and how many windows were left out.

    Raises:
        ValueError: If an option is out of range, or a part would be empty.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import split_time
        >>> split = split_time(range(10), 3, test_ratio=0.5, gap=1)
        >>> split.train.tolist(), split.test.tolist()
        ([0, 1, 2], [6, 7, 8, 9])
        >>> split.about
        'in time: 3 windows to train on, 4 to test on, 3 left out; at least 1 samples between'

    References:
        Lopez de Prado, *Advances in Financial Machine Learning*, 2018, chapter 7 (purging).
    """
    places = _checked("split_time", starts, size, test_ratio, gap)
    first, end = int(places.min()), int(places.max()) + size
    cut = first + round((end - first) * (1 - test_ratio))
    train, test = places + size + gap <= cut, places >= cut
    return _windows_split("split_time", "in time", train, test, gap=gap)


def split_blocks(
    starts: ArrayLike,
    size: int,
    *,
    blocks: int,
    generator: torch.Generator,
    test_ratio: float = 0.2,
    gap: int = 0,
) -> Split:
    """Cut the time into blocks and test on some of them, drawn evenly over the whole.

    For series that drift: both parts see every season. Of every `1 / test_ratio` blocks (rounded)
    one is drawn for testing. A window counts where it lies in one block as a whole; a training
    window with less than `gap` samples between it and a test block is left out.

    Args:
        starts: First sample of each window, `(windows,)`, in any order.
        size: Samples of a window.
        blocks: How many, at least two.
        generator: Draws the blocks to test on.
        test_ratio: Share of the blocks to test on, above 0 and at most a half.
        gap: Samples between training and test windows, on either side.

    Returns:
        The split; its line says the gap and how many windows were left out.

    Raises:
        ValueError: If an option is out of range, or a part would be empty.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.data import split_blocks
        >>> draw = torch.Generator().manual_seed(0)
        >>> split = split_blocks(range(0, 40, 2), 2, blocks=4, generator=draw, test_ratio=0.5)
        >>> len(split.train), len(split.test)
        (10, 10)
    """
    places = _checked("split_blocks", starts, size, test_ratio, gap)
    check_at_least("split_blocks", "blocks", blocks, 2)
    if test_ratio > 0.5:
        raise ValueError(f"split_blocks: test_ratio must lie in (0, 0.5]; got {test_ratio}")
    run = min(round(1 / test_ratio), blocks)
    tested = np.zeros(blocks, dtype=bool)
    for begin in range(0, blocks - run + 1, run):
        tested[begin + int(torch.randint(run, (), generator=generator))] = True
    first, end = int(places.min()), int(places.max()) + size
    edges = first + np.arange(blocks + 1) * (end - first) // blocks
    block = np.searchsorted(edges, places, side="right") - 1
    whole = places + size <= edges[block + 1]
    near = np.zeros(len(places), dtype=bool)
    for number in np.flatnonzero(tested):
        near |= (places + size > edges[number] - gap) & (places < edges[number + 1] + gap)
    how = f"{int(tested.sum())} of {blocks} blocks of time"
    return _windows_split("split_blocks", how, whole & ~near, whole & tested[block], gap=gap)


def split_groups(
    groups: Sequence[Hashable], *, generator: torch.Generator, test_ratio: float = 0.2
) -> Split:
    """Test on groups that training has not seen: patients, machines, recordings.

    Groups in random order go to the test part where this brings it nearer to `test_ratio` of the
    cases. Where all of them are too large for that, the smallest goes.

    Args:
        groups: The group of each case; cases of one series are one group.
        generator: Draws the order of the groups.
        test_ratio: Share of the cases to test on, between 0 and 1.

    Returns:
        The split; no group is on both sides.

    Raises:
        ValueError: If there are fewer than two groups, or `test_ratio` is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.data import split_groups
        >>> draw = torch.Generator().manual_seed(0)
        >>> split_groups(list("aabbccdd"), generator=draw, test_ratio=0.25).about
        'by group: 6 cases of 3 groups to train on, 2 of 1 to test on; no group on both sides'
    """
    _check_ratio("split_groups", test_ratio)
    counts = Counter(groups)
    if len(counts) < 2:
        raise ValueError(f"split_groups: there must be at least two groups; got {len(counts)}")
    names, wanted = list(counts), test_ratio * len(groups)
    tested: set[Hashable] = set()
    cases = 0
    for place in torch.randperm(len(names), generator=generator).tolist():
        more = cases + counts[names[place]]
        if abs(more - wanted) < abs(cases - wanted) and len(tested) < len(names) - 1:
            tested.add(names[place])
            cases = more
    if not tested:
        tested = {min(counts, key=lambda name: counts[name])}
    chosen = np.array([group in tested for group in groups])
    train, test = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    about = (
        f"by group: {len(train)} cases of {len(names) - len(tested)} groups to train on, "
        f"{len(test)} of {len(tested)} to test on; no group on both sides"
    )
    return Split(train, test, about)


def split_stratified(
    labels: Sequence[Hashable] | None,
    cases: int,
    *,
    generator: torch.Generator,
    test_ratio: float = 0.2,
) -> Split:
    """Test on a random share of every class.

    Of `n` cases `floor(n * test_ratio)`, at least one, are for testing, and of each class its
    share of them, to within one; a class gives at least one where there are enough for all. It
    never gives its last: a class with a single case is for training.

    Args:
        labels: The class of each case; None is a plain random split. Windows of one series, which
            may overlap, are no cases: `split_time` and `split_blocks` part them.
        cases: How many.
        generator: Draws the cases of each class.
        test_ratio: Share of the cases to test on, between 0 and 1.

    Returns:
        The split; its line says how many classes only training has.

    Raises:
        ValueError: If the labels are not as many as the cases, no class has two cases, or
            `test_ratio` is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.data import split_stratified
        >>> draw = torch.Generator().manual_seed(0)
        >>> split = split_stratified(list("aaaaaabbbb"), 10, generator=draw, test_ratio=0.5)
        >>> "".join("aaaaaabbbb"[case] for case in split.test)
        'aaabb'
    """
    _check_ratio("split_stratified", test_ratio)
    numbers, _ = label_index(labels, cases, who="split_stratified")
    classes, counts = np.unique(numbers.numpy(), return_counts=True)
    most = counts - 1
    if not most.sum():
        raise ValueError(
            f"split_stratified: some class must have at least two cases; got {cases} cases of "
            f"{len(classes)} classes"
        )
    total = min(max(int(cases * test_ratio), 1), int(most.sum()))
    share = counts * (total / cases)
    taken = np.clip(share.astype(np.int64), 1, None).clip(max=most)
    while taken.sum() < total:  # to the class furthest below its share
        taken[np.argmax(np.where(taken < most, share - taken, -np.inf))] += 1
    while taken.sum() > total:  # from the class furthest above it, to none only where all have one
        spare = taken > min(1, taken.max() - 1)
        taken[np.argmax(np.where(spare, taken - share, -np.inf))] -= 1
    chosen = torch.zeros(cases, dtype=torch.bool)
    for label, number in zip(classes.tolist(), taken.tolist(), strict=True):
        members = torch.nonzero(numbers == label)[:, 0]
        chosen[members[torch.randperm(len(members), generator=generator)[:number]]] = True
    train, test = np.flatnonzero(~chosen.numpy()), np.flatnonzero(chosen.numpy())
    how = "at random" if len(classes) == 1 else "at random, each class in proportion"
    about = f"{how}: {len(train)} cases to train on, {len(test)} to test on"
    if few := int((taken == 0).sum()):
        about += f"; {few} of {len(classes)} classes only in training"
    return Split(train, test, about)


def _windows_split(
    who: str, how: str, train: NDArray[np.bool_], test: NDArray[np.bool_], *, gap: int
) -> Split:
    index, tested = np.flatnonzero(train), np.flatnonzero(test)
    out = len(train) - len(index) - len(tested)
    if not len(index) or not len(tested):
        raise ValueError(
            f"{who}: both parts must hold windows; got {len(index)} to train on, {len(tested)} to "
            f"test on, and {out} left out with a gap of {gap}: shorten the windows, or the gap"
        )
    between = f"at least {gap} samples between" if gap else "no sample on both sides"
    about = (
        f"{how}: {len(index)} windows to train on, {len(tested)} to test on, {out} left out; "
        f"{between}"
    )
    return Split(index, tested, about)


def _checked(who: str, starts: ArrayLike, size: int, ratio: float, gap: int) -> NDArray[np.int64]:
    places: NDArray[Any] = np.asarray(starts)
    if places.ndim != 1 or not len(places) or not np.issubdtype(places.dtype, np.integer):
        raise ValueError(
            f"{who}: starts must be whole numbers, at least one; got {places.dtype} of shape "
            f"{places.shape}"
        )
    check_at_least(who, "size", size, 1)
    check_at_least(who, "gap", gap, 0)
    _check_ratio(who, ratio)
    return places.astype(np.int64)


def _check_ratio(who: str, ratio: float) -> None:
    check_number(who, "test_ratio", ratio)
    if not 0 < ratio < 1:
        raise ValueError(f"{who}: test_ratio must lie in (0, 1); got {ratio}")
