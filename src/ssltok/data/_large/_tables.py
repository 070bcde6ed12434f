"""Series in parquet and Arrow files: one row a series, read by pyarrow, a few at a time."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssltok.data._large._source import Rows, file_facts

__all__ = ["TableSource"]

ENDINGS = (".parquet", ".arrow", ".feather", ".ipc")


class TableSource:
    """Rows of parquet or Arrow (Feather) files, each row a series, through pyarrow.

    A column that holds lists is a channel; columns of single numbers are the samples of one
    channel, in their order. An Arrow file is memory-mapped, and any row is at hand. Of parquet a
    whole row group is read for a row in it, so write groups of few rows, or convert: see "Larger
    than memory" in the guides. Nulls and NaN are missing; lists that are shorter than the longest
    end early.

    Args:
        path: A file, or a folder of files of one schema, taken in the order of their names.
        columns: The columns that are channels, or the samples; None takes all that hold numbers
            or lists of them.

    Raises:
        FileNotFoundError: If there is no such file, or none in the folder.
        ValueError: If files differ in their columns, columns mix lists and numbers, or none is
            left.
        ImportError: Without pyarrow, the extra `files`.

    Example:
        >>> import pyarrow as pa
        >>> from ssltok.data import TableSource
        >>> table = pa.table({"x": [[1.0, 2.0, 3.0], [4.0, 5.0]], "y": [[6.0], [7.0, 8.0, 9.0]]})
        >>> with pa.OSFile("doc.arrow", "wb") as f, pa.ipc.new_file(f, table.schema) as writer:
        ...     writer.write_table(table)
        >>> source = TableSource("doc.arrow")
        >>> len(source), source.channels, source.length
        (2, 2, 3)
        >>> source.take(slice(1, 2))[0].tolist()
        [[4.0, 5.0, nan], [7.0, 8.0, 9.0]]
        >>> import os; os.remove("doc.arrow")
    """

    def __init__(
        self, path: str | os.PathLike[str], *, columns: Sequence[str] | None = None
    ) -> None:
        self.path = pathlib.Path(path)
        self._files = _files_of(self.path)
        opened = [_open(file) for file in self._files]
        self.names: tuple[str, ...] = tuple(opened[0].schema.names)
        self.columns, self._lists = _columns_of(self.path, opened[0].schema, columns)
        for file, one in zip(self._files, opened, strict=True):
            if one.schema != opened[0].schema:
                raise ValueError(
                    f"TableSource: files must have the same columns; got others in {file.name}"
                )
        counts = [(file, group, rows) for file, one in enumerate(opened)
                  for group, rows in enumerate(one.groups)]  # fmt: skip
        self._parts = [(file, group) for file, group, _ in counts]
        self._ends = np.cumsum([rows for *_, rows in counts], dtype=np.int64)
        self._opened: dict[int, Any] = {}
        self._latest: tuple[int, NDArray[Any]] | None = None
        self._length = 0 if self._lists else len(self.columns)
        self._opened = dict(enumerate(opened))
        if self._lists and len(self):
            self._length = max(self._longest(part) for part in range(len(self._parts)))

    @property
    def lists(self) -> bool:
        """Whether a column is a channel, and not a sample."""
        return self._lists

    @property
    def channels(self) -> int:
        """Channels of every series."""
        return len(self.columns) if self._lists else 1

    @property
    def length(self) -> int:
        """Samples of the longest series."""
        return self._length

    def __len__(self) -> int:
        """How many rows there are."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self) -> dict[str, Any]:
        """Without open files: another process opens its own."""
        return vars(self) | {"_opened": {}, "_latest": None}

    def take(self, rows: Rows) -> NDArray[Any]:
        """These rows, `(rows, channels, length)`, float64 (float32 if all columns are)."""
        index = np.arange(len(self), dtype=np.int64)[rows] if isinstance(rows, slice) else rows
        parts = np.searchsorted(self._ends, index, side="right")
        taken: NDArray[Any] | None = None
        for part in np.unique(parts).tolist():
            here = parts == part
            first = int(self._ends[part - 1]) if part else 0
            values = self._group(part, index[here] - first)
            if taken is None:
                taken = np.empty((len(index), self.channels, self.length), dtype=values.dtype)
            taken[here] = values
        if taken is None:
            return np.empty((0, self.channels, self.length))
        return taken

    def column(self, name: str) -> list[Any]:
        """Another column, such as the labels, in the order of the rows; null is None.

        Raises:
            ValueError: If there is no such column, or a file is not what it was.
        """
        if name not in self.names:
            raise ValueError(
                f"TableSource: column must be one of {', '.join(self.names)}; got {name!r}"
            )
        values: list[Any] = []
        for file, group in self._parts:
            if file not in self._opened:
                self._opened[file] = _open(self._files[file])
            values += self._opened[file].read(group, [name]).column(0).to_pylist()
        return values

    def files(self) -> tuple[pathlib.Path | None, dict[str, Any]]:
        """The file, or the folder with the facts of each of its files."""
        facts: dict[str, Any] = {"columns": list(self.columns)}
        if self.path.is_dir():
            facts["files"] = [[file.name, file_facts(file)] for file in self._files]
        return self.path, facts

    def _table(self, part: int) -> Any:
        file, group = self._parts[part]
        if file not in self._opened:
            self._opened[file] = _open(self._files[file])
        return self._opened[file].read(group, list(self.columns))

    def _longest(self, part: int) -> int:
        import pyarrow.compute as pc

        table = self._table(part)
        values = [pc.max(pc.list_value_length(column)).as_py() for column in table.columns]
        return max((length or 0 for length in values), default=0)

    def _group(self, part: int, index: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of one group; that of parquet stays decoded until another is asked for."""
        file, _ = self._parts[part]
        if (file in self._opened and self._opened[file].mapped) or file not in self._opened:
            table = self._table(part)
            if self._opened[file].mapped:
                return self._dense(table.take(index))
        if self._latest is None or self._latest[0] != part:
            self._latest = None
            self._latest = (part, self._dense(self._table(part)))
        return self._latest[1][index]

    def _dense(self, table: Any) -> NDArray[Any]:
        """A table as `(rows, channels, length)`, NaN where nothing is."""
        if not self._lists:
            return np.stack([_numbers(c.combine_chunks()) for c in table.columns], axis=1)[:, None]
        channels = []
        for column in table.columns:
            chunk = column.combine_chunks()
            if hasattr(chunk, "chunks"):  # none, or several that do not fit into one
                chunk = chunk.chunks[0]
            lengths = np.asarray(chunk.value_lengths().fill_null(0), dtype=np.int64)
            flat = _numbers(chunk.flatten())
            rows = np.full((len(chunk), self.length), np.nan, dtype=flat.dtype)
            rows[np.arange(self.length) < lengths[:, None]] = flat
            channels.append(rows)
        return np.stack(channels, axis=1)


class _Opened:
    """An open file: its schema, the rows of its groups, and how to read a group."""

    def __init__(self, file: pathlib.Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.mapped = file.suffix != ".parquet"
        if self.mapped:
            self.reader = pa.ipc.open_file(pa.memory_map(str(file)))
            self.schema = self.reader.schema
            count = self.reader.num_record_batches
            self.groups = [self.reader.get_batch(k).num_rows for k in range(count)]
        else:
            self.reader = pq.ParquetFile(file, memory_map=True)
            self.schema = self.reader.schema_arrow
            about = self.reader.metadata
            self.groups = [about.row_group(k).num_rows for k in range(about.num_row_groups)]

    def read(self, group: int, columns: list[str]) -> Any:
        import pyarrow as pa

        if self.mapped:
            return pa.Table.from_batches([self.reader.get_batch(group)]).select(columns)
        return self.reader.read_row_group(group, columns=columns).select(columns)


def _open(file: pathlib.Path) -> _Opened:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ImportError(
            "TableSource: pyarrow must be installed; got none; pip install 'ssltok[files]'"
        ) from error
    try:
        return _Opened(file)
    except (pa.ArrowException, OSError) as error:
        line = str(error).strip().splitlines()[0]
        raise ValueError(f"TableSource: {file} must be a whole file; got {line}") from error


def _files_of(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in ENDINGS)
    else:
        files = [path] if path.exists() else []
    if not files:
        raise FileNotFoundError(
            f"TableSource: path must be a file or a folder of {', '.join(ENDINGS)}; got {path}"
        )
    return files


def _columns_of(
    path: pathlib.Path, schema: Any, wanted: Sequence[str] | None
) -> tuple[tuple[str, ...], bool]:
    """The columns, and whether each holds lists."""
    import pyarrow.types as kinds

    def is_list(kind: Any) -> bool:
        return bool(
            kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
        )

    def is_number(kind: Any) -> bool:
        return bool(kinds.is_floating(kind) or kinds.is_integer(kind))

    fields = {field.name: field.type for field in schema}
    fit = [name for name, kind in fields.items()
           if is_number(kind.value_type if is_list(kind) else kind)]  # fmt: skip
    names = fit if wanted is None else list(wanted)
    odd = [name for name in names if name not in fit]
    if odd or not names:
        raise ValueError(
            f"TableSource: columns must hold numbers or lists of them; got {odd or 'none'} "
            f"in {path}, which has {', '.join(fields)}"
        )
    lists = {is_list(fields[name]) for name in names}
    if len(lists) > 1:
        raise ValueError(
            f"TableSource: columns must be all lists or all numbers; got both in {path}; "
            "say which by columns="
        )
    return tuple(names), lists.pop()


def _numbers(array: Any) -> NDArray[Any]:
    """An Arrow array as floats, null as NaN; float32 stays."""
    import pyarrow as pa

    if hasattr(array, "chunks"):
        array = pa.concat_arrays(array.chunks)
    floats = array if pa.types.is_float32(array.type) else array.cast(pa.float64())
    values: NDArray[Any] = floats.to_numpy(zero_copy_only=False)
    return values
