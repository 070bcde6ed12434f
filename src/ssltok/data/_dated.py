"""Samples, forecasts and filled series as tables with dates and column names."""

import csv
import os
import pathlib
import tempfile
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssltok.data._loaders import Dataset
from ssltok.data._times import resample

__all__ = ["Columns", "quantile_columns", "resample_dataset", "write_dated"]


class Columns(NamedTuple):
    """Columns of a table: `series` is `(cases, columns, length)`, and each column has a name."""

    series: NDArray[Any]
    names: tuple[str, ...]


def quantile_columns(
    draws: ArrayLike, channels: Sequence[str] = (), *, quantiles: Sequence[float] = (0.1, 0.5, 0.9)
) -> Columns:
    """Turn draws into columns: a single draw as it is, several as quantiles of each channel.

    Args:
        draws: `(samples, cases, channels, length)`, such as of a forecast.
        channels: Their names; without names a single channel is `value`, several `value_0`, ...
        quantiles: Rising, in [0, 1].

    Returns:
        A column for each channel, or with several draws for each quantile of each channel, named
        `heat_q10`, `heat_q50`, ...

    Raises:
        ValueError: If shapes or counts differ, or quantiles do not rise within [0, 1].

    Example:
        >>> import numpy as np
        >>> from ssltok.data import quantile_columns
        >>> draws = np.arange(11.0).reshape(11, 1, 1, 1)
        >>> columns = quantile_columns(draws, ["heat"])
        >>> columns.names, columns.series.ravel().tolist()
        (('heat_q10', 'heat_q50', 'heat_q90'), [1.0, 5.0, 9.0])
    """
    array: NDArray[Any] = np.asarray(draws)
    if array.ndim != 4 or not len(array):
        raise ValueError(
            f"quantile_columns: draws must be (samples, cases, channels, length), at least one; "
            f"got shape {array.shape}"
        )
    names = _names("quantile_columns", channels, array.shape[2])
    levels = list(quantiles)
    if not levels or levels != sorted(set(levels)) or not 0 <= levels[0] <= levels[-1] <= 1:
        raise ValueError(f"quantile_columns: quantiles must rise within [0, 1]; got {quantiles}")
    if len(array) == 1:
        return Columns(array[0], names)
    values = np.quantile(array, levels, axis=0).astype(array.dtype)
    columns = np.moveaxis(values, 0, 2).reshape(array.shape[1], -1, array.shape[3])
    # 100 * 0.07 is 7.000000000000001: six digits name a level well enough.
    return Columns(columns, tuple(f"{name}_q{100 * q:.6g}" for name in names for q in levels))


def write_dated(
    path: str | os.PathLike[str],
    series: Sequence[ArrayLike] | NDArray[Any],
    *,
    channels: Sequence[str] = (),
    times: Any = None,
    ids: Sequence[Hashable] | None = None,
) -> None:
    """Write series as a CSV whose rows are times and whose columns are channels.

    The file is written whole or not at all.

    Args:
        path: A `.csv` file in a folder that exists; it is replaced.
        series: `(cases, channels, length)`, or a list of `(channels, length)`. NaN is an empty
            cell.
        channels: Their names, see `quantile_columns`.
        times: What samples are called: `(length,)` for every series, or a list with one such for
            each; by default they are numbered from 0.
        ids: The name of each series, for a first column `id`; None leaves it out where there is one
            series, and numbers several.

    Raises:
        ValueError: If counts differ, or the path cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> from ssltok.data import write_dated
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "x.csv"
        ...     write_dated(path, [[[0.5, 1.5]]], channels=["heat"], times=["monday", "tuesday"])
        ...     path.read_text().split()
        ['time,heat', 'monday,0.5', 'tuesday,1.5']
    """
    target = pathlib.Path(path)
    if target.suffix != ".csv" or not target.parent.is_dir():
        raise ValueError(f"write_dated: path must be a .csv file in a folder; got {target}")
    arrays = [np.atleast_2d(np.asarray(item)) for item in series]
    names = _names("write_dated", channels, len(arrays[0]))
    numbers: Sequence[Hashable] | None = ids
    if ids is None and len(arrays) > 1:
        numbers = range(len(arrays))
    clocks = times if isinstance(times, list) and len(arrays) > 1 else [times] * len(arrays)
    if len(clocks) != len(arrays) or (numbers is not None and len(numbers) != len(arrays)):
        raise ValueError(
            f"write_dated: there must be times and an id for each of {len(arrays)} series; "
            f"got {len(clocks)} and {None if numbers is None else len(numbers)}"
        )
    head = [*(["id"] if numbers is not None else []), "time"]
    head = [_free(word, names) for word in head]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        fresh = pathlib.Path(folder) / target.name
        with open(fresh, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([*head, *names])
            for case, (array, clock) in enumerate(zip(arrays, clocks, strict=True)):
                if len(array) != len(names):
                    raise ValueError(
                        f"write_dated: series must have {len(names)} channels; got {len(array)}"
                    )
                words = range(array.shape[1]) if clock is None else _words(clock)
                if len(words) != array.shape[1]:
                    raise ValueError(
                        f"write_dated: every sample must have a time; got {len(words)} times for "
                        f"{array.shape[1]} samples"
                    )
                first = [] if numbers is None else [numbers[case]]
                for word, row in zip(words, array.T, strict=True):
                    writer.writerow([*first, word, *("" if v != v else str(v) for v in row)])
        os.replace(fresh, target)


def resample_dataset(data: Dataset, every: str | float) -> Dataset:
    """Bring the long series of a data set to regular times, see `resample`.

    Args:
        data: One long series with times and no test part.
        every: A pandas frequency for dates, a number (or its text) for numbers.

    Returns:
        The data set; its line says what was done.

    Raises:
        ValueError: If there are no times, several series, or `every` is no step.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import Dataset, resample_dataset
        >>> data = Dataset("x", np.arange(6.0).reshape(1, 1, 6), None, None, None)
        >>> resample_dataset(data._replace(times=np.arange(6) / 2), 1.0).train.tolist()
        [[[0.5, 2.5, 4.5]]]
    """
    if data.times is None or len(data.train) != 1 or data.test is not None:
        raise ValueError(
            "resample_dataset: data must be one long series with times; got "
            f"{len(data.train)} series{' without times' if data.times is None else ''}"
            f"{' and a test part' if data.test is not None else ''}"
        )
    step: str | float = every
    if isinstance(every, str) and np.asarray(data.times).dtype.kind in "iuf":
        try:
            step = float(every)
        except ValueError:
            step = every  # `resample` says what it must be
    found = resample(data.train[0], data.times, step)
    about = f"{data.about}; {found.about}" if data.about else found.about
    return data._replace(train=found.series[None], times=found.timeline.times, about=about)


def _names(who: str, channels: Sequence[str], count: int) -> tuple[str, ...]:
    if not channels:
        return ("value",) if count == 1 else tuple(f"value_{k}" for k in range(count))
    if len(channels) != count:
        raise ValueError(f"{who}: channels must be {count} names; got {len(channels)}")
    return tuple(channels)


def _free(word: str, names: Sequence[str]) -> str:
    """The word, longer where a column has it already."""
    while word in names:
        word += "_"
    return word


def _words(times: Any) -> list[str]:
    """Dates as pandas writes them, days without a time of day; numbers as they are."""
    array = np.asarray(times)
    dates = hasattr(times, "strftime") or array.dtype.kind in "Mm"
    if dates and not hasattr(times, "strftime"):
        import pandas

        times = pandas.Index(array)
    return [str(time) for time in (times.astype(str) if dates else array.tolist())]
