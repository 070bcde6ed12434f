"""A training and a test part, where a data set has one or none; windows of long series."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ssltok.data._large._source import SeriesSource, SubsetSource
from ssltok.data._loaders import Dataset
from ssltok.data._long._cuts import Cut, cuts_of, rows_of
from ssltok.data._long._splits import split_groups, split_stratified, split_time
from ssltok.data._long._times import read_times, resample

__all__ = ["TrainAndTest", "resample_dataset", "train_and_test", "windowed"]

LEAST = 5  # series, of which a fifth can be spared


class TrainAndTest(NamedTuple):
    """Series and labels to learn from, those to be judged by, and how they were parted.

    Attributes:
        train: Series to learn from, as the data set holds them, or windows of them.
        train_labels: A label for each; None where there are none.
        test: Series to be judged by.
        test_labels: A label for each; None where there are none.
        about: How they were parted, in one line; empty where the data came with a
            test part.
    """

    train: Any
    train_labels: Any
    test: Any
    test_labels: Any
    about: str


def train_and_test(
    data: Dataset,
    generator: torch.Generator,
    *,
    window: int | None = None,
    stride: int | None = None,
    gap: int | None = None,
    who: str = "run",
) -> TrainAndTest:
    """Give a data set's two parts; without a test part, a fifth stands in for it.

    - With `data.groups`, whole groups (`split_groups`), with windows or without.
    - With a `window` and without groups, the last fifth of the time of each series, after a purged
      gap (`split_time`): windows of the two parts share no sample.
    - Otherwise a random fifth, of each class in proportion (`split_stratified`).

    Args:
        data: From `load_dataset`.
        generator: Chooses at random; a split in time draws nothing.
        window: Samples of a window, where series are long and windows of them are what is learned;
            None leaves the series whole.
        stride: Samples from one window to the next; None is a quarter of the window.
        gap: Samples between the two parts of a split in time; None is one window.
        who: Who asks, for the error's text.

    Returns:
        The parts, each in the order of the data set, and a line that says how they were parted.

    Raises:
        ValueError: If there is no test part and there are fewer than 5 series, if times are
            irregular, or a series is too short for windows in both parts.

    Example:
        >>> import numpy as np, torch
        >>> from ssltok.data import Dataset, train_and_test
        >>> draw = torch.Generator().manual_seed(0)
        >>> parts = train_and_test(Dataset("ten", np.zeros((10, 8)), None, None, None), draw)
        >>> len(parts.train), len(parts.test)
        (8, 2)
        >>> long = Dataset("long", np.arange(400.0).reshape(1, 2, 200), None, None, None)
        >>> parts = train_and_test(long, draw, window=16)
        >>> parts.train.shape, parts.test.shape
        ((33, 2, 16), (7, 2, 16))
    """
    if window is not None:
        if data.test is not None:
            cut = windowed(data, size=window, stride=stride, who=who)
            return TrainAndTest(*cut[1:5], about=f"{cut.about}; the test part is the data's own")
        return _windowed_parts(data, generator, size=window, stride=stride, gap=gap, who=who)
    if data.test is not None:
        return TrainAndTest(data.train, data.train_labels, data.test, data.test_labels, "")
    cases, groups = len(data.train), data.groups
    if groups is None and cases < LEAST:
        raise ValueError(
            f"{who}: data without a test part must hold at least {LEAST} series, or long ones and "
            f"a window to cut them into; got {cases} series and no window"
        )
    if groups is None:
        split = split_stratified(data.train_labels, cases, generator=generator)
    else:
        split = split_groups(_checked_groups(who, groups, cases), generator=generator)
    train, test = split.train.tolist(), split.test.tolist()
    return TrainAndTest(
        _take(data.train, train), _take(data.train_labels, train),
        _take(data.train, test), _take(data.train_labels, test), split.about,
    )  # fmt: skip


def windowed(
    data: Dataset, *, size: int, stride: int | None = None, who: str = "windowed"
) -> Dataset:
    """Cut the long series of each part of a data set into windows, nothing held back.

    A window has the label of its series. One that ends in a gap (its last sample misses every
    channel) is left out and counted in the line: its end would pass for the series' own.

    Args:
        data: Series of any lengths, at least `size`; times must be regular.
        size: Samples of a window.
        stride: Samples from one window to the next; None is a quarter of the window.
        who: Who asks, for the error's text.

    Returns:
        The data set with `(windows, channels, size)` in each part, and what was done in `about`;
        where no window had to be left out of a single array, the windows are a view of it.

    Raises:
        ValueError: If a series is shorter than a window, has no complete window, or times are
            irregular.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import Dataset, windowed
        >>> long = Dataset("long", np.arange(408.0).reshape(1, 1, 408), None, None, None)
        >>> cut = windowed(long, size=24, stride=4)
        >>> cut.train.shape, cut.about
        ((97, 1, 24), '97 windows of 24 every 4')
    """
    step = _step(size, stride)
    regular = _regular(who, data)
    lines = ["" if regular and regular in data.about else regular]
    parts: list[Any] = []
    groups = data.groups
    for name, series, labels in (
        ("", data.train, data.train_labels), ("for testing ", data.test, data.test_labels)
    ):  # fmt: skip
        if series is None:
            parts += [None, labels]
            continue
        cuts = cuts_of(who, series, size, step)
        out = sum(cut.out for cut in cuts)
        lines.append(
            f"{name}{sum(len(cut.values) for cut in cuts)} windows of {size} every {step}"
            + (f" ({out} that end in a gap left out)" if out else "")
        )
        parts += [_joined([cut.values for cut in cuts]), _repeated(labels, cuts)]
        groups = _repeated(groups, cuts) if series is data.train else groups
    return data._replace(
        train=parts[0], train_labels=parts[1], test=parts[2], test_labels=parts[3],
        about=", ".join(line for line in (data.about, *lines) if line), times=None, ids=None,
        groups=groups,
    )  # fmt: skip


def resample_dataset(data: Dataset, every: str | float) -> Dataset:
    """Bring the long series of a data set to regular times, see `resample`.

    Args:
        data: Long series with times and no test part.
        every: A pandas frequency for dates, a number (or its text) for numbers.

    Returns:
        The data set; its line says what was done.

    Raises:
        ValueError: If there are no times, a test part, or `every` is no step.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import Dataset, resample_dataset
        >>> data = Dataset("x", np.arange(6.0).reshape(1, 1, 6), None, None, None)
        >>> resample_dataset(data._replace(times=np.arange(6) / 2), 1.0).train.tolist()
        [[[0.5, 2.5, 4.5]]]
    """
    if data.times is None or data.test is not None:
        raise ValueError(
            "resample_dataset: data must be long series with times and no test part; got "
            f"{len(data.train)} series{' without times' if data.times is None else ''}"
            f"{' and a test part' if data.test is not None else ''}"
        )
    clocks = clocks_of(data)
    step: str | float = every
    if isinstance(every, str) and np.asarray(clocks[0]).dtype.kind in "iuf":
        try:
            step = float(every)
        except ValueError:
            step = every  # `resample` says what it must be
    listed = [resample(one, clock, step) for one, clock in zip(data.train, clocks, strict=True)]
    series, times = [one.series for one in listed], [one.timeline.times for one in listed]
    equal = len({one.shape for one in series}) == 1
    about = listed[0].about
    if len(listed) > 1:
        gone = sum(int(np.isnan(one).all(axis=0).sum()) for one in series)
        about = (
            f"resampled {listed[0].timeline.about}: {len(listed)} series, {gone} samples missing"
        )
    return data._replace(
        train=np.stack(series) if equal else series,
        times=times if isinstance(data.times, list) else times[0],
        about=f"{data.about}; {about}" if data.about else about,
    )


def clocks_of(data: Dataset) -> list[Any]:
    """The times of each training series; None for those of a set without times."""
    times = data.times if isinstance(data.times, list) else [data.times]
    return times * (len(data.train) if data.times is None else 1)


def _windowed_parts(
    data: Dataset,
    generator: torch.Generator,
    *,
    size: int,
    stride: int | None,
    gap: int | None,
    who: str,
) -> TrainAndTest:
    groups = data.groups
    step, apart = _step(size, stride), size if gap is None else gap
    regular = _regular(who, data)
    cuts = cuts_of(who, data.train, size, step)
    everywhere = [np.arange(len(cut.starts)) for cut in cuts]
    if groups is None:
        splits = [split_time(cut.starts, size, gap=apart) for cut in cuts]
        sides = [split.train for split in splits], [split.test for split in splits]
        how = f"in time{', each series' if len(cuts) > 1 else ''}"
        between = f"at least {apart} samples between the two, so no sample is in both"
    else:
        split = split_groups(_checked_groups(who, groups, len(cuts)), generator=generator)
        tested = set(split.test.tolist())
        none = np.arange(0)
        sides = (
            [none if case in tested else whole for case, whole in enumerate(everywhere)],
            [whole if case in tested else none for case, whole in enumerate(everywhere)],
        )
        how, between = "by group", "no group is in both, so no sample is"
    train, test = (
        [cut._replace(values=rows_of(cut.values, k)) for cut, k in zip(cuts, side, strict=True)]
        for side in sides
    )
    counts = [sum(len(cut.values) for cut in part) for part in (train, test)]
    out, gone = sum(map(len, everywhere)) - sum(counts), sum(cut.out for cut in cuts)
    about = (
        f"windows of {size} every {step}, parted {how}: {counts[0]} to train on, {counts[1]} to "
        f"test on, {out} left out; {between}"
    )
    if gone:
        about += f"; {gone} that end in a gap left out before"
    return TrainAndTest(
        _joined([cut.values for cut in train]), _repeated(data.train_labels, train),
        _joined([cut.values for cut in test]), _repeated(data.train_labels, test),
        f"{regular}, {about}" if regular and regular not in data.about else about,
    )  # fmt: skip


def _step(size: int, stride: int | None) -> int:
    return max(1, size // 4) if stride is None else stride


def _regular(who: str, data: Dataset) -> str:
    if data.times is None:
        return ""
    listed = list(dict.fromkeys(read_times(times, who=who).about for times in clocks_of(data)))
    if len(listed) > 1:
        raise ValueError(
            f"{who}: all series must have times of one step, for windows of them to mean the same; "
            f"got {listed[0]} and {listed[1]}: resample them"
        )
    return listed[0]


def _checked_groups(who: str, groups: Sequence[Hashable], cases: int) -> Sequence[Hashable]:
    if len(groups) != cases:
        raise ValueError(
            f"{who}: groups must name the group of each series; got {len(groups)} for {cases}"
        )
    return groups


def _joined(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _repeated(labels: Any, cuts: list[Cut]) -> list[Hashable] | None:
    """The label of a series for each of its windows."""
    if labels is None:
        return None
    return [label for label, cut in zip(labels, cuts, strict=True) for _ in cut.values]


def _take(items: Any, index: list[int]) -> Any:
    if items is None:
        return None
    if isinstance(items, SeriesSource):
        return SubsetSource(items, np.array(index))
    return items[index] if isinstance(items, np.ndarray) else [items[i] for i in index]
