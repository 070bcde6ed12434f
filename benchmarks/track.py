"""Ratios of the main cases, kept by commit, and a check that fails when a bar is lost.

    python benchmarks/track.py            # measure, append to benchmarks/results/tracked.csv
    python benchmarks/track.py --check    # measure, append nothing, fail where a bar is lost
    python benchmarks/track.py --check --only losses

Runs a short selection of the cases of the benchmarks beside it, each script in its own process, one
thread, and reads the tables that they print. A ratio is the peer's time divided by ours. A bar is
lost when even the upper quartile over the rounds lies below it. About three minutes; needs
`lightly` and `vector-quantize-pytorch` (`make track` installs them).
"""

import argparse
import csv
import datetime
import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

from side_by_side import machine

HERE = pathlib.Path(__file__).resolve().parent
FILE = HERE / "results" / "tracked.csv"
FIELDS = (
    "commit", "date", "machine", "load", "case", "milliseconds", "ratio", "low", "high", "bar",
)  # fmt: skip
RUNS: dict[str, list[str]] = {
    "losses": ["losses.py", "1", "barlow", "vicreg", "vibcreg", "nt_xent", "256x2048"],
    "teachers": ["teachers.py", "1", "ibot", "lars"],
    "quantizers": [
        "quantizers.py", "--sizes", "512", "--rounds", "5", "--only", "EMA", "gradient", "LFQ",
        "FSQ", "bare FSQ",
    ],
    "pipeline": ["pipeline.py", "--only", "later", "--quick"],
}  # fmt: skip
BARS = {
    "Barlow Twins (256, 2048)": 5.0,
    "VICReg (256, 2048)": 12.0,
    "VIbCReg (256, 2048)": 6.0,
    "NT-Xent (256, 2048)": 1.5,
    "EMA: 16384 tokens, 64 channels, 512 codes": 7.0,
    "gradient: 16384 tokens, 64 channels, 512 codes": 7.0,
    "LFQ: 16384 tokens, 64 channels, 512 codes": 15.0,
    "FSQ: 16384 tokens, 64 channels, 512 codes": 0.9,
    "bare FSQ, 3 channels: 16384 tokens, 64 channels, 512 codes": 1.4,
    "later code, 1024 codes, length 128: stage-1 step": 1.3,
    "later code, 1024 codes, length 128: stage-2 step": 1.8,
    "later code, 1024 codes, length 128: 64 samples": 5.0,
}
"""The least ratio of each case: what its page claims, less what machines were seen to differ by."""
ROW = re.compile(
    r"^\| ssltok \| (?P<milliseconds>[\d.]+) \| (?P<ratio>[\d.]+) \| "
    r"(?P<low>[\d.]+)-(?P<high>[\d.]+) \|"
)


class Measured(NamedTuple):
    """One case of one run: our time, and the peer's time over ours with its quartiles."""

    case: str
    milliseconds: float
    ratio: float
    low: float
    high: float


def read_tables(text: str) -> list[Measured]:
    """The row of ssltok of each table that `side_by_side.table` wrote."""
    measured, title = [], ""
    for line in text.splitlines():
        if line.startswith("### "):
            title = line[4:].strip()
        elif (row := ROW.match(line)) and title:
            measured.append(Measured(title, *(float(row[name]) for name in Measured._fields[1:])))
    return measured


def lost_bars(measured: list[Measured], bars: dict[str, float]) -> list[str]:
    """A line for each bar that is lost or that nothing was measured for."""
    by_case = {row.case: row for row in measured}
    lines = [f"{case}: not measured" for case in bars if case not in by_case]
    return lines + [
        f"{case}: {row.ratio:.2f} ({row.low:.2f}-{row.high:.2f}), the bar is {bars[case]:g}"
        for case, row in by_case.items()
        if case in bars and row.high < bars[case]
    ]


def rows_of(measured: list[Measured], **about: str) -> list[dict[str, str]]:
    """Rows of the file, one a case."""
    return [
        {name: f"{value}" for name, value in row._asdict().items()}
        | {"bar": f"{BARS[row.case]:g}" if row.case in BARS else ""}
        | about
        for row in measured
    ]


def append(path: pathlib.Path, rows: list[dict[str, str]]) -> None:
    """Write rows at the end of the file, with a header where it is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def measure(names: list[str]) -> list[Measured]:
    """Run the scripts; one that fails ends all."""
    measured = []
    for name in names:
        script, *words = RUNS[name]
        command = [sys.executable, str(HERE / script), *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=HERE, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"track: {name} failed\n{done.stderr[-2000:]}")
        for row in read_tables(done.stdout):
            print(f"{row.case}: {row.ratio:.2f} ({row.low:.2f}-{row.high:.2f})", flush=True)
            measured.append(row)
    return measured


def commit() -> str:
    """The commit that is checked out, marked where its sources have changed since."""
    git = ["git", "-C", str(HERE)]
    done = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit("track: a row needs a commit; this is no git checkout")
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", "../src", "*.py"], capture_output=True, text=True
    )
    return done.stdout.strip() + ("+" if changed.stdout.strip() else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="append nothing; fail at a lost bar")
    parser.add_argument("--only", nargs="*", choices=list(RUNS), help="these scripts alone")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    start = "" if options.check else commit()
    measured = measure(options.only or list(RUNS))
    if not options.check:
        if commit() != start:
            raise SystemExit(f"track: the checkout must stay as it is; {start} is {commit()} now")
        about = {"commit": start, "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"}
        append(FILE, rows_of(measured, machine=machine(), load=f"{load:.1f}", **about))
    asked = {row.case for row in measured} if options.only else BARS.keys()
    bars = {case: bar for case, bar in BARS.items() if case in asked}
    lost = lost_bars(measured, bars)
    print(f"\nload {load:.1f} at the start; {machine()}")
    if lost and options.check:
        raise SystemExit("track: lost bars\n  " + "\n  ".join(lost))
    print("\n".join(["bars below:", *lost]) if lost else f"{len(bars)} bars hold")


if __name__ == "__main__":
    main()
