"""Correctness and ratios on whatever device there is, in at most eight minutes.

    PYTHONPATH=. python benchmarks/gpu.py                         # cuda where there is one
    PYTHONPATH=. python benchmarks/gpu.py --device cpu --small    # that the script itself works

Needs the `dev` extra: the parts, their inputs and options are those of the contract tests.
`lightly` and `vector-quantize-pytorch` are timed beside ours where they are installed. Each part
has seconds of its own, and what one does not use the next may. A row is written as soon as it is
known, to `rows.jsonl` and as a table to `rows.md`. A row that fails or is out of time does not end
the others. The exit status is 1 if a row failed.
"""

import argparse
import collections
import contextlib
import json
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

import torch
from benchmarks import gpu_checks, gpu_ratios
from benchmarks.gpu_device import Item, NotHere, NotInstalled, PeerFailed, describe_device
from benchmarks.side_by_side import machine

__all__ = ["Part", "main", "markdown", "run_parts"]

COLUMNS = ("name", "status", "ms", "speedup", "quartiles", "peak_mib", "detail")


class OutOfTimeError(BaseException):
    """The part's seconds are over; not an `Exception`, so that nothing on the way catches it."""


class Part(NamedTuple):
    """A heading, its seconds, and what makes its items for a device."""

    title: str
    seconds: float
    items: Callable[[torch.device, bool], Iterable[Item]]


PARTS = (
    Part("losses as on the CPU", 20, gpu_checks.losses_agree),
    Part("quantizers as on the CPU", 20, gpu_checks.quantizers_agree),
    Part("networks as on the CPU", 25, gpu_checks.networks_agree),
    Part("signal, state and metrics as on the CPU", 20, gpu_checks.others_agree),
    Part("no sync", 15, gpu_checks.no_sync),
    Part("bfloat16 autocast", 20, gpu_checks.bfloat16),
    Part("generator on the device", 10, gpu_checks.generators),
    Part("torch.compile", 55, gpu_checks.compiled),
    Part("CUDA graphs", 15, gpu_checks.graphs),
    Part("steps and samples", 85, gpu_ratios.steps),
    Part("losses beside peers", 50, gpu_ratios.losses),
    Part("quantizers beside peers", 75, gpu_ratios.quantizers),
    Part("large", 50, gpu_ratios.large),
)  # 460 seconds; the rest is for imports and for what cannot be interrupted


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTimeError` in the block once `seconds` are over, as soon as Python runs."""

    def stop(*_: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def in_one_line(error: BaseException) -> str:
    """The kind of an error and its words, at most 300 characters of them."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def outcome(item: Item, seconds: float) -> list[dict[str, Any]]:
    """The rows of an item, whatever becomes of it."""
    if seconds <= 0:
        return [{"status": "out of time"}]
    try:
        with time_limit(seconds):
            return [{"status": "ok", **figures} for figures in item.run()]
    except OutOfTimeError:
        return [{"status": "out of time"}]
    except NotInstalled as absent:
        return [{"status": "not installed", "detail": str(absent)}]
    except NotHere as reason:
        return [{"status": "skipped", "detail": str(reason)}]
    except PeerFailed as error:
        return [{"status": "peer failed", "detail": in_one_line(error.__cause__ or error)}]
    except torch.OutOfMemoryError as error:
        return [{"status": "out of memory", "detail": in_one_line(error)}]
    except Exception as error:
        return [{"status": "failed", "detail": in_one_line(error)}]


def items_of(part: Part, device: torch.device, small: bool) -> Iterator[Item]:
    """The part's items; what prevents one from being made is the row of an item of its own."""
    try:
        yield from part.items(device, small)
    except Exception as error:
        reason = error

        def fail() -> list[dict[str, Any]]:
            raise reason

        yield Item("(the part's items)", fail)


def run_parts(
    parts: Sequence[Part],
    device: torch.device,
    *,
    small: bool,
    write: Callable[[Mapping[str, Any]], None],
    seconds: float | None = None,
) -> None:
    """Run the parts in turn; `seconds` for all, divided as their own are, in place of their own."""
    share = 1.0 if seconds is None else seconds / sum(part.seconds for part in parts)
    deadline = time.monotonic()
    for part in parts:
        deadline += share * part.seconds
        for item in items_of(part, device, small):
            start = time.monotonic()
            found = outcome(item, deadline - start)
            spent = round(time.monotonic() - start, 3)
            for row in found:
                write({"part": part.title, "name": item.name, "seconds": spent, **row})
            if device.type == "cuda":
                torch.cuda.empty_cache()


def markdown(rows: Sequence[Mapping[str, Any]], *, foot: str) -> str:
    """The rows as tables, one for each part, and how many have each status."""
    counts = collections.Counter(row["status"] for row in rows)
    lines = [", ".join(f"{count} {status}" for status, count in counts.items()) + f". {foot}."]
    for part in dict.fromkeys(row["part"] for row in rows):
        lines += ["", f"### {part}", "", "| " + " | ".join(COLUMNS) + " |"]
        lines.append("| --- " * len(COLUMNS) + "|")
        for row in rows:
            if row["part"] == part:
                cells = [str(row.get(column, "")).replace("|", "\\|") for column in COLUMNS]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def record(folder: pathlib.Path, stream: TextIO, foot: str) -> Callable[[Mapping[str, Any]], None]:
    """A function that writes a row into both files, and prints it."""
    rows: list[Mapping[str, Any]] = []

    def write(row: Mapping[str, Any]) -> None:
        rows.append(row)
        stream.write(json.dumps(row) + "\n")
        stream.flush()
        print(*(str(row[key]) for key in ("part", *COLUMNS) if key in row), sep=" | ", flush=True)
        (folder / "rows.md").write_text(markdown(rows, foot=foot))

    return write


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, run, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=torch.device, default=torch.device(default))
    parser.add_argument("--small", action="store_true", help="sizes for a CPU, two rounds")
    parser.add_argument("--only", nargs="*", default=[], help="parts whose titles begin so")
    parser.add_argument("--seconds", type=float, help="for all parts together; 460 by default")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu_rows"))
    options = parser.parse_args(arguments)
    parts = [p for p in PARTS if not options.only or p.title.startswith(tuple(options.only))]
    if not parts:
        parser.error(f"--only must begin a title of {[part.title for part in PARTS]}")
    if options.seconds is not None and not options.seconds > 0:
        parser.error(f"--seconds must be positive; got {options.seconds}")
    options.out.mkdir(parents=True, exist_ok=True)
    foot = f"{describe_device(options.device)}; {machine()}"
    failed = 0

    with open(options.out / "rows.jsonl", "w") as stream:
        keep = record(options.out, stream, foot)

        def write(row: Mapping[str, Any]) -> None:
            nonlocal failed
            failed += row["status"] == "failed"
            keep(row)

        run_parts(parts, options.device, small=options.small, write=write, seconds=options.seconds)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
