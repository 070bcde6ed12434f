"""What each column of a table is: decided where one answer is possible, refused elsewhere."""

import collections
import difflib
import itertools
import re
from typing import Any, NamedTuple

import numpy as np

from ssltok.data._reading import ROLES, Layout, Reading, Refusal, choices, option
from ssltok.data._tables import IDS, LABELS, TIMES, Table, need
from ssltok.data._text import DATE

__all__ = ["Roles", "roles_of"]

SHORTEST = 8  # samples of a series
VALUES = ("value", "values")
CHANNELS = ("channel", "variable", "kind", "dim_id", "dim", "sensor", "metric")
UNNAMED = re.compile(r"(unnamed: \d+(_level_\d+)?|index|level_\d+|__index_level_\d+__|rownames)?$")
UNIT = re.compile(r"[ _]*([(\[].*[)\]]|_(s|ms|us|ns|sec|seconds|utc))$")
NUMBERED = re.compile(r"(.*?)[ _.\-]?(\d+(\.\d+)?)$")
ROWS = (("layout", "series_in_rows"), ("layout", "time_in_rows"))


class Roles(NamedTuple):
    """The layout, and the columns by their places."""

    layout: Layout
    values: list[int]
    time: int | None = None
    id: int | None = None
    channel: int | None = None
    label: int | None = None
    group: int | None = None


class _Found(NamedTuple):
    """Columns by their roles; `asked` are the roles that the caller named."""

    columns: dict[str, int]
    asked: frozenset[str]
    rest: list[int]

    def get(self, role: str) -> int | None:
        return self.columns.get(role)


def roles_of(table: Table, reading: Reading) -> Roles:
    """Decide what a table's rows and columns are.

    Raises:
        Refusal: If two readings are possible; it names the options that decide.
    """
    _check_names(table)
    dropped = [_column(table, "drop", name) for name in reading.drop]
    columns = [place for place in range(table.frame.shape[1]) if place not in dropped]
    found = _named_roles(table, reading, columns)
    layout = reading.layout or _only_layout(table, found, reading)
    check = {"series_in_rows": _series, "time_in_rows": _times, "long": _long}[layout]
    roles = check(table, found, reading)
    if not roles.values:
        one = table.form is not None and reading.separator is None and table.frame.shape[1] == 1
        raise Refusal(
            "must hold a column of values; got none beside the others"
            + (f": {choices(('separator', ' '))} if blanks stand between cells" if one else "")
        )
    special = [c for c in (roles.time, roles.id, roles.channel, roles.label, roles.group)
               if c is not None]  # fmt: skip
    if table.short is not None:
        cells, line = table.short
        if layout != "series_in_rows":
            raise Refusal(
                f"every row must have the same cells, {table.frame.shape[1]}, where a row is no "
                f"whole series; got {cells} in line {line}"
            )
        if special and max(special) >= cells:
            raise Refusal(
                f"rows may be shorter than others only where column {table.name(max(special))!r} "
                f"comes before the values; got {cells} cells in line {line}"
            )
    return roles


def _only_layout(table: Table, found: _Found, reading: Reading) -> Layout:
    """The layout that a table without one must have."""
    time, label, identity = found.get("time"), found.get("label"), found.get("id")
    if time is not None and identity is not None and _is_key(table, identity, time, found):
        alone = len(found.rest) + (found.get("value") is not None) <= 1
        return "long" if alone or found.get("channel") is not None else "time_in_rows"
    if time is not None:
        if label is not None and not _label_is_y(table, found):
            raise Refusal(
                f"rows with a time ({table.name(time)!r}) and a label ({table.name(label)!r}) may "
                f"be times or series: {choices(*ROWS)}"
            )
        if identity is not None and not _worded(table, identity):
            _refuse_index(table, identity)
        return "time_in_rows"
    _check_index(table, found, reading)
    if label is not None or identity is not None:
        _check_y(table, found)
        if table.names is not None and len(found.rest) >= SHORTEST and _numbered(
            [table.names[column] for column in found.rest]
        ):  # fmt: skip
            return "series_in_rows"
    rows, width = len(table.frame), len(found.rest)
    raise Refusal(
        f"a row must be a series or a time, and this table of {rows} x {width} can be either: "
        f"{choices(*ROWS)}"
    )


def _series(table: Table, found: _Found, reading: Reading) -> Roles:
    time = found.get("time")
    if time is not None:
        raise Refusal(
            f"a row that is a series has no time of its own; got column {table.name(time)!r}: "
            f"{choices(('drop', table.name(time)), ('layout', 'time_in_rows'))}"
            + ("" if _dated(table, time) else f"; or {option('time', '')} if it holds values")
        )
    _check_y(table, found)
    _check_index(table, found, reading)
    wide = _wide(table, found)
    return Roles(
        "series_in_rows", wide, id=found.get("id"), label=found.get("label"),
        group=found.get("group"),
    )  # fmt: skip


def _times(table: Table, found: _Found, reading: Reading) -> Roles:
    label, identity, time = found.get("label"), found.get("id"), found.get("time")
    values = _wide(table, found)
    if label is not None and "label" not in found.asked:
        only = not values and (identity is not None or time is not None)
        if only or (identity is None and table.name(label).lower() == "y"):
            values, label = sorted([*values, label]), None
        else:
            raise Refusal(
                f"column {table.name(label)!r} may be a label or a channel: "
                f"{choices(('label', ''), ('drop', table.name(label)))}"
                + ("" if identity is None else f"; or {option('label', table.name(label))}")
            )
    for role, column in (("label", label), ("group", found.get("group"))):
        if column is not None and identity is None and table.frame[column].nunique() > 1:
            raise Refusal(
                f"a {role} must belong to a whole series; got several in column "
                f"{table.name(column)!r} of one series: {choices(('drop', table.name(column)))}; "
                "or name the column that says which series a row is of, as id"
            )
    _check_index(table, found, reading)
    doubtful = identity is not None and "id" not in found.asked and not _worded(table, identity)
    if doubtful and time is not None and not _is_key(table, identity or 0, time, found):
        _refuse_index(table, identity or 0)
    return Roles("time_in_rows", values, time, identity, None, label, found.get("group"))


def _long(table: Table, found: _Found, reading: Reading) -> Roles:
    values, channel, label = list(found.rest), found.get("channel"), found.get("label")
    if label is not None and "label" not in found.asked and not values:
        values, label = [label], None
    value = found.get("value")
    if value is not None and values:
        raise Refusal(
            f"a long table must have no further columns; got {[table.name(c) for c in values]}: "
            f"{choices(('drop', table.name(values[0])))}"
        )
    if value is not None:
        values = [value]
    if len(values) != 1:
        names = [table.name(column) for column in values]
        raise Refusal(
            f"a long table must have one column of values; got {names}: "
            f"{choices(*(('value', name) for name in names[:2]))}" if names else
            "a long table must have one column of values; got none"
        )  # fmt: skip
    if found.get("id") is None and channel is None:
        raise Refusal(
            "a long table must have a column that says of which series, or of which channel, a "
            f"value is; got neither: {choices(('id', 'NAME'), ('channel', 'NAME'))}"
        )
    return Roles("long", values, found.get("time"), found.get("id"), channel, label,
                 found.get("group"))  # fmt: skip


def _named_roles(table: Table, reading: Reading, columns: list[int]) -> _Found:
    """Columns whose role the caller names, and those whose own name says it."""
    asked = {role: _column(table, role, name) for role in ROLES if (name := getattr(reading, role))}
    roles = dict(asked)
    free = [column for column in columns if column not in asked.values()]
    words = {"label": LABELS, "id": IDS, "time": TIMES, "value": VALUES, "channel": CHANNELS}
    for role, names in words.items():
        if role in ("value", "channel") and "id" not in roles and reading.layout != "long":
            continue
        if role in asked or getattr(reading, role) == "":
            continue
        fits = [c for c in free if table.names is not None and UNIT.sub("", table.names[c].lower())
                in names]  # fmt: skip
        if role == "time":
            dated = [c for c in free if _dated(table, c)]
            fits = dated or fits
        if len(fits) > 1:
            options = [(role, table.name(column)) for column in fits[:2]]
            raise Refusal(
                f"one column may be the {role}; got {[table.name(c) for c in fits]}: "
                f"{choices(*options, (role, ''))}"
            )
        if fits:
            roles[role] = fits[0]
            free.remove(fits[0])
    named = frozenset(role for role in ROLES if getattr(reading, role) is not None)
    return _Found(roles, named, [c for c in free if c not in roles.values()])


def _column(table: Table, role: str, name: str) -> int:
    """The place of the column that a name or a number means."""
    width = table.frame.shape[1]
    if table.names is None:
        if not re.fullmatch(r"-?\d+", name) or not -width <= int(name) < width:
            raise Refusal(
                f"{role} must be a column's number, from 0 to {width - 1}, in a table without "
                f"names; got {name!r}"
            )
        place: int = int(name) % width
        return place
    if name in table.names:
        return table.names.index(name)
    if name.lower() == "unnamed: 0" and table.names[0] == "":
        return 0
    near = difflib.get_close_matches(name, table.names, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else f" among {table.names[:8]}"
    raise Refusal(f"{role} must name a column; got {name!r}{hint}")


def _check_names(table: Table) -> None:
    names = table.names or []
    twice = [name for name, count in collections.Counter(names).items() if name and count > 1]
    if twice:
        raise Refusal(f"columns must have different names; got {twice[0]!r} twice")
    empty = [place for place, name in enumerate(names) if not name]
    if empty and empty != [0]:
        raise Refusal(
            f"every column but the first must have a name; got none for column {empty[-1]}"
        )


def _dated(table: Table, column: int) -> bool:
    """Whether a column holds dates, as a type or as text."""
    data, types = table.frame[column], need("pandas").api.types
    if types.is_datetime64_any_dtype(data):
        return True
    if types.is_numeric_dtype(data) or types.is_bool_dtype(data):
        return False
    start = data.dropna().head(50)
    return len(start) > 0 and all(_is_date(cell) for cell in start)


def _is_date(cell: Any) -> bool:
    return hasattr(cell, "isoformat") or (isinstance(cell, str) and bool(DATE.match(cell.strip())))


def _is_key(table: Table, identity: int, time: int, found: _Found) -> bool:
    """Whether times come again, but not within a series: then the id cannot be a value."""
    keys = [c for c in (identity, found.get("channel"), time) if c is not None]
    frame = table.frame
    return bool(frame[time].duplicated().any()) and not bool(frame.duplicated(keys).any())


def _label_is_y(table: Table, found: _Found) -> bool:
    """`y` beside a time is a value, as in Prophet: a row that is a time has no label."""
    label = found.get("label")
    return "label" not in found.asked and label is not None and table.name(label).lower() == "y"


def _check_y(table: Table, found: _Found) -> None:
    label = found.get("label")
    if label is None or "label" in found.asked or table.names is None:
        return
    names = {name.lower() for name in table.names}
    if table.names[label].lower() == "y" and names & {"x", "z"}:
        name = table.names[label]
        raise Refusal(
            f"column {name!r} beside {sorted(names & {'x', 'z'})} may be a label or a value: "
            f"{choices(('label', name), ('label', ''))}"
        )


def _check_index(table: Table, found: _Found, reading: Reading) -> None:
    """Refuse a column that may number the rows: by its name, or because it counts them."""
    identity = found.get("id")
    if table.form is not None and table.form.unnamed and 0 in found.rest:
        raise Refusal(
            "rows have one cell more than the header, whose first column has no name: "
            f"{choices(('drop', 'Unnamed: 0'), ('id', 'Unnamed: 0'), ('time', 'Unnamed: 0'))}"
        )
    if reading.id == "":
        return
    doubtful = identity is not None and "id" not in found.asked and found.get("time") is None
    if doubtful and not (_worded(table, identity or 0) and table.frame[identity].is_unique):
        _refuse_index(table, identity or 0)
    for column in found.rest:
        if table.names is not None and UNNAMED.fullmatch(table.names[column].lower()):
            _refuse_index(table, column)
    alone = identity is None and found.get("time") is None
    if alone and found.rest and found.rest[0] == 0 and _counts(table, 0):
        _refuse_index(table, 0)


def _counts(table: Table, column: int) -> bool:
    """Whether numbers go up or down evenly, or always up in many rows."""
    data = need("pandas").to_numeric(table.frame[column], errors="coerce")
    steps = np.diff(data.to_numpy(dtype=np.float64, na_value=np.nan))
    even = len(steps) > 1 and steps[0] != 0 and bool((steps == steps[0]).all())
    return even or (len(steps) >= SHORTEST and bool((steps > 0).all()))


def _worded(table: Table, column: int) -> bool:
    """Whether no cell of a column is a number, so that it cannot hold values."""
    return bool(need("pandas").to_numeric(table.frame[column], errors="coerce").isna().all())


def _wide(table: Table, found: _Found) -> list[int]:
    """The columns of values, where a row holds several."""
    for role in ("value", "channel"):
        if role in found.asked and found.get(role) is not None:
            raise Refusal(f"{role} is for long tables: {choices(('layout', 'long'))}")
    back = [c for role in ("value", "channel") if (c := found.get(role)) is not None]
    return sorted([*found.rest, *back])


def _numbered(names: list[str]) -> bool:
    """Whether names number samples: one word with rising numbers, rising numbers, or dates."""
    if all(DATE.match(name) for name in names):
        return True
    parts = [NUMBERED.fullmatch(name) for name in names]
    if not all(parts) or len({part[1] for part in parts if part}) != 1:
        return False
    values = [float(part[2]) for part in parts if part]
    return all(a < b for a, b in itertools.pairwise(values))


def _refuse_index(table: Table, column: int) -> None:
    name = table.name(column) or "Unnamed: 0"
    raise Refusal(
        f"column {name!r} may number the rows or hold values: "
        f"{choices(('drop', name), ('id', name), ('time', name))}; "
        f"or {option('id', '')} if it holds values"
    )
