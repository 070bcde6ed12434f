"""Training on more series than memory holds: the pass, the second start, memory of each process.

    python benchmarks/large.py                          # 1 GiB, two processes
    python benchmarks/large.py --gib 8 --ranks 2        # what the library promises
    python benchmarks/large.py --gib 0.25 --whole       # both stages to their end, few steps each

Random walks with waves, `(cases, 3, 256)` float32, are written to a temporary folder. Then the file
is read plainly, once from the disk and once from the system's cache; a first start makes the one
pass (checks, statistics, digest); a second start, in new processes, trains a few steps. Printed are
seconds, and the highest anonymous memory (RssAnon) of each process: mapped pages of the file are
not in it, for the system takes them back whenever it wants.
"""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

BEGAN = time.perf_counter()
CHANNELS, LENGTH, BLOCK = 3, 256, 2**24
PAUSE = 2.5  # seconds after the data were written, so that they are surely older than the pass


class EnoughError(Exception):
    """The steps that were asked for are done."""


def write(file: pathlib.Path, gib: float) -> int:
    """Write series that are neither constant nor alike; return how many."""
    import numpy as np

    cases = int(gib * 2**30) // (4 * CHANNELS * LENGTH)
    array = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.float32, shape=(cases, CHANNELS, LENGTH)
    )
    rows = 4096
    for first in range(0, cases, rows):
        random = np.random.default_rng(first)
        shape = (min(rows, cases - first), CHANNELS, LENGTH)
        walk = random.standard_normal(shape, dtype=np.float32).cumsum(axis=2)
        array[first : first + rows] = walk * np.float32([[1.0], [0.1], [30.0]]) + np.float32(2.0)
    array.flush()
    del array
    return cases


def plain(file: pathlib.Path, *, cached: bool) -> tuple[float, float]:
    """Seconds, and those of the CPU, of reading the file and doing nothing."""
    if not cached:
        forget(file)
    buffer = bytearray(BLOCK)
    began, busy = time.perf_counter(), time.process_time()
    with file.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
    return time.perf_counter() - began, time.process_time() - busy


def forget(file: pathlib.Path) -> None:
    """Let the system drop the file from its cache, where it does so on request."""
    handle = os.open(file, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def anonymous() -> float:
    """Anonymous memory of this process now, in GiB."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 2**20
    return 0.0


def watched() -> Iterator[float]:
    """The highest anonymous memory since the first call, looked at every 10 ms."""
    highest = [anonymous()]

    def look() -> None:
        while True:
            highest[0] = max(highest[0], anonymous())
            time.sleep(0.01)

    threading.Thread(target=look, daemon=True).start()
    while True:
        yield highest[0]


def work(args: argparse.Namespace) -> None:
    """What one process does, under torchrun or alone."""
    import numpy as np
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from ssltok.data import read_source
    from ssltok.distributed import is_first
    from ssltok.pipelines import SSLTokenizer, demo, shorten
    from ssltok.training import accelerated

    torch.set_num_threads(1)
    imported, highest = time.perf_counter(), watched()
    base = next(highest)

    def say(*words: object) -> None:
        print(f"  rank {os.environ.get('RANK', '0')}:", *words, flush=True)

    X = np.load(args.worker, mmap_mode="r")
    if args.what == "pass":
        with accelerated("no", cpu=True):
            began, busy = time.perf_counter(), time.process_time()
            read_source(X).measure()
            if is_first():
                print(f"pass {time.perf_counter() - began:.3f}", flush=True)
            say(f"{time.process_time() - busy:.2f} s of CPU, "
                f"peak RssAnon {next(highest):.2f} GiB, {base:.2f} after the imports")  # fmt: skip
        return
    steps: list[float] = []

    def after(optimizer: Any, options: Any, arguments: Any) -> None:
        steps.append(time.perf_counter())
        if len(steps) == 1:
            say(f"first step {steps[0] - imported:.1f} s after the imports "
                f"({imported - BEGAN:.1f} s)")  # fmt: skip
        if len(steps) == args.steps and not args.whole:
            raise EnoughError

    register_optimizer_step_post_hook(after)
    model = SSLTokenizer(shorten(demo(), steps=args.steps), progress=False, cpu=True)
    with contextlib.suppress(EnoughError):
        model.fit(X)
    say(f"{len(steps)} steps, peak RssAnon {next(highest):.2f} GiB, {base:.2f} after the imports")


def launch(args: argparse.Namespace, file: pathlib.Path, what: str) -> str:
    """Start the processes; return what they print."""
    command = [sys.executable]
    if args.ranks > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={args.ranks}"]
    command += [__file__, "--worker", str(file), "--what", what, "--steps", str(args.steps)]
    command += ["--whole"] if args.whole else []
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def main() -> None:
    """Write, read, pass, start again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--folder")
    parser.add_argument("--worker")
    parser.add_argument("--what")
    args = parser.parse_args()
    if args.worker:
        work(args)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        file = pathlib.Path(folder) / "X.npy"
        cases = write(file, args.gib)
        size = file.stat().st_size / 2**30
        print(f"{cases} series, {size:.2f} GiB, {args.ranks} process(es)")
        time.sleep(PAUSE)
        for name, cached in (("disk", False), ("cache", True)):
            alone, busy = plain(file, cached=cached)
            file.with_name("X.npy.ssltok").unlink(missing_ok=True)
            if not cached:
                forget(file)
            lines = launch(args, file, "pass").splitlines()
            seconds = float(next(line for line in lines if line.startswith("pass")).split()[1])
            print(
                f"from the {name}: plain reading {alone:.2f} s ({size / alone:.2f} GiB/s, "
                f"{busy:.2f} s of CPU), one pass {seconds:.2f} s ({size / seconds:.2f} GiB/s): "
                f"{alone / seconds:.2f} of the speed"
            )
            print("\n".join(line for line in lines if line.startswith("  rank")))
        print("second start:")
        print(launch(args, file, "fit").rstrip())


if __name__ == "__main__":
    main()
