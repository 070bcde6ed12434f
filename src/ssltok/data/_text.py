"""Where a text table's cells and header are: found only where there is one answer."""

import pathlib
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssltok.data._lines import BLANK, OPENERS, cells_of, open_text, rows_of, widths_of
from ssltok.data._reading import MISSING, Reading, Refusal, choices, option

__all__ = ["TextForm", "has_header", "kind_of", "text_form", "undecodable"]

Ints = NDArray[np.int64]
HEAD = 100  # lines that are looked at
LOOKED_AT = 20_000  # cells of these
SEPARATORS = (",", ";", "\t", "|")
WORDS = {
    "label", "labels", "class", "target", "y", "time", "timestamp", "datetime", "date", "ds", "id",
    "index", "value", "class_label", "activity", "unique_id",
}  # fmt: skip
DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([ T,]+\d{1,2}:\d{2}.*)?$|\d{1,2}:\d{2}(:\d{2}.*)?$"
)
COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?$")
BYTE_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"),
)  # fmt: skip


class TextForm(NamedTuple):
    """How a text is cut into cells.

    `lines` are the numbers of the lines that hold rows; `short` are the cells and the number of the
    shortest line, where lines are unequal; `unnamed` is whether every row has a cell more than the
    header, as R writes row names.
    """

    encoding: str
    separator: str
    names: list[str] | None
    skipped: int
    columns: int
    lines: Ints
    short: tuple[int, int] | None
    unnamed: bool


def text_form(path: pathlib.Path, reading: Reading) -> TextForm:
    """Look at a text once: encoding, separator, header, and the cells of every line."""
    encoding = reading.encoding or _encoding(path)
    try:
        with open_text(path, encoding) as stream:
            head = [line for _, line in zip(range(HEAD), rows_of(stream), strict=False)]
        if not head:
            raise Refusal("must hold rows; got an empty file")
        separator = reading.separator or _separator([line for _, line in head], reading)
        if separator in (" ", r"\s+"):
            separator = BLANK
        widths, lines = widths_of(path, encoding, separator, first=head[0][0])
    except UnicodeError as error:
        raise undecodable(encoding, error) from error
    cells = [cells_of(line, separator) for _, line in head]
    headed = has_header(cells, reading)
    names = [cell.strip() for cell in cells[0]] if headed else None
    _check_widths(widths[headed:], lines[headed:], names)
    unnamed = names is not None and int(widths[1:].max()) > len(names)
    if names is not None and unnamed:
        ended = not any(row[-1].strip() for row in cells[1:])  # by a separator, every row
        names, unnamed = ([*names, ""], False) if ended else (["", *names], True)
    return TextForm(
        encoding, separator, names, int(lines[0]) - 1 + headed,
        int(widths.max()) if names is None else len(names), lines[headed:],
        _shortest(widths[headed:], lines[headed:], names), unnamed,
    )  # fmt: skip


def undecodable(encoding: str, error: UnicodeError) -> Refusal:
    """What is said of a text in another encoding."""
    return Refusal(
        f"must be text in {encoding}; got {error}; {choices(('encoding', 'cp1252'))} "
        "if it is Western European"
    )


def kind_of(cell: str, reading: Reading) -> str:
    """Whether a cell is a `number`, a `date`, `missing` or other `text`."""
    cell = cell.strip()
    if cell in MISSING or cell in reading.missing:
        return "missing"
    try:
        float(cell.replace(",", ".") if reading.decimal == "," else cell)
    except ValueError:
        return "date" if DATE.match(cell) else "text"
    return "number"


def has_header(rows: list[list[str]], reading: Reading) -> bool:
    """Whether the first row holds names; refused where it could hold data as well.

    A name is a text above numbers or dates. Numbers above numbers are data, but for those that
    count or rise as the names of columns do.
    """
    if reading.header is not None:
        return reading.header
    first, body = rows[0], rows[1 : 2 + LOOKED_AT // len(rows[0])]
    kinds = [kind_of(cell, reading) for cell in first]
    if len(first) < max(map(len, body), default=0) and "text" in kinds and "number" not in kinds:
        return True
    below = [_kind_below(body, place, reading) for place in range(len(first))]
    over = list(zip(kinds, below, first, strict=True))
    names = [c for k, b, c in over if (k, b) in {("text", "number"), ("text", "date"),
             ("number", "date"), ("date", "number")}]  # fmt: skip
    data = [c for k, b, c in over if (k, b) in {("number", "number"), ("date", "date")}]
    texts = [c.strip().lower() for k, b, c in over if (k, b) == ("text", "text")]
    dates = [c for k, b, c in over if (k, b) == ("date", "date")]
    counting = bool(data) and not dates and _like_names(data, body, reading)
    words = any(text in WORDS for text in texts)
    if not body:
        if set(kinds) <= {"number", "missing"}:
            return False
    elif (names or words) and (not data or counting):
        return True
    elif data and not names and not words and not counting and (
        not texts or all(_again(text, body) for text in texts)
    ):  # fmt: skip
        return False
    shown = ", ".join(first[:4]) + (", ..." if len(first) > 4 else "")
    raise Refusal(
        f"the first line must be either names or data; got {shown!r}, which may be both: "
        f"{choices(('header', True), ('header', False))}"
    )


def _kind_below(body: list[list[str]], place: int, reading: Reading) -> str:
    kinds = {kind_of(row[place], reading) for row in body if place < len(row)} - {"missing"}
    return kinds.pop() if len(kinds) == 1 else "text" if kinds else "missing"


def _like_names(cells: list[str], body: list[list[str]], reading: Reading) -> bool:
    """Numbers that may be the names of columns: they count, rise evenly, or are whole and alone."""
    values = _numbers(cells, reading)
    if len(values) == 1:
        return values[0] in (0, 1) or (cells[0].isdigit() and _mostly_broken(body, reading))
    steps = np.diff(values)
    even = (steps != 0).all() and (np.abs(steps - steps[0]) < 1e-9 * np.abs(values).max()).all()
    if even and (len(values) > 2 or (steps[0] == 1 and values[0] in (0, 1))):
        return True
    whole = all(re.fullmatch(r"\d+", cell.strip()) for cell in cells)
    if whole and len(set(cells)) == len(cells) and _mostly_broken(body, reading):
        return True
    second = _numbers(body[0], reading) if body else values
    return len(values) >= 8 and bool((steps > 0).all()) and not (np.diff(second) > 0).all()


def _numbers(cells: list[str], reading: Reading) -> NDArray[np.float64]:
    texts = [cell for cell in cells if kind_of(cell, reading) == "number"]
    return np.array([float(t.replace(",", ".") if reading.decimal == "," else t) for t in texts])


def _mostly_broken(body: list[list[str]], reading: Reading) -> bool:
    """Whether most numbers below have a fraction or an exponent written out."""
    cells = [c for row in body for c in row if kind_of(c, reading) == "number"]
    return 2 * sum(bool(re.search(r"[.,eE]", cell)) for cell in cells) > len(cells)


def _again(text: str, body: list[list[str]]) -> bool:
    return any(cell.strip().lower() == text for row in body for cell in row)


def _check_widths(widths: Ints, lines: Ints, names: list[str] | None) -> None:
    """No row has more cells than the header, but for the one cell of R's row names."""
    if not len(widths):
        raise Refusal("must hold rows below the header; got none")
    if names is not None:
        by_one = bool((widths == len(names) + 1).all())
        longer = np.flatnonzero(widths > len(names) + by_one)
        if len(longer):
            raise Refusal(
                f"a row must have no more cells than the header's {len(names)}; "
                f"got {widths[longer[0]]} in line {lines[longer[0]]}"
            )
    if widths.max() == 1 and (np.diff(lines) > 1).any():
        gap = int(lines[np.flatnonzero(np.diff(lines) > 1)[0]]) + 1
        raise Refusal(f"a table of one column must have no empty line inside; got line {gap}")


def _shortest(widths: Ints, lines: Ints, names: list[str] | None) -> tuple[int, int] | None:
    place = int(widths.argmin())
    full = widths.max() if names is None else len(names)
    return None if widths[place] >= full else (int(widths[place]), int(lines[place]))


def _encoding(path: pathlib.Path) -> str:
    with OPENERS.get(path.suffix.lower(), open)(path, "rb") as stream:
        start = stream.read(4096)
    for mark, name in BYTE_MARKS:
        if start.startswith(mark):
            return name
    if b"\0" in start:
        raise Refusal(f"must be text; got bytes of zero; {choices(('encoding', 'utf-16'))}")
    return "utf-8"


def _separator(lines: list[str], reading: Reading) -> str:
    """The one separator that cuts every line into the same cells, or the one in use."""
    plain = [re.sub(r'"[^"]*"', '""', line) for line in lines]
    used = [s for s in SEPARATORS if s in "".join(plain) and s != reading.decimal]
    if "," in used and len(used) > 1:
        others = [s for s in used if s != ","]
        parts = [c.strip() for s in others for line in plain for c in line.split(s) if "," in c]
        if parts and all(COMMA.match(part) for part in parts):
            raise Refusal(
                f"numbers must have one decimal mark; got {parts[0]!r} between {others[0]!r}: "
                f"{choices(('decimal', ','))} if it is a number, "
                f"{option('separator', ',')} if it is two"
            )
    even = [s for s in used if len({line.count(s) for line in plain}) == 1]
    if len(even) > 1 or (len(used) > 1 and not even):
        raise Refusal(
            "cells must be separated in one way; got "
            f"{' and '.join(map(repr, even or used))}: "
            f"{choices(*(('separator', s) for s in (even or used)[:2]))}"
        )
    if even or used:
        return (even or used)[0]
    counts = {len(line.split()) for line in plain}
    texts = [kind_of(cell, reading) for line in plain[1:] for cell in line.split()]
    several = max(counts) > 1 and set(texts) <= {"number", "missing"}
    return BLANK if several else ","
