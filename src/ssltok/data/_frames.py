"""Data frames and the containers of sktime and aeon as series."""

import re
import sys
from typing import Any

import numpy as np

from ssltok.data._tables import TIMES, need

__all__ = ["as_arrays", "is_frame", "pandas_frame"]

LIBRARIES = ("pandas", "polars", "pyarrow")
DEFAULT = re.compile(r"(column_|f|t)?\d+$")
LONG = (
    ("case_id", "reading_id", "dim_id", "value"),
    ("instances", "timepoints", "variable", "value"),
)
LEVEL = "__index__"  # how sktime names what was an index, in a frame of polars


def is_frame(X: Any) -> bool:  # noqa: N803
    """Whether this is a data frame of pandas or polars, or a table of pyarrow."""
    loaded = [sys.modules[name] for name in LIBRARIES if name in sys.modules]
    kinds = [kind for library in loaded for name in ("DataFrame", "LazyFrame", "Table")
             if isinstance(kind := getattr(library, name, None), type)]  # fmt: skip
    return isinstance(X, tuple(kinds))


def pandas_frame(frame: Any) -> Any:
    """The same frame in pandas, whose index, if any, is kept."""
    pandas = need("pandas")
    if isinstance(frame, pandas.DataFrame):
        return frame
    narwhals = need("narwhals")
    lazy = narwhals.from_native(frame)
    whole = lazy.collect() if hasattr(lazy, "collect") else lazy
    columns = {}
    for name in whole.columns:
        column = whole[name]
        nested = isinstance(column.dtype, narwhals.List | narwhals.Array | narwhals.Object)
        columns[name] = column.to_list() if nested or column.null_count() else column.to_numpy()
    return pandas.DataFrame(columns)


def as_arrays(X: Any) -> list[np.ndarray[Any, Any]] | None:  # noqa: N803
    """Series of a data frame or of a list of frames, each `(channels, length)`; else None.

    Known are frames whose cells are series (nested), frames with an index of series and times
    (`pd-multiindex`, and its hierarchies), frames in sktime's long form, lists of frames
    (`df-list`, times down the rows), and frames of numbers with a series in each row, where the
    names of the columns only count.

    Raises:
        ValueError: If a frame may be read in two ways.
        TypeError: If a cell is neither a number nor a series.
    """
    if "pandas" in sys.modules and isinstance(X, sys.modules["pandas"].Series):
        if X.dtype != object:
            raise TypeError("read_series: a pandas Series must hold a series in each cell")
        return [np.atleast_2d(np.asarray(cell, dtype=np.float64)) for cell in X]
    if is_frame(X):
        return _of_frame(pandas_frame(X))
    if isinstance(X, list | tuple) and X and all(is_frame(item) for item in X):
        return [_numbers(pandas_frame(item)).T for item in X]
    if isinstance(X, list | tuple) and any(is_frame(item) for item in X):
        raise TypeError("read_series: a list of data frames must hold nothing else")
    return None


def _of_frame(frame: Any) -> list[np.ndarray[Any, Any]]:
    pandas = need("pandas")
    if frame.empty:
        raise ValueError(f"read_series: a data frame must hold values; got shape {frame.shape}")
    if frame.index.nlevels > 1:
        return _panel(frame)
    for case, time, channel, value in LONG:
        if {case, time, channel, value} == set(map(str, frame.columns)):
            return _panel(frame.pivot(index=[case, time], columns=channel, values=value))
    levels = [name for name in frame.columns if str(name).startswith(LEVEL)]
    if len(levels) > 1:
        return _panel(frame.set_index(levels))
    if _is_nested(frame):
        return [
            _padded([np.asarray(cell, dtype=np.float64) for cell in row])
            for row in frame.itertuples(index=False)
        ]
    dated = isinstance(frame.index, pandas.DatetimeIndex | pandas.PeriodIndex)
    names = [str(name) for name in frame.columns]
    timed = [n for n, kind in zip(names, frame.dtypes, strict=True)
             if n.lower() in TIMES or pandas.api.types.is_datetime64_any_dtype(kind)]  # fmt: skip
    if dated or timed or not all(DEFAULT.match(name) for name in names):
        why = "an index of times" if dated else f"columns {(timed or names)[:4]}"
        raise ValueError(
            f"read_series: a row of a data frame must be known as a series or a time; got {why}: "
            "read it with load_dataset(frame, reading=Reading(layout='time_in_rows')), or pass "
            "frame.to_numpy() if each row is a series"
        )
    return [row[None] for row in _numbers(frame)]


def _numbers(frame: Any) -> np.ndarray[Any, Any]:
    try:
        values: np.ndarray[Any, Any] = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise TypeError(f"read_series: a data frame must hold numbers; got {error}") from error
    return values


def _panel(frame: Any) -> list[np.ndarray[Any, Any]]:
    """An index whose last level is time, and whose others name the series."""
    if frame.index.has_duplicates:
        raise ValueError("read_series: a series must have one row for each time; got two")
    levels = list(range(frame.index.nlevels - 1))
    series = []
    for _, part in frame.groupby(level=levels, sort=False):
        if not part.index.get_level_values(-1).is_monotonic_increasing:
            raise ValueError("read_series: times must rise from row to row within a series")
        series.append(_numbers(part).T)
    return series


def _is_nested(frame: Any) -> bool:
    cell = frame.iloc[0, 0]
    return hasattr(cell, "__len__") and not isinstance(cell, str | bytes)


def _padded(channels: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    if any(channel.ndim != 1 for channel in channels):
        raise TypeError("read_series: cells of a nested data frame must hold one channel each")
    longest = max(len(channel) for channel in channels)
    return np.stack([np.pad(c, (0, longest - len(c)), constant_values=np.nan) for c in channels])
