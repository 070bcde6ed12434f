"""Times of samples: regular ones are found and described, others are refused or resampled."""

import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssltok._shared.checks import check_at_least, check_positive

__all__ = ["Resampled", "Timeline", "elapsed_times", "further_times", "read_times", "resample"]

TOLERANCE = 1e-3  # of a step: how far rounding may move a time
NAMES = {
    "h": "hourly", "D": "daily", "B": "every business day", "W": "weekly", "MS": "monthly",
    "ME": "monthly", "BMS": "monthly", "BME": "monthly", "QS": "quarterly", "QE": "quarterly",
    "BQS": "quarterly", "BQE": "quarterly", "YS": "yearly", "YE": "yearly", "BYS": "yearly",
    "BYE": "yearly", "min": "every minute", "s": "every second", "ms": "every millisecond",
}  # fmt: skip
UNITS = {
    "h": "hours", "D": "days", "B": "business days", "W": "weeks", "M": "months", "Q": "quarters",
    "Y": "years", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds",
}  # fmt: skip


class Timeline(NamedTuple):
    """Regular times.

    Attributes:
        times: A pandas `DatetimeIndex`, or float64 numbers.
        step: What leads from one to the next: a pandas offset such as `<Hour>`, or a number.
        about: The step in words, such as "hourly" or "every 0.5".
    """

    times: Any
    step: Any
    about: str


class Resampled(NamedTuple):
    """A series on regular times.

    Attributes:
        series: The means of what fell into each step, `(channels, length)`, NaN where nothing was
            measured.
        timeline: The new times.
        about: How many samples came from how many, in one line.
    """

    series: NDArray[np.float64]
    timeline: Timeline
    about: str


def read_times(times: Any, *, who: str = "read_times") -> Timeline:
    """Find the step of regular times; refuse irregular ones.

    Dates are regular where a pandas frequency leads from each to the next (hours, days in local
    time over a change of the clocks, business days, ends of months, ...), numbers where all steps
    are equal; rounding may move a time by a thousandth of a step. Steps are never taken from most
    of the times: one that is missing, doubled or moved is refused, with its place.

    Args:
        times: At least three, rising: `datetime64`, a pandas index or series of dates (with or
            without a time zone), `datetime` objects, or numbers. Texts are refused, as 01/02 has
            two readings.
        who: Who asks, for the error's text.

    Returns:
        The times, their step, and the step in words.

    Raises:
        ValueError: If times are missing, do not rise, are irregular, mix time zones, or are fewer
            than three.
        TypeError: If they are neither dates nor numbers.
        ImportError: If pandas is needed and not installed.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import read_times
        >>> read_times(np.arange("2024-02-27", "2024-03-04", dtype="datetime64[D]")).about
        'daily'
        >>> read_times([0.0, 0.25, 0.5]).about
        'every 0.25'
    """
    stamps = _as_times(who, times)
    numbers = isinstance(stamps, np.ndarray)
    if len(stamps) < 3:
        raise ValueError(f"{who}: times must be at least three to have a step; got {len(stamps)}")
    ticks: NDArray[Any] = stamps if numbers else stamps.asi8 - stamps.asi8[0]
    steps = np.diff(ticks)
    if (steps <= 0).any():
        place = int(np.argmax(steps <= 0))
        again = "again" if steps[place] == 0 else "later"
        raise ValueError(
            f"{who}: times must rise; got {stamps[place]}, and {stamps[place + 1]} {again}"
        )
    if not numbers:
        step = _frequency(stamps)
        if step is not None:
            return Timeline(stamps, step, _words(step))
    mean = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
    off = np.abs(ticks - ticks[0] - mean * np.arange(len(ticks)))
    rounding = min(4 * np.spacing(float(np.abs(ticks).max())), mean / 100)
    if off.max() <= max(TOLERANCE * mean, rounding):
        if numbers:
            return Timeline(stamps, float(mean), f"every {mean:.6g}")
        step = _pandas().Timedelta(round(mean), unit=stamps.unit)
        return Timeline(stamps, step, f"every {step.total_seconds():.6g} seconds")
    usual = np.median(steps)
    place = int(np.argmax(np.abs(steps - usual) > TOLERANCE * usual))
    low, high = (
        float(step) if numbers else _pandas().Timedelta(int(step), unit=stamps.unit)
        for step in (steps.min(), steps.max())
    )  # fmt: skip
    raise ValueError(
        f"{who}: times must be regular, or resampled on request; got steps from {low} to {high}, "
        f"and no usual one from {stamps[place]} to {stamps[place + 1]}"
    )


def further_times(timeline: Timeline, count: int) -> Any:
    """Name the samples after the last one, as for a forecast.

    Args:
        timeline: From `read_times`.
        count: How many, at least 1.

    Returns:
        A pandas `DatetimeIndex` in the same time zone, or float64 numbers.

    Raises:
        ValueError: If `count < 1`.
        TypeError: If an option is not a number.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import further_times, read_times
        >>> ends = np.array(["2023-12-31", "2024-01-31", "2024-02-29"], dtype="datetime64[D]")
        >>> further_times(read_times(ends), 2).strftime("%d.%m.").tolist()
        ['31.03.', '30.04.']
    """
    check_at_least("further_times", "count", count, 1)
    last = timeline.times[-1]
    if isinstance(timeline.times, np.ndarray):
        return last + timeline.step * np.arange(1, count + 1)
    return _pandas().date_range(last, periods=count + 1, freq=timeline.step)[1:]


def elapsed_times(timeline: Timeline, count: int) -> Any:
    """Name the samples of a stretch that has no place in time, such as one that was generated.

    Args:
        timeline: The times of what it was learned from.
        count: How many samples.

    Returns:
        Time since the first sample, a pandas `TimedeltaIndex` or float64 numbers; for steps of
        unequal length (months, business days) how many steps, int64.

    Raises:
        ValueError: If `count < 1`.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.data import elapsed_times, read_times
        >>> elapsed_times(read_times([7.0, 7.5, 8.0]), 4).tolist()
        [0.0, 0.5, 1.0, 1.5]
    """
    check_at_least("elapsed_times", "count", count, 1)
    steps = np.arange(count)
    if isinstance(timeline.times, np.ndarray):
        return timeline.step * steps
    pandas, step = _pandas(), timeline.step
    days = {"D": 1, "W": 7}.get(getattr(step, "name", "").split("-")[0])
    if days:
        return pandas.to_timedelta(days * step.n * steps, unit="D")
    try:
        return pandas.Timedelta(step) * steps
    except ValueError:
        return steps


def resample(series: ArrayLike, times: Any, every: str | float) -> Resampled:
    """Bring a series to regular times: the mean of what lies in each step.

    A step in which nothing was measured is NaN, that is missing: nothing is filled in.

    Args:
        series: `(channels, length)`, or `(length,)` for one channel.
        times: As for `read_times`, in any order and spacing.
        every: A pandas frequency such as "h", "15min" or "D" for dates (each named by the start of
            its step, or as the frequency does), a number for numbers (from the first time on).

    Returns:
        The series, its times, and a line such as "resampled hourly: 48 samples from 45, 3 missing".

    Raises:
        ValueError: If there are not as many times as samples, a time is missing, `every` is no
            step, or fewer than three steps come out.
        TypeError: If times or values are of another type.
        ImportError: If pandas is not installed.

    Example:
        >>> from ssltok.data import resample
        >>> found = resample([1.0, 3.0, 5.0, 7.0], [0.0, 0.5, 1.0, 3.2], 1.0)
        >>> found.series.tolist(), found.timeline.times.tolist()
        ([[2.0, 5.0, nan, 7.0]], [0.0, 1.0, 2.0, 3.0])
        >>> found.about
        'resampled every 1: 4 samples from 4, 1 missing'
    """
    values = np.atleast_2d(np.asarray(series, dtype=np.float64))
    stamps, pandas = _as_times("resample", times), _pandas()
    if values.ndim != 2 or values.shape[-1] != len(stamps):
        raise ValueError(
            f"resample: series must be (channels, length) with {len(stamps)} times; "
            f"got shape {values.shape}"
        )
    if isinstance(stamps, np.ndarray):
        if isinstance(every, str):
            raise ValueError(f"resample: every must be a number, as the times are; got {every!r}")
        check_positive("resample", "every", every)
        first = stamps.min()
        # A time that rounding puts just below a step's start belongs to that step.
        bins = np.floor((stamps - first) / every + TOLERANCE).astype(np.int64)
        means = pandas.DataFrame(values.T).groupby(bins).mean().reindex(range(bins.max() + 1))
        timeline = read_times(first + every * np.arange(len(means)), who="resample")
    else:
        try:
            offset = pandas.tseries.frequencies.to_offset(every)
            means = pandas.DataFrame(values.T, index=stamps).resample(offset).mean()
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"resample: every must be a frequency of pandas, such as 'h' or '15min'; "
                f"got {every!r} ({str(error).splitlines()[0]})"
            ) from error
        timeline = read_times(means.index, who="resample")
    result = np.ascontiguousarray(means.to_numpy().T)
    gone = int(np.isnan(result).all(axis=0).sum())
    about = f"resampled {timeline.about}: {len(means)} samples from {len(stamps)}, {gone} missing"
    return Resampled(result, timeline, about)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "read_times: dates need pandas; install it with: pip install 'ssltok[data]'"
        ) from error
    return pandas


def _as_times(who: str, times: Any) -> Any:
    """A `DatetimeIndex`, or a float64 array; nothing missing."""
    zoned = str(getattr(times, "dtype", "")).startswith("datetime64[") and hasattr(times, "array")
    array = np.asarray(times) if not zoned else np.empty(len(times), dtype="datetime64[ns]")
    if array.ndim != 1:
        raise ValueError(f"{who}: times must be one-dimensional; got shape {array.shape}")
    if array.dtype.kind in "iuf":
        numbers = array.astype(np.float64)
        if not np.isfinite(numbers).all():
            place = int(np.argmin(np.isfinite(numbers)))
            raise ValueError(
                f"{who}: every sample must have a time; got {numbers[place]} at {place}"
            )
        return numbers
    dates = (datetime.date, np.datetime64, type(None))  # a pandas time is a date, NaT too
    other = next((time for time in array if not isinstance(time, dates)), None)
    if array.dtype.kind not in "MO" or (array.dtype.kind == "O" and other is not None):
        raise TypeError(
            f"{who}: times must be dates or numbers; got {other!r} of type {type(other).__name__}"
        )
    try:
        index = _pandas().DatetimeIndex(times if zoned else array)
    except ValueError as error:
        raise ValueError(
            f"{who}: times must share one time zone (UTC serves all); got {error}"
        ) from error
    if index.hasnans:
        raise ValueError(
            f"{who}: every sample must have a time; got none at {int(np.argmax(index.isna()))}"
        )
    return index


def _frequency(index: Any) -> Any:
    """The offset that leads from each time to the next, checked, or None."""
    pandas = _pandas()
    name = pandas.infer_freq(index)
    if name is None:
        return None
    offset = pandas.tseries.frequencies.to_offset(name)
    if "bh" in name.lower():  # hours of work: nights are gaps
        return None
    grid = pandas.date_range(index[0], periods=len(index), freq=offset)
    return offset if grid.equals(index.as_unit(grid.unit)) else None


def _words(offset: Any) -> str:
    count, name = offset.n, offset.name.split("-")[0]
    if count == 1 and name in NAMES:
        return NAMES[name]
    unit = UNITS.get(name) or UNITS.get(name.strip("BSE"), name)
    return f"every {count} {unit}"
