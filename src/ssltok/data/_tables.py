"""Tables by the libraries that know them: pandas, and pyarrow and openpyxl behind it."""

import importlib
import pathlib
import warnings
from typing import Any, NamedTuple

import numpy as np

from ssltok.data._reading import MISSING, ROLES, Reading, Refusal, choices
from ssltok.data._text import TextForm, has_header, text_form, undecodable

__all__ = ["Table", "frame_table", "need", "numbers", "read_table", "text_of"]

TEXTS = (".csv", ".tsv", ".txt")
BINARY = (".parquet", ".feather", ".arrow", ".xlsx")
LABELS = ("label", "labels", "class", "target", "y", "class_label", "classlabel")
TIMES = (
    "time", "times", "timestamp", "timestamps", "datetime", "date", "ds", "t", "date_time",
    "epoch", "reading_id", "utc",
)  # fmt: skip
IDS = ("id", "unique_id", "series_id", "case_id", "item_id", "series", "case")
EXTRA = {"pandas": "data", "narwhals": "data", "sktime": "data"}


class Table(NamedTuple):
    """Columns numbered from 0, and what is known of them.

    `names` is None where the table has no header. `lines` are the numbers of the lines that the
    rows stood in, None where rows are counted from 1. `short` are the cells and the line of the
    shortest row, where rows are unequal. `form` is how a text was cut.
    """

    frame: Any
    names: list[str] | None
    lines: Any = None
    short: tuple[int, int] | None = None
    form: TextForm | None = None

    def place(self, row: int, column: int | None = None) -> str:
        """Where a cell is, in words."""
        line = f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"
        return line if column is None else f"{line}, column {self.name(column)!r}"

    def name(self, column: int) -> str:
        """The name of a column, or its number in a table without names."""
        return str(column) if self.names is None else self.names[column]


def need(module: str) -> Any:
    """An optional library, or an ImportError that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = EXTRA.get(module.partition(".")[0], "files")
        raise MissingLibraryError(
            f"load_dataset: needs {module.partition('.')[0]}; install it with: "
            f"pip install 'ssltok[{extra}]'"
        ) from error


class MissingLibraryError(ImportError):
    """An optional library is not installed."""


def read_table(path: pathlib.Path, reading: Reading) -> Table:
    """Read a table of any kind, its columns numbered."""
    ending = path.suffix.lower()
    if ending == ".xlsx":
        return _read_excel(path, reading)
    if ending in BINARY:
        return _read_arrow(path, reading)
    return _read_text(path, reading)


def frame_table(frame: Any) -> Table:
    """A table of a pandas data frame: an index that counts no rows becomes a column."""
    pandas = need("pandas")
    plain = isinstance(frame.index, pandas.RangeIndex) and frame.index.name is None
    if not plain:
        frame = frame.reset_index(names=[str(n or "") for n in frame.index.names])
    names = [str(name).strip() for name in frame.columns]
    return _without_empty(Table(frame.set_axis(range(len(names)), axis=1), names))


def numbers(table: Table, columns: list[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The columns as float64 `(rows, columns)`; a cell that is no number is named."""
    types = need("pandas").api.types
    values = np.empty((len(table.frame), len(columns)))
    for place, column in enumerate(columns):
        data = table.frame[column]
        if types.is_numeric_dtype(data) and not types.is_bool_dtype(data):
            if types.is_complex_dtype(data):
                raise Refusal(f"must hold real numbers; got complex ones in {table.name(column)!r}")
            values[:, place] = data.to_numpy(dtype=np.float64, na_value=np.nan)
            if types.is_integer_dtype(data):
                _check_digits(table, column, values[:, place])
        else:
            values[:, place] = _converted(table, column)
    return values


def _check_digits(table: Table, column: int, values: np.ndarray[Any, Any]) -> None:
    """Refuse whole numbers that float64 rounds."""
    for row in np.flatnonzero(np.abs(values) >= 2.0**53).tolist():
        cell = int(table.frame[column].iloc[row])
        if int(values[row]) != cell:
            raise Refusal(
                "cells must be numbers that float64 holds, whole ones up to 2**53 among them; "
                f"got {cell} in {table.place(row, column)}: subtract their level"
            )


def _converted(table: Table, column: int) -> Any:
    """Numbers of a column that holds other things too, all of which must be missing."""
    pandas, data = need("pandas"), table.frame[column]
    converted = pandas.to_numeric(data.astype(object), errors="coerce")
    truth = data.map(lambda cell: isinstance(cell, bool | np.bool_)).astype(bool)
    dated = pandas.api.types.is_datetime64_any_dtype(data)
    bad = np.flatnonzero((converted.isna() & data.notna()) | truth | dated)
    if len(bad):
        first, where = data.iloc[bad[0]], table.place(int(bad[0]), column)
        if isinstance(first, list | tuple | dict | np.ndarray):
            raise Refusal(
                f"cells must be numbers; got a {type(first).__name__} in {where}: a file whose "
                "cells are whole series is read by load_source, or --source True"
            )
        cell = str(first)
        raise Refusal(
            f"cells must be numbers; got {cell!r} in {where}: "
            f"{choices(('missing', cell), ('drop', table.name(column)))}, "
            "if the cell, or the column, holds no value"
        )
    return converted.to_numpy(dtype=np.float64, na_value=np.nan)


def text_of(column: Any) -> list[Any]:
    """Labels or names of a column, None where missing, as Python's own types."""
    return [
        None if missing else value.item() if isinstance(value, np.generic) else value
        for value, missing in zip(column.tolist(), column.isna(), strict=True)
    ]


def _read_text(path: pathlib.Path, reading: Reading) -> Table:
    pandas = need("pandas")
    form = text_form(path, reading)
    kept_as_text = {
        place: str
        for place, name in enumerate(form.names or map(str, range(form.columns)))
        if _is_role(name, place - form.columns, reading, headed=form.names is not None)
    }
    options = {
        "sep": form.separator, "header": None, "names": range(form.columns),
        "skiprows": form.skipped, "na_values": [*MISSING, *reading.missing],
        "keep_default_na": False, "decimal": reading.decimal, "encoding": form.encoding,
        "skipinitialspace": True, "index_col": False, "dtype": kept_as_text or None,
        "low_memory": False,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)  # it leaves cells out
        try:
            frame = pandas.read_csv(path, **options)
        except UnicodeError as error:
            raise undecodable(form.encoding, error) from error
    if len(frame) != len(form.lines):
        raise Refusal(f"must hold {len(form.lines)} rows, as it has lines; got {len(frame)}")
    return _without_empty(Table(frame, form.names, form.lines, form.short, form))


def _is_role(name: str, from_end: int, reading: Reading, *, headed: bool) -> bool:
    """Whether a column holds words even where they look like numbers."""
    asked = [getattr(reading, role) for role in ROLES if role not in ("time", "value")]
    if name in asked or (not headed and str(from_end) in asked):
        return True
    if not headed:
        return False
    low = name.lower()
    return (low in LABELS and low != "y" and reading.label is None) or (
        low in IDS and reading.id is None
    )


def _read_arrow(path: pathlib.Path, reading: Reading) -> Table:
    pandas, _ = need("pandas"), need("pyarrow")
    read = pandas.read_parquet if path.suffix.lower() == ".parquet" else pandas.read_feather
    frame = read(path)
    if reading.missing:
        frame = frame.replace(list(reading.missing), np.nan)
    return frame_table(frame)


def _read_excel(path: pathlib.Path, reading: Reading) -> Table:
    pandas, _ = need("pandas"), need("openpyxl")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl warns of styles that it leaves out
        sheets = pandas.read_excel(
            path, sheet_name=None, header=None, na_values=[*MISSING, *reading.missing],
            keep_default_na=False, dtype=object,
        )  # fmt: skip
    filled = {name: sheet for name, sheet in sheets.items() if sheet.size}
    if reading.sheet is not None and reading.sheet not in sheets:
        raise Refusal(f"sheet must be one of {list(sheets)}; got {reading.sheet!r}")
    if reading.sheet is None and len(filled) != 1:
        raise Refusal(
            f"must hold one filled sheet; got {list(filled)}"
            + (f": {choices(*(('sheet', name) for name in list(filled)[:2]))}" if filled else "")
        )
    sheet = sheets[reading.sheet] if reading.sheet is not None else next(iter(filled.values()))
    rows = [["" if cell != cell else str(cell) for cell in row] for row in sheet.head(50).values]
    names = [cell.strip() for cell in rows[0]] if has_header(rows, reading) else None
    if names is not None:
        sheet = sheet.iloc[1:].reset_index(drop=True)
    sheet = sheet.set_axis(range(sheet.shape[1]), axis=1).infer_objects()
    lines = np.arange(len(sheet)) + 1 + (names is not None)
    return _without_empty(Table(sheet, names, lines))


def _without_empty(table: Table) -> Table:
    """Leave out columns at the end that have neither a name nor a value."""
    width = table.frame.shape[1]
    while width > 1 and (table.names is None or not table.names[width - 1]):
        if not table.frame[width - 1].isna().all():
            break
        width -= 1
    names = None if table.names is None else table.names[:width]
    whole = width == table.frame.shape[1]
    frame = table.frame if whole else table.frame[list(range(width))]
    return table._replace(frame=frame, names=names)
