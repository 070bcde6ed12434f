"""The lines of a text table: which hold rows, and how many cells each has."""

import bz2
import csv
import gzip
import lzma
import pathlib
import re
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ssltok.data._reading import Refusal

__all__ = ["BLANK", "OPENERS", "cells_of", "open_text", "rows_of", "widths_of"]

Ints = NDArray[np.int64]
BLANK = r"\s+"
CHUNK = 1 << 22  # bytes that are looked at together
OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
COMMENT = re.compile(r"\s*#(?!N/A|NA\b)")


def open_text(path: pathlib.Path, encoding: str) -> IO[str]:
    """A text, packed or not, its ends of lines as they are."""
    stream: IO[str] = OPENERS.get(path.suffix.lower(), open)(
        path, "rt", encoding=encoding, newline=""
    )
    return stream


def rows_of(stream: IO[str]) -> Iterator[tuple[int, str]]:
    """Lines that hold something, numbered from 1; comments are over where rows begin."""
    begun = False
    for number, line in enumerate(stream, start=1):
        if line.strip() and (begun or not COMMENT.match(line)):
            begun = True
            yield number, line.rstrip("\r\n")


def cells_of(line: str, separator: str) -> list[str]:
    """The cells of a line."""
    if separator == BLANK:
        return line.split()
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True))


def widths_of(
    path: pathlib.Path, encoding: str, separator: str, *, first: int
) -> tuple[Ints, Ints]:
    """Cells and number of every line that holds something, from line `first`."""
    simple = encoding in ("utf-8", "utf-8-sig", "ascii", "cp1252", "latin-1")
    if simple and separator != BLANK and ord(separator) < 128:
        counted = _counted(path, ord(separator), first)
        if counted is not None:
            return counted
    widths, lines = [], []
    with open_text(path, encoding) as stream:
        for number, line in rows_of(stream):
            if '"' in line and separator != BLANK:
                if line.count('"') % 2:
                    raise Refusal(
                        f"a quoted cell must end in its line; got an open one in line {number}"
                    )
                widths.append(len(cells_of(line, separator)))
            else:
                widths.append(len(line.split()) if separator == BLANK else
                              line.count(separator) + 1)  # fmt: skip
            lines.append(number)
    return np.array(widths), np.array(lines)


def _counted(path: pathlib.Path, separator: int, first: int) -> tuple[Ints, Ints] | None:
    """The same by counting bytes; None where quotes or odd lines need a closer look."""
    counts, sizes, rest = [], [], b""
    with OPENERS.get(path.suffix.lower(), open)(path, "rb") as stream:
        while True:
            chunk = stream.read(CHUNK)
            text = rest + (chunk or b"\n")
            end = text.rfind(b"\n") + 1
            rest, text = text[end:], text[:end]
            if b'"' in text or text.count(b"\r") != text.count(b"\r\n"):
                return None
            codes = np.frombuffer(text, dtype=np.uint8)
            ends = np.flatnonzero(codes == ord("\n"))
            starts = np.concatenate([[0], ends + 1])
            places = np.flatnonzero(codes == separator)
            counts.append(np.diff(np.searchsorted(places, starts)))
            sizes.append(
                np.diff(starts) - 1 - (codes[ends - 1] == ord("\r")) * (np.diff(starts) > 1)
            )
            if not chunk:
                break
    widths, lengths = np.concatenate(counts)[first - 1 :], np.concatenate(sizes)[first - 1 :]
    lines = np.flatnonzero(lengths > 0)
    if not (widths[lines] > 0).all():
        return None  # perhaps blanks only
    return widths[lines] + 1, lines + first
