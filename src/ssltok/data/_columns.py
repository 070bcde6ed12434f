"""The columns of a table: those that the caller names, and what names and cells say of others."""

import collections
import difflib
import itertools
import re
from typing import Any, NamedTuple

import numpy as np

from ssltok.data._reading import ROLES, Reading, Refusal, choices, option
from ssltok.data._tables import IDS, LABELS, TIMES, Table, need
from ssltok.data._text import DATE

__all__ = [
    "SHORTEST", "Found", "are_numbered", "check_index", "check_names", "column_of", "is_dated",
    "is_key", "is_worded", "named_roles", "refuse_index",
]  # fmt: skip

SHORTEST = 8  # samples of a series
VALUES = ("value", "values")
CHANNELS = ("channel", "variable", "kind", "dim_id", "dim", "sensor", "metric")
UNNAMED = re.compile(r"(unnamed: \d+(_level_\d+)?|index|level_\d+|__index_level_\d+__|rownames)?$")
UNIT = re.compile(r"[ _]*([(\[].*[)\]]|_(s|ms|us|ns|sec|seconds|utc))$")
NUMBERED = re.compile(r"(.*?)[ _.\-]?(\d+(\.\d+)?)$")


class Found(NamedTuple):
    """Columns by their roles; `asked` are the roles that the caller named."""

    columns: dict[str, int]
    asked: frozenset[str]
    rest: list[int]

    def get(self, role: str) -> int | None:
        return self.columns.get(role)


def named_roles(table: Table, reading: Reading, columns: list[int]) -> Found:
    """Columns whose role the caller names, and those whose own name says it."""
    asked = {
        role: column_of(table, role, name) for role in ROLES if (name := getattr(reading, role))
    }
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
            dated = [c for c in free if is_dated(table, c)]
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
    return Found(roles, named, [c for c in free if c not in roles.values()])


def column_of(table: Table, role: str, name: str) -> int:
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


def check_names(table: Table) -> None:
    """Refuse columns of one name, and columns without one but the first, which may be an index."""
    names = table.names or []
    twice = [name for name, count in collections.Counter(names).items() if name and count > 1]
    if twice:
        raise Refusal(f"columns must have different names; got {twice[0]!r} twice")
    empty = [place for place, name in enumerate(names) if not name]
    if empty and empty != [0]:
        raise Refusal(
            f"every column but the first must have a name; got none for column {empty[-1]}"
        )


def is_dated(table: Table, column: int) -> bool:
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


def is_key(table: Table, identity: int, time: int, named: Found) -> bool:
    """Whether times come again, but not within a series: then the id cannot be a value."""
    keys = [c for c in (identity, named.get("channel"), time) if c is not None]
    frame = table.frame
    return bool(frame[time].duplicated().any()) and not bool(frame.duplicated(keys).any())


def check_index(table: Table, named: Found, reading: Reading) -> None:
    """Refuse a column that may number the rows: by its name, or because it counts them."""
    identity = named.get("id")
    if table.form is not None and table.form.unnamed and 0 in named.rest:
        raise Refusal(
            "rows have one cell more than the header, whose first column has no name: "
            f"{choices(('drop', 'Unnamed: 0'), ('id', 'Unnamed: 0'), ('time', 'Unnamed: 0'))}"
        )
    if reading.id == "":
        return
    doubtful = identity is not None and "id" not in named.asked and named.get("time") is None
    if doubtful and not (is_worded(table, identity or 0) and table.frame[identity].is_unique):
        refuse_index(table, identity or 0)
    for column in named.rest:
        if table.names is not None and UNNAMED.fullmatch(table.names[column].lower()):
            refuse_index(table, column)
    alone = identity is None and named.get("time") is None
    if alone and named.rest and named.rest[0] == 0 and _counts(table, 0):
        refuse_index(table, 0)


def _counts(table: Table, column: int) -> bool:
    """Whether numbers go up or down evenly, or always up in many rows."""
    data = need("pandas").to_numeric(table.frame[column], errors="coerce")
    steps = np.diff(data.to_numpy(dtype=np.float64, na_value=np.nan))
    even = len(steps) > 1 and steps[0] != 0 and bool((steps == steps[0]).all())
    return even or (len(steps) >= SHORTEST and bool((steps > 0).all()))


def is_worded(table: Table, column: int) -> bool:
    """Whether no cell of a column is a number, so that it cannot hold values."""
    return bool(need("pandas").to_numeric(table.frame[column], errors="coerce").isna().all())


def are_numbered(names: list[str]) -> bool:
    """Whether names number samples: one word with rising numbers, rising numbers, or dates."""
    if all(DATE.match(name) for name in names):
        return True
    parts = [NUMBERED.fullmatch(name) for name in names]
    if not all(parts) or len({part[1] for part in parts if part}) != 1:
        return False
    values = [float(part[2]) for part in parts if part]
    return all(a < b for a, b in itertools.pairwise(values))


def refuse_index(table: Table, column: int) -> None:
    """Refuse a column that may count the rows or hold values, and name the options."""
    name = table.name(column) or "Unnamed: 0"
    raise Refusal(
        f"column {name!r} may number the rows or hold values: "
        f"{choices(('drop', name), ('id', name), ('time', name))}; "
        f"or {option('id', '')} if it holds values"
    )
