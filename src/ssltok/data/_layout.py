"""What each column of a table is: decided where one answer is possible, refused elsewhere."""

from typing import NamedTuple

from ssltok.data._columns import (
    SHORTEST,
    Found,
    are_numbered,
    check_index,
    check_names,
    column_of,
    is_dated,
    is_key,
    is_worded,
    named_roles,
    refuse_index,
)  # fmt: skip
from ssltok.data._reading import ARRAYS, Layout, Reading, Refusal, choices, option
from ssltok.data._tables import Table

__all__ = ["Roles", "roles_of"]

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


def roles_of(table: Table, reading: Reading) -> Roles:
    """Decide what a table's rows and columns are.

    Raises:
        Refusal: If two readings are possible; it names the options that decide.
    """
    check_names(table)
    dropped = [column_of(table, "drop", name) for name in reading.drop]
    columns = [place for place in range(table.frame.shape[1]) if place not in dropped]
    named = named_roles(table, reading, columns)
    layout = reading.layout or _only_layout(table, named, reading)
    if layout in ARRAYS:
        raise Refusal(f"a table has no {option('layout', layout)}: that is for arrays")
    check = {"series_in_rows": _series, "time_in_rows": _times, "long": _long}[layout]
    roles = check(table, named, reading)
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


def _only_layout(table: Table, named: Found, reading: Reading) -> Layout:
    """The layout that a table without one must have."""
    time, label, identity = named.get("time"), named.get("label"), named.get("id")
    if time is not None and identity is not None and is_key(table, identity, time, named):
        alone = len(named.rest) + (named.get("value") is not None) <= 1
        return "long" if alone or named.get("channel") is not None else "time_in_rows"
    if time is not None:
        if label is not None and not _label_is_y(table, named):
            raise Refusal(
                f"rows with a time ({table.name(time)!r}) and a label ({table.name(label)!r}) may "
                f"be times or series: {choices(*ROWS)}"
            )
        if identity is not None and not is_worded(table, identity):
            refuse_index(table, identity)
        return "time_in_rows"
    check_index(table, named, reading)
    if label is not None or identity is not None:
        _check_y(table, named)
        if table.names is not None and len(named.rest) >= SHORTEST and are_numbered(
            [table.names[column] for column in named.rest]
        ):  # fmt: skip
            return "series_in_rows"
    rows, width = len(table.frame), len(named.rest)
    raise Refusal(
        f"a row must be a series or a time, and this table of {rows} x {width} can be either: "
        f"{choices(*ROWS)}"
    )


def _series(table: Table, named: Found, reading: Reading) -> Roles:
    time = named.get("time")
    if time is not None:
        raise Refusal(
            f"a row that is a series has no time of its own; got column {table.name(time)!r}: "
            f"{choices(('drop', table.name(time)), ('layout', 'time_in_rows'))}"
            + ("" if is_dated(table, time) else f"; or {option('time', '')} if it holds values")
        )
    _check_y(table, named)
    check_index(table, named, reading)
    wide = _wide(table, named)
    return Roles(
        "series_in_rows", wide, id=named.get("id"), label=named.get("label"),
        group=named.get("group"),
    )  # fmt: skip


def _times(table: Table, named: Found, reading: Reading) -> Roles:
    label, identity, time = named.get("label"), named.get("id"), named.get("time")
    values = _wide(table, named)
    if label is not None and "label" not in named.asked:
        only = not values and (identity is not None or time is not None)
        if only or (identity is None and table.name(label).lower() == "y"):
            values, label = sorted([*values, label]), None
        else:
            raise Refusal(
                f"column {table.name(label)!r} may be a label or a channel: "
                f"{choices(('label', ''), ('drop', table.name(label)))}"
                + ("" if identity is None else f"; or {option('label', table.name(label))}")
            )
    for role, column in (("label", label), ("group", named.get("group"))):
        if column is not None and identity is None and table.frame[column].nunique() > 1:
            raise Refusal(
                f"a {role} must belong to a whole series; got several in column "
                f"{table.name(column)!r} of one series: {choices(('drop', table.name(column)))}; "
                "or name the column that says which series a row is of, as id"
            )
    check_index(table, named, reading)
    doubtful = identity is not None and "id" not in named.asked and not is_worded(table, identity)
    if doubtful and time is not None and not is_key(table, identity or 0, time, named):
        refuse_index(table, identity or 0)
    return Roles("time_in_rows", values, time, identity, None, label, named.get("group"))


def _long(table: Table, named: Found, reading: Reading) -> Roles:
    values, channel, label = list(named.rest), named.get("channel"), named.get("label")
    if label is not None and "label" not in named.asked and not values:
        values, label = [label], None
    value = named.get("value")
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
    if named.get("id") is None and channel is None:
        raise Refusal(
            "a long table must have a column that says of which series, or of which channel, a "
            f"value is; got neither: {choices(('id', 'NAME'), ('channel', 'NAME'))}"
        )
    return Roles("long", values, named.get("time"), named.get("id"), channel, label,
                 named.get("group"))  # fmt: skip


def _label_is_y(table: Table, named: Found) -> bool:
    """`y` beside a time is a value, as in Prophet: a row that is a time has no label."""
    label = named.get("label")
    return "label" not in named.asked and label is not None and table.name(label).lower() == "y"


def _check_y(table: Table, named: Found) -> None:
    label = named.get("label")
    if label is None or "label" in named.asked or table.names is None:
        return
    names = {name.lower() for name in table.names}
    if table.names[label].lower() == "y" and names & {"x", "z"}:
        name = table.names[label]
        raise Refusal(
            f"column {name!r} beside {sorted(names & {'x', 'z'})} may be a label or a value: "
            f"{choices(('label', name), ('label', ''))}"
        )


def _wide(table: Table, named: Found) -> list[int]:
    """The columns of values, where a row holds several."""
    for role in ("value", "channel"):
        if role in named.asked and named.get(role) is not None:
            raise Refusal(f"{role} is for long tables: {choices(('layout', 'long'))}")
    back = [c for role in ("value", "channel") if (c := named.get(role)) is not None]
    return sorted([*named.rest, *back])
