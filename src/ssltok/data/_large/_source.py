"""Where series lie that do not fit into memory, and how to take some of them."""

import hashlib
import mmap
import os
import pathlib
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ssltok.data._upright import check_layout

__all__ = ["ArraySource", "Rows", "SeriesSource", "SubsetSource", "WindowSource", "file_facts"]

AHEAD = 2**24  # bytes
Rows = slice | NDArray[np.int64]


@runtime_checkable
class SeriesSource(Protocol):
    """Equal shapes of series in the order of their cases, of which any may be taken.

    Series that end early, and gaps, are NaN. Somebody else's source needs these five members and
    nothing more. A source travels to the processes that prepare batches, so it can be pickled.
    """

    @property
    def channels(self) -> int:
        """Channels of every series."""
        ...

    @property
    def length(self) -> int:
        """Samples of every series, padding included."""
        ...

    def __len__(self) -> int:
        """How many series there are."""
        ...

    def take(self, rows: Rows) -> NDArray[Any]:
        """These series, `(rows, channels, length)`, in their units and of any type of number.

        Args:
            rows: A slice without a step, or int64 indices in any order.
        """
        ...

    def files(self) -> tuple[pathlib.Path | None, dict[str, Any]]:
        """The file that the numbers come from, if one, and what else decides them, as JSON.

        With a file (it may be a folder of files, whose facts are in the dictionary), what one pass
        finds out is kept beside it. None says that the numbers are nowhere on disk, or may change
        in memory.
        """
        ...


class ArraySource:
    """Rows of an array, in memory or memory-mapped: `np.load("X.npy", mmap_mode="r")`.

    Nothing is copied but what is taken. Views work too: slices, transposed axes.

    Args:
        array: `(cases, channels, length)`, or `(cases, length)` for one channel.
        layout: `"channels_last"` for `(cases, length, channels)`.

    Raises:
        ValueError: If it has another rank, or no series.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import ArraySource
        >>> source = ArraySource(np.arange(24.0).reshape(2, 12))
        >>> len(source), source.channels, source.length, float(source.take(slice(1, 2))[0, 0, 0])
        (2, 1, 12, 12.0)
    """

    def __init__(self, array: NDArray[Any], *, layout: str | None = None) -> None:
        who = "ArraySource"
        check_layout(who, layout)
        if array.ndim not in (2, 3):
            raise ValueError(
                f"{who}: array must be (cases, channels, length) or (cases, length); "
                f"got shape {array.shape}"
            )
        self.array = array
        self._root, self._asked_for = _root(array), -1
        turned = array.mT if layout == "channels_last" and array.ndim == 3 else array
        self._rows: NDArray[Any] = turned[:, None] if array.ndim == 2 else turned
        if 0 in self._rows.shape:
            raise ValueError(f"{who}: array must hold series; got shape {array.shape}")

    @property
    def channels(self) -> int:
        """Channels of every series."""
        return int(self._rows.shape[1])

    @property
    def length(self) -> int:
        """Samples of every series."""
        return int(self._rows.shape[2])

    def __len__(self) -> int:
        """How many series there are."""
        return len(self._rows)

    def take(self, rows: Rows) -> NDArray[Any]:
        """These series, `(rows, channels, length)`; a slice shares the array's memory."""
        taken = np.asarray(self._rows[rows])
        if isinstance(rows, slice):
            self._read_ahead(taken)
        return taken

    def _read_ahead(self, taken: NDArray[Any]) -> None:
        """Ask the system for what follows, so that a walk through a file does not wait for it."""
        root = self._root
        if root is None or not taken.flags.c_contiguous or not hasattr(mmap, "MADV_WILLNEED"):
            return
        mapping: mmap.mmap = root._mmap  # type: ignore[attr-defined]
        begin = taken.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        part = max(begin, 0) // AHEAD
        if part != self._asked_for and part * AHEAD < len(mapping):
            self._asked_for = part
            mapping.madvise(mmap.MADV_WILLNEED, part * AHEAD,
                            min(2 * AHEAD, len(mapping) - part * AHEAD))  # fmt: skip

    def files(self) -> tuple[pathlib.Path | None, dict[str, Any]]:
        """The mapped file and which part of it; none for an array that can be written to."""
        root = self._root
        if root is None or root.filename is None or root.mode != "r":
            return None, {}
        rows = self._rows
        begin = rows.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        facts = {
            "dtype": rows.dtype.str,
            "shape": list(rows.shape),
            "strides": list(rows.strides),
            "begin": int(begin) + int(root.offset),
        }
        return pathlib.Path(root.filename), facts


class WindowSource:
    """Windows over a long series, cut when they are taken, so overlaps cost no memory.

    Args:
        series: `(channels, length)`, or `(length,)` for one channel; it may be memory-mapped.
        size: Samples of a window.
        stride: From the beginning of a window to that of the next.

    Raises:
        ValueError: If a size is less than 1, or the series is shorter than one window.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import WindowSource
        >>> source = WindowSource(np.arange(20.0), 8, 4)
        >>> len(source), float(source.take(slice(3, 4))[0, 0, 0])  # begin at 0, 4, 8, 12
        (4, 12.0)
    """

    def __init__(self, series: NDArray[Any], size: int, stride: int) -> None:
        who = "WindowSource"
        if series.ndim not in (1, 2):
            raise ValueError(
                f"{who}: series must be (channels, length) or (length,); got shape {series.shape}"
            )
        rows = series if series.ndim == 2 else series[None]
        if size < 1 or stride < 1 or rows.shape[1] < size or not len(rows):
            raise ValueError(
                f"{who}: size and stride must be >= 1, and size at most the length; "
                f"got {size}, {stride} and shape {series.shape}"
            )
        self.series, self.size, self.stride = rows, size, stride
        self._whole = ArraySource(rows[None])

    @property
    def channels(self) -> int:
        """Channels of every window."""
        return len(self.series)

    @property
    def length(self) -> int:
        """Samples of every window."""
        return self.size

    def __len__(self) -> int:
        """How many windows there are; samples behind the last are in none."""
        return int(self.series.shape[1] - self.size) // self.stride + 1

    def take(self, rows: Rows) -> NDArray[Any]:
        """These windows, `(rows, channels, size)`."""
        view = np.lib.stride_tricks.sliding_window_view(self.series, self.size, axis=1)
        windows = view[:, :: self.stride].swapaxes(0, 1)
        return np.ascontiguousarray(np.asarray(windows[rows]))

    def files(self) -> tuple[pathlib.Path | None, dict[str, Any]]:
        """The file of the long series, if one, and how it is cut."""
        file, facts = self._whole.files()
        return file, {**facts, "size": self.size, "stride": self.stride}


class SubsetSource:
    """Some rows of another source, such as those to train on.

    Args:
        source: Where the series are.
        rows: int64 indices, in the order that the rows are to have.

    Raises:
        ValueError: If there are none, or they are not places of the source.

    Example:
        >>> import numpy as np
        >>> from ssltok.data import ArraySource, SubsetSource
        >>> source = SubsetSource(ArraySource(np.arange(24.0).reshape(3, 8)), np.array([2, 0]))
        >>> len(source), source.take(slice(0, 2))[:, 0, 0].tolist()
        (2, [16.0, 0.0])
    """

    def __init__(self, source: SeriesSource, rows: NDArray[np.int64]) -> None:
        self.source, self.rows = source, np.asarray(rows, dtype=np.int64)
        if self.rows.ndim != 1 or not len(self.rows):
            raise ValueError(
                f"SubsetSource: rows must be indices, at least one; got shape {self.rows.shape}"
            )
        low, high = int(self.rows.min()), int(self.rows.max())
        if low < 0 or high >= len(source):
            raise ValueError(
                f"SubsetSource: rows must lie in [0, {len(source)}); got {low if low < 0 else high}"
            )
        self._run = bool((np.diff(self.rows) == 1).all())

    @property
    def channels(self) -> int:
        """Channels of every series."""
        return self.source.channels

    @property
    def length(self) -> int:
        """Samples of every series."""
        return self.source.length

    def __len__(self) -> int:
        """How many rows are taken."""
        return len(self.rows)

    def take(self, rows: Rows) -> NDArray[Any]:
        """These of the rows, `(rows, channels, length)`."""
        chosen = self.rows[rows]
        if self._run and isinstance(rows, slice) and len(chosen):
            return self.source.take(slice(int(chosen[0]), int(chosen[-1]) + 1))
        return self.source.take(chosen)

    def files(self) -> tuple[pathlib.Path | None, dict[str, Any]]:
        """The file of the source, and which rows."""
        file, facts = self.source.files()
        return file, {**facts, "rows": hashlib.sha256(self.rows.tobytes()).hexdigest()}


def file_facts(file: str | os.PathLike[str]) -> dict[str, int]:
    """What changes when a file is written, replaced or touched."""
    facts = os.stat(file)
    return {
        "size": facts.st_size,
        "mtime": facts.st_mtime_ns,
        "ctime": facts.st_ctime_ns,
        "inode": facts.st_ino,
    }


def _root(array: Any) -> np.memmap[Any, Any] | None:
    """The mapping whose memory an array shares; None where it shares no mapped one."""
    root = None
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and getattr(array, "_mmap", None) is not None:
            root = array
        array = array.base
    return root


def bytes_of(source: SeriesSource, rows: int | None = None) -> int:
    """Bytes of so many series as float32; of all by default."""
    cases = len(source) if rows is None else rows
    size: int = 4 * cases * source.channels * source.length
    return size
