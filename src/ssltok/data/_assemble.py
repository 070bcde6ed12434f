"""A table whose columns are known becomes series, labels, times, and a line that says so."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssltok.data._layout import Roles
from ssltok.data._reading import Reading, Refusal, choices
from ssltok.data._tables import Table, need, numbers, text_of

__all__ = ["Part", "assemble", "cut", "parse_times", "spacing"]

Floats = NDArray[np.float64]
DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%m.%d.%Y", "%Y/%m/%d",
        "%Y.%m.%d", "%d/%m/%y", "%m/%d/%y")  # fmt: skip
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f")
UNITS = (
    (86400.0, "daily", "day"), (3600.0, "hourly", "h"), (60.0, "every minute", "min"),
    (1.0, "every second", "s"),
)  # fmt: skip


class Part(NamedTuple):
    """What one file holds.

    `series` is an array `(cases, length)` or `(cases, channels, length)`, or a list of
    `(channels, length)` where lengths differ.
    """

    series: Any
    labels: list[Any] | None
    groups: list[Any] | None = None
    channels: tuple[str, ...] = ()
    times: Any = None
    about: str = ""


def assemble(table: Table, roles: Roles, reading: Reading) -> Part:
    """The series of a table."""
    labels = None if roles.label is None else text_of(table.frame[roles.label])
    groups = None if roles.group is None else text_of(table.frame[roles.group])
    if roles.layout == "series_in_rows":
        values = numbers(table, roles.values)
        if labels is not None and _are_targets(labels):
            name = table.name(roles.label or 0)
            raise Refusal(
                f"labels must be classes; got {len(labels)} different numbers in column {name!r}: "
                f"{choices(('drop', name))}"
            )
        names = None if roles.id is None else text_of(table.frame[roles.id])
        if groups is None and names is not None and (
            reading.window is not None or len(set(names)) < len(names)
        ):  # fmt: skip
            groups = names
        rows = cut([row[None] for row in values], labels, groups, reading) if reading.window else (
            values, labels, groups, "")  # fmt: skip
        return Part(rows[0], rows[1], rows[2], (), None, rows[3])
    build = _rows if roles.layout == "time_in_rows" else _long
    series, times, names, first = build(table, roles, reading)
    channels = tuple(names)
    labels = _of_series(table, roles.label, "label", first, labels)
    groups = _of_series(table, roles.group, "group", first, groups)
    if roles.id is not None and groups is None:
        groups = [text_of(table.frame[roles.id].iloc[[rows[0]]])[0] for rows in first]
    rhythm = spacing(times[0]) if len(times) == 1 and times[0] is not None else ""
    short = [one.shape[1] for one in series]
    about = (
        f"{len(series)} series of {_range(short)} times" if roles.id is not None
        else f"{short[0]} times"
    ) + f" x {len(channels)} channel{'s' * (len(channels) > 1)} ({_few(channels)})"  # fmt: skip
    about += f", {rhythm}" if rhythm else ""
    missing = sum(int(np.isnan(one).sum()) for one in series)
    about += f", {missing} values missing" if missing else ""
    about += ", no label" if labels is None else f", {len(set(labels))} labels"
    shaped, labels, groups, windows = cut(series, labels, groups, reading)
    return Part(
        shaped, labels, groups if roles.id is not None or roles.group is not None else None,
        channels, times[0] if len(times) == 1 else None, about + windows,
    )  # fmt: skip


def cut(
    series: Sequence[Any], labels: list[Any] | None, groups: list[Any] | None, reading: Reading
) -> tuple[Any, list[Any] | None, list[Any] | None, str]:
    """Windows of every series, or the series as they are; what was cut is said in words."""
    if reading.window is None:
        equal = len({one.shape for one in series}) == 1
        return np.stack(series) if equal else list(series), labels, groups, ""
    size, stride = reading.window, reading.stride or reading.window
    pieces, index, left = [], [], 0
    for number, padded in enumerate(series):
        known = np.flatnonzero(~np.isnan(padded).all(axis=0))
        one = padded[:, : known[-1] + 1] if len(known) else padded
        if one.shape[-1] < size:
            raise Refusal(
                f"window must be no longer than the shortest series; got {size} for "
                f"{one.shape[-1]} samples"
            )
        views = np.lib.stride_tricks.sliding_window_view(one, size, axis=-1)[..., ::stride, :]
        pieces.append(np.moveaxis(views, -2, 0))
        index += [number] * views.shape[-2]
        left += one.shape[-1] - size - stride * (views.shape[-2] - 1)
    said = f"; {len(index)} windows of {size} every {stride}"
    said += f" ({left} samples at the end in none)" if left else ""
    by_window = [None if of is None else [of[i] for i in index] for of in (labels, groups)]
    return np.concatenate(pieces), by_window[0], by_window[1], said


def parse_times(table: Table, column: int, reading_format: str | None) -> Any:
    """Times as datetime64 in UTC without a zone, or numbers; refused where days may be months."""
    pandas, data = need("pandas"), table.frame[column]
    if data.isna().any():
        place = table.place(int(np.flatnonzero(data.isna())[0]), column)
        raise Refusal(f"every row must have a time; got none in {place}")
    types = pandas.api.types
    if types.is_numeric_dtype(data) and reading_format is None:
        return data.to_numpy()
    if types.is_datetime64_any_dtype(data):
        return pandas.to_datetime(data, utc=True).dt.tz_localize(None).to_numpy()
    data = data.astype(str).str.strip()
    formats = _formats(data.iloc[0]) if reading_format is None else [reading_format]
    read = {}
    for form in formats:
        parsed = pandas.to_datetime(data, format=form, utc=True, errors="coerce")
        if not parsed.isna().any():
            read[form] = parsed.dt.tz_localize(None).to_numpy()
    rising = {form: t for form, t in read.items() if len(t) < 2 or (np.diff(t) > _zero(t)).all()}
    read = rising if len(rising) == 1 else read
    if len(read) > 1 and len({t.tobytes() for t in read.values()}) > 1:
        raise Refusal(
            f"times must be read in one way; got {data.iloc[0]!r} in column "
            f"{table.name(column)!r}: {choices(*(('time_format', form) for form in read))}"
        )
    if not read:
        raise Refusal(
            f"times must be written in one known way; got {data.iloc[0]!r} in column "
            f"{table.name(column)!r}: {choices(('time_format', '%d %b %Y %H:%M'))}, as they are"
        )
    return next(iter(read.values()))


def spacing(times: Any) -> str:
    """How far apart times are, in words: `hourly`, `every 15 min`, `monthly`, `irregular times`."""
    if len(times) < 2:
        return ""
    steps = np.diff(times)
    if np.issubdtype(times.dtype, np.datetime64):
        seconds = steps / np.timedelta64(1, "s")
        if (steps == steps[0]).all():
            for unit, word, short in UNITS:
                if seconds[0] % unit == 0:
                    count = int(seconds[0] // unit)
                    return word if count == 1 else f"every {count} {short}"
            return f"every {seconds[0]:g} s"
        months = times.astype("datetime64[M]").astype(int)
        apart = np.diff(months)
        inside = (times - times.astype("datetime64[M]")) / np.timedelta64(1, "s")
        if (apart == apart[0]).all() and apart[0] > 0 and (inside == inside[0]).all():
            return {1: "monthly", 3: "quarterly", 12: "yearly"}.get(
                int(apart[0]), f"every {apart[0]} months"
            )
    elif np.allclose(steps, steps[0], rtol=1e-6, atol=0):
        return f"a time every {steps[0]:g}"
    return "irregular times"


def _rows(
    table: Table, roles: Roles, reading: Reading
) -> tuple[list[Floats], list[Any], list[str], list[Any]]:
    values = numbers(table, roles.values)
    times = None if roles.time is None else parse_times(table, roles.time, reading.time_format)
    series, clocks, index = [], [], []
    for rows in _by_id(table, roles):
        if times is not None:
            back = np.flatnonzero(np.diff(times[rows]) <= _zero(times))
            if len(back):
                row = int(rows[back[0] + 1])
                raise Refusal(
                    f"times must rise from row to row; got {_shown(times[row])} after "
                    f"{_shown(times[rows[back[0]]])} in {table.place(row)}"
                    + ("" if roles.id is not None else "; where rows are of several series, "
                       f"{choices(('id', 'NAME'))}")
                )  # fmt: skip
        series.append(np.ascontiguousarray(values[rows].T))
        clocks.append(None if times is None else times[rows])
        index.append(rows)
    names = [table.name(column) for column in roles.values]
    return series, clocks, names, index


def _long(
    table: Table, roles: Roles, reading: Reading
) -> tuple[list[Floats], list[Any], list[str], list[Any]]:
    values = numbers(table, roles.values)[:, 0]
    names, channel = [table.name(roles.values[0])], np.zeros(len(values), dtype=np.int64)
    if roles.channel is not None:
        channel, found = need("pandas").factorize(table.frame[roles.channel])
        names = [str(name) for name in found]
        if (channel < 0).any():
            row = int(np.flatnonzero(channel < 0)[0])
            raise Refusal(f"every value must name its channel; got none in {table.place(row)}")
    times = None if roles.time is None else parse_times(table, roles.time, reading.time_format)
    series, clocks, index = [], [], []
    for rows in _by_id(table, roles):
        if times is None:
            order = np.zeros(len(rows), dtype=np.int64)
            for number in range(len(names)):
                inside = channel[rows] == number
                order[inside] = np.arange(inside.sum())
            clock, place = None, order
        else:
            clock, place = np.unique(times[rows], return_inverse=True)
        flat = channel[rows] * (place.max() + 1) + place
        _, first = np.unique(flat, return_index=True)
        if len(first) < len(rows):
            row = int(rows[np.setdiff1d(np.arange(len(rows)), first)[0]])
            raise Refusal(f"a series must have one value at a time; got two, in {table.place(row)}")
        one = np.full((len(names), int(place.max()) + 1), np.nan)
        one[channel[rows], place] = values[rows]
        series.append(one)
        clocks.append(clock)
        index.append(rows)
    return series, clocks, names, index


def _are_targets(labels: list[Any]) -> bool:
    """Numbers with a fraction, another for each of at least eight series."""
    texts = {str(label) for label in labels}
    if len(texts) < max(8, len(labels)):
        return False
    return all(re.fullmatch(r"[+-]?\d*[.,]\d+([eE][+-]?\d+)?", text) for text in texts)


def _by_id(table: Table, roles: Roles) -> Iterator[NDArray[np.int64]]:
    """The rows of each series, in the order in which the series come."""
    if roles.id is None:
        yield np.arange(len(table.frame))
        return
    codes, names = need("pandas").factorize(table.frame[roles.id])
    if (codes < 0).any():
        row = int(np.flatnonzero(codes < 0)[0])
        raise Refusal(f"every row must say which series it is of; got none in {table.place(row)}")
    order = np.argsort(codes, kind="stable")
    yield from np.split(order, np.cumsum(np.bincount(codes, minlength=len(names)))[:-1])


def _of_series(
    table: Table, column: int | None, role: str, index: list[Any], values: list[Any] | None
) -> list[Any] | None:
    """What a column says of each series, which must be one thing."""
    if values is None or column is None:
        return None
    result = []
    for rows in index:
        several = {values[row] for row in rows}
        if len(several) > 1:
            raise Refusal(
                f"a series must have one {role}; got {sorted(map(str, several))[:3]} in column "
                f"{table.name(column)!r}, near {table.place(int(rows[0]))}"
            )
        result.append(several.pop())
    return result


def _formats(text: str) -> list[str]:
    if re.match(r"\d{4}-\d", text):
        return ["ISO8601"]
    return [day + clock for day in DAYS for clock in CLOCKS]


def _zero(times: Any) -> Any:
    return np.timedelta64(0) if np.issubdtype(times.dtype, np.datetime64) else 0


def _shown(time: Any) -> str:
    return str(time).removesuffix(".000000000").removesuffix(".000000").replace("T", " ")


def _few(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return ", ".join(names)
    return f"{names[0]}..{names[-1]}"


def _range(lengths: Sequence[int]) -> str:
    low, high = min(lengths), max(lengths)
    return str(low) if low == high else f"{low} to {high}"
