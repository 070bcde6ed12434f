"""What one pass found out, beside the data: read again only where the data are surely the same."""

import hashlib
import io
import json
import pathlib
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssltok._shared.moments import Moments
from ssltok._shared.outputs import new_file
from ssltok.data._large._source import SeriesSource, file_facts

__all__ = ["Statistics", "facts_of", "read_side_file", "side_file", "write_side_file"]

MARKER = b"ssltok statistics 1\n"  # the number is that of the format
TICK = 0.05  # seconds: two writes within one may leave the same time
COARSE = 2.0  # where the file system counts whole seconds


class Statistics(NamedTuple):
    """What one pass finds out.

    Attributes:
        moments: Facts of each channel's real values: how many, their mean, spread and range.
        offset: As in `SeriesSet`.
        lengths: int64 `(cases,)`, a single number repeated where all are alike.
        gaps: Whether a value is missing somewhere.
        digest: A hash of what was read.
    """

    moments: Moments
    offset: Tensor
    lengths: Tensor
    gaps: bool
    digest: str


def side_file(source: SeriesSource) -> pathlib.Path | None:
    """Where the statistics of a source are kept; None where they are not."""
    file, _ = source.files()
    return None if file is None else file.with_name(f"{file.name}.ssltok")


def facts_of(source: SeriesSource) -> dict[str, Any]:
    """What must be equal for statistics to be those of a source."""
    file, facts = source.files()
    shape = [len(source), source.channels, source.length]
    known = {} if file is None else file_facts(file)
    return json.loads(json.dumps({"kind": type(source).__name__, "shape": shape, **facts, **known}))  # type: ignore[no-any-return]


def read_side_file(source: SeriesSource) -> Statistics | None:
    """The statistics of an earlier pass; None where there are none to be trusted.

    They are trusted if the file is ours, whole, of these facts (size, times of the last change,
    inode, and how the numbers lie in it), and the data were last written clearly before the pass.
    """
    place = side_file(source)
    if place is None or not place.is_file():
        return None
    try:
        head, payload = place.read_bytes().removeprefix(MARKER).split(b"\n", 1)
        about = json.loads(head)
        if not _is_ours(place) or about["facts"] != facts_of(source) or not about["settled"]:
            return None
        if hashlib.sha256(payload).hexdigest() != about["sha256"]:
            return None
        stream = io.BytesIO(payload)
        table, offset, lengths = (np.load(stream, allow_pickle=False) for _ in range(3))
        gaps, digest = bool(about["gaps"]), str(about["digest"])
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    moments = Moments(*(torch.from_numpy(part) for part in table))
    ends = torch.from_numpy(lengths.astype(np.int64))
    if len(moments.counts) != source.channels or len(ends) not in (1, len(source)):
        return None
    return Statistics(moments, torch.from_numpy(offset), ends.expand(len(source)), gaps, digest)


def write_side_file(source: SeriesSource, result: Statistics, facts: dict[str, Any]) -> None:
    """Keep statistics beside the data; a file there that is not ours is left alone.

    Args:
        source: Whose they are.
        result: The statistics.
        facts: Of the source, from before the pass.

    Warns:
        UserWarning: If nothing can be written there, so that the next start reads all again.
    """
    place = side_file(source)
    if place is None:
        return
    lengths = result.lengths.numpy()
    if (lengths == lengths[0]).all():
        lengths = lengths[:1]
    written = max(facts.get("mtime", 0), facts.get("ctime", 0))
    tick = TICK if written % 10**9 else COARSE
    payload = io.BytesIO()
    small = lengths.astype(np.min_scalar_type(int(lengths.max())))
    for part in (torch.stack(list(result.moments)).numpy(), result.offset.numpy(), small):
        np.save(payload, part)
    about = {
        "facts": facts,
        "settled": time.time_ns() - written > tick * 1e9,
        "gaps": result.gaps,
        "digest": result.digest,
        "sha256": hashlib.sha256(payload.getvalue()).hexdigest(),
    }
    try:
        if place.exists() and not _is_ours(place):
            raise FileExistsError(f"{place} is there and is not ours")
        with new_file(place) as stream:
            stream.write(MARKER + json.dumps(about).encode() + b"\n" + payload.getvalue())
    except OSError as error:
        warnings.warn(
            f"fit: statistics could not be kept beside the data, and the next start will read all "
            f"again: {error}",
            stacklevel=2,
        )


def _is_ours(place: pathlib.Path) -> bool:
    """Whether a file begins with our marker, whatever the rest of it."""
    with place.open("rb") as stream:
        return stream.read(len(MARKER)) == MARKER
