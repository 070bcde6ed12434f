"""Follow the README word by word in a new clone, and end at a figure of a file of one's own.

    python benchmarks/readme_walk.py            # the way without make, as README.md writes it
    python benchmarks/readme_walk.py --log benchmarks/results/readme_walk.txt

The commands are read from the fenced blocks of the clone's own README.md: the one that makes an
environment, and the first that names `my_log.csv`. The script only adds what every reader has:
the clone, and a log file of their own by that name. Only lines of the README are run; none is
mended. It fails unless they leave a report with figures.
"""

import argparse
import csv
import math
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
OWN = "my_log.csv"


def commands(readme: str) -> list[str]:
    """The lines of the README that a reader with a file of their own runs, in order."""
    lines = [line.partition(" #")[0].strip() for _, block in BLOCK.findall(readme)
             for line in block.splitlines()]  # fmt: skip
    lines = [line for line in lines if line]
    start = next((i for i, line in enumerate(lines) if " -m venv " in line), None)
    own = next((line for line in lines if OWN in line), None)
    if start is None or own is None:
        raise SystemExit(
            f"readme_walk: README.md must say how to install, and what to do with {OWN}"
        )
    steps = []
    for line in lines[start:]:
        steps.append(line)
        if line.startswith(".venv/bin/ssltok"):
            break
    return [*(s for s in steps if not s.startswith(".venv/bin/ssltok")), own]


def write_log(path: pathlib.Path, *, rows: int = 4000) -> None:
    """A reader's file: a time, two sensors, a pump that changes its speed, and some noise."""
    state = 1
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "pressure", "flow"])
        for t in range(rows):
            state = (1103515245 * state + 12345) % 2**31
            noise = state / 2**31 - 0.5
            speed = 0.2 if t // 500 % 2 else 0.35
            day, minute = divmod(t, 1440)
            stamp = f"2026-01-{1 + day:02d} {minute // 60:02d}:{minute % 60:02d}:00"
            pressure = 3 + math.sin(speed * t) + 0.1 * noise
            writer.writerow([stamp, f"{pressure:.4f}", f"{20 + 4 * math.cos(speed * t):.4f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=pathlib.Path, help="write what was run, and the seconds")
    parser.add_argument("--keep", type=pathlib.Path, help="copy the report there")
    options = parser.parse_args()
    log = [f"readme_walk: {time.strftime('%Y-%m-%d', time.gmtime())}, "
           f"load {os.getloadavg()[0]:.1f} at the start"]  # fmt: skip
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        clone = pathlib.Path(place) / "ssltok"
        seconds, _ = step(["git", "clone", "-q", str(ROOT), str(clone)], pathlib.Path(place), "")
        log.append(f"{seconds:6.1f} s  git clone")
        head = subprocess.run(
            ["git", "-C", str(clone), "rev-parse", "--short=10", "HEAD"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        log[0] += f", commit {head}"
        write_log(clone / OWN)
        path = f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"  # an active environment
        for line in commands((clone / "README.md").read_text()):
            seconds, text = step(shlex.split(line), clone, path)
            log.append(f"{seconds:6.1f} s  {line}")
            print(log[-1], flush=True)
            last = text
        out = shlex.split(line)[shlex.split(line).index("--out") + 1]
        report = (clone / out / "report.html").read_text()
        figures = sorted(p.name for p in (clone / out / "figures").glob("*.png"))
        if "<img" not in report or not figures:
            raise SystemExit("readme_walk: the report must show a figure")
        log.append(f"{time.monotonic() - begin:6.1f} s  from clone to {out}/report.html")
        log.append(f"figures: {', '.join(figures)}")
        log += ["the run's last lines:", *(f"  {x}" for x in last.strip().splitlines()[-12:])]
        if options.keep:
            options.keep.write_text(report)
    print("\n".join(log))
    if options.log:
        options.log.write_text("\n".join(log) + "\n")


def step(words: list[str], folder: pathlib.Path, path: str) -> tuple[float, str]:
    """Run one line; its seconds and what it printed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    if path:
        environment["PATH"] = path
    start = time.monotonic()
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stdout[-2000:] + done.stderr[-2000:])
        raise SystemExit(f"readme_walk: {shlex.join(words)}: status {done.returncode}")
    return time.monotonic() - start, done.stdout + done.stderr


if __name__ == "__main__":
    main()
