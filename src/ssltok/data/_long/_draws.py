"""Draws of a model as tables with dates and column names, in the form that the data came in."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssltok.data._loaders import Dataset
from ssltok.data._long._parts import clocks_of
from ssltok.data._long._times import further_times, read_times
from ssltok.data._reading import Reading
from ssltok.data._write import write_table

__all__ = ["Columns", "forecast_times", "quantile_columns", "write_draws"]


class Columns(NamedTuple):
    """Columns of a table.

    Attributes:
        series: The values, `(cases, columns, length)`.
        names: A name for each column.
    """

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


def forecast_times(data: Dataset, horizon: int, *, who: str = "forecast_times") -> list[Any]:
    """Name the samples that follow each training series of a data set.

    Args:
        data: Series with times or without. A tail of NaN in every channel lies beyond the end.
        horizon: How many samples, at least 1.
        who: Who asks, for the error's text.

    Returns:
        For each series what `further_times` gives; without times numbers from its length on.

    Raises:
        ValueError: If times are irregular, or `horizon < 1`.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import Dataset, forecast_times
        >>> data = Dataset("x", np.zeros((1, 1, 9)), None, None, None, times=np.arange(9) / 2)
        >>> forecast_times(data, 2)[0].tolist()
        [4.5, 5.0]
    """
    if horizon < 1:
        raise ValueError(f"{who}: horizon must be >= 1; got {horizon}")
    ends = [_end(series) for series in data.train]
    if data.times is None:
        return [np.arange(end, end + horizon) for end in ends]
    timelines = [read_times(clock, who=who) for clock in clocks_of(data)]
    return [
        further_times(timeline._replace(times=timeline.times[:end]), horizon)
        for timeline, end in zip(timelines, ends, strict=True)
    ]


def write_draws(
    path: str | os.PathLike[str],
    draws: ArrayLike,
    *,
    data: Dataset,
    times: Any = None,
    quantiles: Sequence[float] = (0.1, 0.5, 0.9),
) -> Columns:
    """Write draws of the series of a data set as a table in the form that the data came in.

    A row is a time, or a value where the data came so (`layout="long"`). Names, separator and
    decimal mark are those of the data. Where there are several series, a column names them.

    Args:
        path: A file as for `write_table`; it is replaced.
        draws: `(samples, cases, channels, length)`: a single one is written as it is, several as
            quantiles, see `quantile_columns`.
        data: What was drawn for.
        times: As for `write_table`, such as those of `forecast_times`.
        quantiles: Rising, in [0, 1].

    Returns:
        The columns that were written.

    Raises:
        ValueError: As `quantile_columns` and `write_table`.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from ssltok.data import Dataset, write_draws
        >>> data = Dataset("x", np.zeros((1, 1, 9)), None, None, None, ("heat",))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "x.csv"
        ...     _ = write_draws(path, [[[[0.5, 1.5]]]], data=data, times=np.array(["mon", "tue"]))
        ...     path.read_text().split()
        ['time,heat', 'mon,0.5', 'tue,1.5']
    """
    columns = quantile_columns(draws, data.channels, quantiles=quantiles)
    form = Reading(layout="time_in_rows") if data.reading is None else data.reading
    if form.layout == "series_in_rows":
        form = dataclasses.replace(form, layout="time_in_rows", time=None, label=None)
    if form.header is False and len(columns.names) != len(data.channels):
        # Quantiles without names would have no meaning, and places mean others now.
        form = dataclasses.replace(
            form, header=None, time=None, id=None, channel=None, value=None, label=None, group=None
        )
    ids = data.ids if data.ids is not None and len(data.ids) == len(columns.series) else None
    write_table(path, columns.series, reading=form, channels=columns.names, times=times, ids=ids)
    return columns


def _end(series: Any) -> int:
    """How many samples a series has, less those that miss every channel at its end."""
    known = ~np.isnan(np.atleast_2d(np.asarray(series, dtype=np.float64))).all(axis=0)
    return int(np.flatnonzero(known)[-1]) + 1 if known.any() else known.shape[0]


def _names(who: str, channels: Sequence[str], count: int) -> tuple[str, ...]:
    if not channels:
        return ("value",) if count == 1 else tuple(f"value_{k}" for k in range(count))
    if len(channels) != count:
        raise ValueError(f"{who}: channels must be {count} names; got {len(channels)}")
    return tuple(channels)
