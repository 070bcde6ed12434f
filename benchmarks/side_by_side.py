"""Time candidates side by side in one process: interleaved rounds, ratios with spread, memory.

A ratio of two medians taken minutes apart measures the machine. Here every round runs every
candidate once, and the ratio is taken round by round, so that drift of the machine cancels.
"""

import collections
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

__all__ = ["Timing", "machine", "peak_extra_mib", "side_by_side", "table"]


class Timing(NamedTuple):
    """One candidate's figures; `speedup` is reference time / own time, round by round."""

    name: str
    milliseconds: float
    speedup: float
    speedup_low: float
    speedup_high: float
    peak_mib: float


def side_by_side(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 11,
    warmup: int = 2,
    least_seconds: float = 0.02,
    peak: Callable[[Callable[[], object]], float] | None = None,
) -> list[Timing]:
    """Run every candidate in turn, `rounds` times; the first is the reference of the ratios.

    A call shorter than `least_seconds` is repeated within its round. `speedup_low` and
    `speedup_high` are the quartiles over rounds. `peak` measures a call's memory in MiB;
    `peak_extra_mib` by default.
    """
    repeats: dict[str, int] = {}
    for name, call in candidates.items():
        for _ in range(warmup):
            call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(least_seconds / max(time.perf_counter() - start, 1e-7)))
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    reference = next(iter(candidates))
    timings = []
    for name, call in candidates.items():
        ratios = [a / b for a, b in zip(seconds[reference], seconds[name], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        memory = (peak or peak_extra_mib)(call)
        median = statistics.median(seconds[name]) * 1e3
        timings.append(Timing(name, median, middle, low, high, memory))
    return timings


def peak_extra_mib(call: Callable[[], object]) -> float:
    """Peak of CPU memory that torch allocates during one call, above what was held before.

    What was allocated before the call and is freed within it does not count: the profiler knows
    the size of such a block only if some earlier profile happened to see its birth.
    """
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        result = call()
    held = peak = 0
    live: collections.Counter[int] = collections.Counter()
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        size = event.nbytes()
        if event.name() != "[memory]" or (size < 0 and not live[-size]):
            continue
        live[abs(size)] += 1 if size > 0 else -1
        held += size
        peak = max(peak, held)
    del result
    return peak / 2**20


def machine() -> str:
    """The processor, cores, threads and versions, in one line for the foot of a table."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            name = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    return (
        f"{name}, {torch.get_num_threads()} thread(s), Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def table(title: str, timings: list[Timing]) -> str:
    """A Markdown table of one case."""
    rows = [f"### {title}", "", "| candidate | ms | speed-up | quartiles | peak extra MiB |"]
    rows.append("| --- | --- | --- | --- | --- |")
    rows.extend(
        f"| {t.name} | {t.milliseconds:.2f} | {t.speedup:.2f} | "
        f"{t.speedup_low:.2f}-{t.speedup_high:.2f} | {t.peak_mib:.1f} |"
        for t in timings
    )
    return "\n".join(rows)
