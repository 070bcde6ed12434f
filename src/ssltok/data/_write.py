"""Series into a table of the form that a table came in."""

import os
import pathlib
import tempfile
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssltok.data._lines import OPENERS
from ssltok.data._reading import Reading
from ssltok.data._tables import BINARY, TEXTS, need

__all__ = ["write_table"]


def write_table(
    path: str | os.PathLike[str],
    series: NDArray[Any] | Sequence[ArrayLike],
    *,
    reading: Reading,
    channels: Sequence[str] = (),
    labels: Sequence[Hashable] | None = None,
    times: Any = None,
    ids: Sequence[Hashable] | None = None,
) -> None:
    """Write series as a table in the form that `reading` reads, whole or not at all.

    With the `reading` and `channels` of a `Dataset`, what comes out has the layout, header, column
    names, separator, decimal mark and encoding of what went in.

    Args:
        path: A `.csv`, `.tsv`, `.txt` (also `.gz`, `.bz2`, `.xz`), `.parquet`, `.feather` or
            `.xlsx` file; it is replaced.
        series: `(cases, channels, length)`, or a list of `(channels, length)`; NaN is a missing
            value, and a tail of NaN in every channel lies beyond the end.
        reading: The form; its layout must be given.
        channels: Their names; numbers from 0 by default.
        labels: One for each series, for the column `reading.label` (or `label`).
        times: The times of every series, `(length,)`, or a list of such; samples are numbered from
            0 where the layout needs a time and there is none. A pandas index keeps its zone.
        ids: The name of each series; numbers from 0 by default.

    Raises:
        ValueError: If the layout is missing or cannot hold the series, or counts differ.

    Example:
        >>> import tempfile, numpy as np
        >>> from ssltok.data import Reading, load_dataset, write_table
        >>> form = Reading(layout="time_in_rows", separator=";")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/x.csv"
        ...     write_table(file, np.ones((1, 2, 9)), reading=form, channels=("heat", "flow"))
        ...     load_dataset(file, reading=form).channels
        ('heat', 'flow')
    """
    target = pathlib.Path(path)
    arrays = [_real(_floats(one)) for one in series]
    names = list(channels) or [str(n) for n in range(len(arrays[0]))]
    frame = _frame(arrays, names, reading, labels, times, ids)
    packed = target.suffix.lower() in OPENERS
    ending = pathlib.Path(target.stem).suffix.lower() if packed else target.suffix.lower()
    if ending not in (TEXTS if packed else (*TEXTS, *BINARY)):
        raise ValueError(
            f"write_table: path must end in {', '.join((*TEXTS, *BINARY))}; got {path}"
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        fresh = pathlib.Path(folder) / target.name
        if ending in TEXTS:
            frame.to_csv(
                fresh, index=False, sep=reading.separator or ("\t" if ending == ".tsv" else ","),
                header=reading.header is not False, decimal=reading.decimal,
                encoding=reading.encoding or "utf-8", date_format=_date_format(reading),
            )  # fmt: skip
        elif ending == ".xlsx":
            need("openpyxl")
            for column in frame.select_dtypes("datetimetz"):  # Excel has no zones
                frame[column] = frame[column].astype(str)
            frame.to_excel(fresh, index=False, header=reading.header is not False,
                           sheet_name=reading.sheet or "Sheet1")  # fmt: skip
        else:
            need("pyarrow")
            (frame.to_parquet if ending == ".parquet" else frame.to_feather)(fresh)
        with open(fresh, "rb+") as stream:  # on the disk before it takes the name
            os.fsync(stream.fileno())
        os.replace(fresh, target)


def _frame(
    arrays: list[Any], names: list[str], reading: Reading, labels: Any, times: Any, ids: Any
) -> Any:
    pandas, layout = need("pandas"), reading.layout
    if layout is None:
        raise ValueError("write_table: reading must have a layout; got None")
    for what, values in (("labels", labels), ("ids", ids)):
        if values is not None and len(values) != len(arrays):
            raise ValueError(
                f"write_table: {what} must be one for each series; got {len(values)} for "
                f"{len(arrays)}"
            )
    if times is not None and isinstance(times, list) and len(times) != len(arrays):
        raise ValueError(
            f"write_table: times must be of every series, or a list with those of each; got "
            f"{len(times)} for {len(arrays)}"
        )
    if any(len(one) != len(names) for one in arrays):
        raise ValueError(
            f"write_table: series must have {len(names)} channels; got "
            f"{sorted({len(one) for one in arrays})}"
        )
    label = reading.label or "label"
    if layout == "series_in_rows":
        return _of_rows(arrays, reading, label, labels, ids)
    several = len(arrays) > 1 or ids is not None or bool(reading.id)
    clocks = _clocks(arrays, times)
    parts = []
    for number, (one, clock) in enumerate(zip(arrays, clocks, strict=True)):
        timed = reading.time
        if not timed and (clock is not None or several or layout == "long"):
            timed = _free("time", names)
        head: dict[str, Any] = {}
        if several or layout == "long":
            head[reading.id or _free("id", names)] = number if ids is None else ids[number]
        if timed:
            head[timed] = np.arange(one.shape[1]) if clock is None else clock
        tail = {} if labels is None else {label: labels[number]}
        if layout == "time_in_rows":
            columns = dict(zip(names, one, strict=True))
            parts.append(pandas.DataFrame({**head, **columns, **tail}))
            continue
        for name, row in zip(names, one, strict=True):
            channel = {reading.channel: name} if reading.channel else (
                {"channel": name} if len(names) > 1 else {})  # fmt: skip
            parts.append(
                pandas.DataFrame({**head, **channel, reading.value or "value": row, **tail})
            )
    return pandas.concat(parts, ignore_index=True)


def _of_rows(arrays: list[Any], reading: Reading, label: str, labels: Any, ids: Any) -> Any:
    if any(len(one) != 1 for one in arrays):
        raise ValueError(
            "write_table: a row holds one channel, as the layout is series_in_rows; "
            f"got {max(map(len, arrays))} channels: take layout='long'"
        )
    longest = max(one.shape[1] for one in arrays)
    padded = [np.pad(one[0], (0, longest - one.shape[1]), constant_values=np.nan) for one in arrays]
    frame = need("pandas").DataFrame(np.stack(padded), columns=[f"t{n}" for n in range(longest)])
    if labels is not None:
        place = 0 if reading.header is not False else min(int(reading.label or 0), longest)
        frame.insert(place, label, list(labels))
    if ids is not None:
        frame.insert(0, reading.id or "id", list(ids))
    return frame


def _clocks(arrays: list[Any], times: Any) -> list[Any]:
    if times is None:
        return [None] * len(arrays)
    clocks = list(times) if isinstance(times, list) else [times] * len(arrays)
    clocks = [clock if hasattr(clock, "array") else np.asarray(clock) for clock in clocks]
    for one, clock in zip(arrays, clocks, strict=True):
        if len(clock) < one.shape[1]:
            raise ValueError(
                f"write_table: every sample must have a time; got {len(clock)} for {one.shape[1]}"
            )
    return [clock[: one.shape[1]] for one, clock in zip(arrays, clocks, strict=True)]


def _real(one: Any) -> Any:
    """The samples before the end, `(channels, length)`."""
    one = one[None] if one.ndim == 1 else one
    known = np.flatnonzero(~np.isnan(one).all(axis=0))
    return one[:, : known[-1] + 1] if len(known) else one


def _floats(one: ArrayLike) -> NDArray[Any]:
    """In the type they have, as float32 is written with fewer digits."""
    array: NDArray[Any] = np.asarray(one)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _date_format(reading: Reading) -> str | None:
    return None if reading.time_format in (None, "ISO8601") else reading.time_format


def _free(word: str, names: Sequence[str]) -> str:
    """The word, longer where a column has it already."""
    while word in names:
        word += "_"
    return word
