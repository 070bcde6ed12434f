"""A table whose columns are known becomes series, labels, times, and a line that says so."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssltok.data._layout import Roles
from ssltok.data._long._times import read_times
from ssltok.data._reading import Reading, Refusal, choices
from ssltok.data._tables import Table, need, numbers, text_of

__all__ = ["Part", "assemble", "parse_times"]

Floats = NDArray[np.float64]
DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%m.%d.%Y", "%Y/%m/%d",
        "%Y.%m.%d", "%d/%m/%y", "%m/%d/%y")  # fmt: skip
ZONE = r"\d:\d\d.*?\s?(Z|[+-]\d\d:?\d\d)$"
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f")


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
    ids: list[Any] | None = None
    time_format: str | None = None


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
        if groups is None and names is not None and len(set(names)) < len(names):
            groups = names  # rows of one name are series of one source
        return Part(values, labels, groups, ids=names)
    build, clock, form = _rows if roles.layout == "time_in_rows" else _long, None, None
    if roles.time is not None:
        clock, form = parse_times(table, roles.time, reading.time_format)
    series, times, names, first = build(table, roles, clock)
    channels = tuple(names)
    labels = _of_series(table, roles.label, "label", first, labels)
    groups = _of_series(table, roles.group, "group", first, groups)
    clocks = None if roles.time is None else [_in_zone(table, roles.time, t) for t in times]
    rhythm = _rhythm(clocks[0]) if clocks is not None and len(clocks) == 1 else ""
    short = [one.shape[1] for one in series]
    about = (
        f"{len(series)} series of {_range(short)} times" if roles.id is not None
        else f"{short[0]} times"
    ) + f" x {len(channels)} channel{'s' * (len(channels) > 1)} ({_few(channels)})"  # fmt: skip
    about += f", {rhythm}" if rhythm else ""
    missing = sum(int(np.isnan(one).sum()) for one in series)
    about += f", {missing} values missing" if missing else ""
    about += ", no label" if labels is None else f", {len(set(labels))} labels"
    ids = None
    if roles.id is not None:
        ids = [text_of(table.frame[roles.id].iloc[[rows[0]]])[0] for rows in first]
    return Part(
        np.stack(series) if len(set(short)) == 1 else series, labels, groups, channels,
        clocks[0] if clocks is not None and len(clocks) == 1 else clocks, about, ids, form,
    )  # fmt: skip


def parse_times(table: Table, column: int, reading_format: str | None) -> tuple[Any, str | None]:
    """Times as datetime64 in UTC without a zone, or numbers; and how they were written.

    Refused where days may be months.
    """
    pandas, data = need("pandas"), table.frame[column]
    if data.isna().any():
        place = table.place(int(np.flatnonzero(data.isna())[0]), column)
        raise Refusal(f"every row must have a time; got none in {place}")
    types = pandas.api.types
    if types.is_numeric_dtype(data) and reading_format is None:
        return data.to_numpy(), None
    if types.is_datetime64_any_dtype(data):
        return pandas.to_datetime(data, utc=True).dt.tz_localize(None).to_numpy(), reading_format
    data = data.astype(str).str.strip()
    formats = _formats(data.iloc[0]) if reading_format is None else [reading_format]
    read, odd = {}, 0  # the first time that no way reads
    for form in formats:
        parsed = pandas.to_datetime(data, format=form, utc=True, errors="coerce")
        if not parsed.isna().any():
            read[form] = parsed.dt.tz_localize(None).to_numpy()
        else:
            odd = max(odd, int(np.flatnonzero(parsed.isna())[0]))
    rising = {form: t for form, t in read.items() if len(t) < 2 or (np.diff(t) > _zero(t)).all()}
    read = rising if len(rising) == 1 else read
    if len(read) > 1 and len({t.tobytes() for t in read.values()}) > 1:
        raise Refusal(
            f"times must be read in one way; got {data.iloc[0]!r} in column "
            f"{table.name(column)!r}: {choices(*(('time_format', form) for form in read))}"
        )
    if not read and odd:
        raise Refusal(
            f"times must be written in one way; got {data.iloc[odd]!r} in "
            f"{table.place(odd, column)}, after {data.iloc[odd - 1]!r}"
        )
    if not read:
        raise Refusal(
            f"times must be written in one known way; got {data.iloc[0]!r} in column "
            f"{table.name(column)!r}: {choices(('time_format', '%d %b %Y %H:%M'))}, as they are"
        )
    form, times = next(iter(read.items()))
    return times, reading_format if form == "ISO8601" else form


def _rows(
    table: Table, roles: Roles, times: Any
) -> tuple[list[Floats], list[Any], list[str], list[Any]]:
    values = numbers(table, roles.values)
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
    table: Table, roles: Roles, times: Any
) -> tuple[list[Floats], list[Any], list[str], list[Any]]:
    values = numbers(table, roles.values)[:, 0]
    names, channel = [table.name(roles.values[0])], np.zeros(len(values), dtype=np.int64)
    if roles.channel is not None:
        channel, channel_names = need("pandas").factorize(table.frame[roles.channel])
        names = [str(name) for name in channel_names]
        if (channel < 0).any():
            row = int(np.flatnonzero(channel < 0)[0])
            raise Refusal(f"every value must name its channel; got none in {table.place(row)}")
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


def _rhythm(times: Any) -> str:
    """How far apart times are, in words."""
    try:
        return read_times(times).about if len(times) > 2 else ""
    except ValueError:
        return "irregular times"


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


def _in_zone(table: Table, column: int, times: Any) -> Any:
    """Times in the zone they were given in, UTC for texts of several; as they are without one."""
    pandas, data = need("pandas"), table.frame[column]
    if not np.issubdtype(times.dtype, np.datetime64):
        return times
    if pandas.api.types.is_datetime64_any_dtype(data):
        zone = data.dt.tz
    else:
        zones = data.astype(str).str.strip().str.extract(ZONE, expand=False).unique()
        named = not pandas.isna(zones[0])
        zone = pandas.Timestamp(f"2000-01-01T00{zones[0]}").tz if named else None
        zone = zone if len(zones) == 1 else "UTC"
    if zone is None:
        return times
    return pandas.DatetimeIndex(times).tz_localize("UTC").tz_convert(zone)


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
