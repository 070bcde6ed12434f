"""The tables of the study of objectives: means, paired differences, and what is clear of them."""

import csv
import math
import pathlib
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.studies.ssl_tokens.paired import Interval, mean_interval

__all__ = [
    "ALIGNED",
    "ARMS",
    "FIRST",
    "NONE",
    "Row",
    "differences",
    "read_rows",
    "tables",
    "whole_seeds",
]

NONE, FIRST, ALIGNED = "none", "barlow_twins", "multirocket_cka"
ARMS = (
    NONE, FIRST, "vibcreg", "lenepa", "simdino", "frossl", "visreg", "lejepa", ALIGNED,
)  # fmt: skip
Row = dict[str, Any]


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """Lay out all there is of whole seeds."""
    rows = whole_seeds(rows)
    if not rows:
        yield "No seed has every set and arm yet."
        return
    yield from (*table(rows), "", *by_set(rows), "", *verdict(rows))


def differences(rows: Sequence[Row], arm: str, baseline: str, measure: str) -> Interval:
    """An arm less a baseline, over the cells of both: points, or the log of a ratio of FIDs."""
    values: dict[str, dict[tuple[str, int], float]] = {arm: {}, baseline: {}}
    for row in rows:
        if row["arm"] in values:
            value = float(row[measure])
            shown = math.log(value) if measure == "frechet" else 100 * value
            values[row["arm"]][row["set"], int(row["seed"])] = shown
    keys = sorted(set(values[arm]) & set(values[baseline]))
    return mean_interval([values[arm][key] - values[baseline][key] for key in keys])


def whole_seeds(rows: Sequence[Row]) -> list[Row]:
    """The rows of seeds that have every set and arm: the others would weigh sets unequally."""
    counts = Counter(row["seed"] for row in rows)
    most = len({row["set"] for row in rows}) * len({row["arm"] for row in rows})
    return [row for row in rows if counts[row["seed"]] == most]


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lay out means, and differences to both baselines with their 95 % intervals."""
    arms = _arms(rows)
    sets, seeds = ({row[name] for row in rows} for name in ("set", "seed"))
    listed = ", ".join(sorted(seeds))
    yield f"{len(sets)} sets; seeds: {listed}; 95 % intervals over sets and seeds."
    for baseline in (NONE, FIRST):
        yield ""
        yield (
            f"| objective, less `{baseline}` | probe on tokens | probe on mean token | CAS "
            "| variance explained | FID, times |"
        )
        yield "| --- | --- | --- | --- | --- | --- |"
        for arm in arms:
            cells = []
            for measure in ("probe", "probe_mean", "cas", "explained", "frechet"):
                if arm == baseline:
                    cells.append(_mean(rows, arm, measure))
                else:
                    cells.append(_shown(differences(rows, arm, baseline, measure), measure))
            yield f"| {arm} | " + " | ".join(cells) + " |"


def by_set(rows: Sequence[Row]) -> Iterator[str]:
    """Lay out the probe on tokens and the FID of each set, means over seeds."""
    names = list(dict.fromkeys(row["set"] for row in rows))
    yield "| probe on tokens; FID | " + " | ".join(names) + " |"
    yield "| --- |" + " --- |" * len(names)
    for arm in _arms(rows):
        cells = []
        for name in names:
            some = [row for row in rows if row["set"] == name]
            cells.append(f"{_mean(some, arm, 'probe')}; {_mean(some, arm, 'frechet')}")
        yield f"| {arm} | " + " | ".join(cells) + " |"
    some = [row for row in rows if row["arm"] == NONE]
    real = [
        f"{_mean([r for r in some if r['set'] == n], NONE, 'probe_series')}; "
        f"{_mean([r for r in some if r['set'] == n], NONE, 'frechet_real')}"
        for n in names
    ]
    yield "| *the series themselves; real series* | " + " | ".join(real) + " |"


def verdict(rows: Sequence[Row]) -> Iterator[str]:
    """Say what the intervals say: who is clearly above Barlow Twins, and at what price."""
    for baseline in (NONE, FIRST):
        others = [arm for arm in _arms(rows) if arm != baseline]
        probe, fid = (
            {arm: differences(rows, arm, baseline, measure) for arm in others}
            for measure in ("probe", "frechet")
        )
        better, worse = _clear(probe)
        yield (
            f"- Probe on tokens clearly above `{baseline}`'s: {_names(better)}; "
            f"below: {_names(worse)}."
        )
        higher, lower = _clear(fid)
        yield f"- FID clearly lower than `{baseline}`'s: {_names(lower)}; higher: {_names(higher)}."


def _clear(gaps: dict[str, Interval]) -> tuple[list[str], list[str]]:
    """The arms whose intervals lie above 0, and those whose intervals lie below."""
    above = [arm for arm, gap in gaps.items() if gap.low > 0]
    return above, [arm for arm, gap in gaps.items() if gap.high < 0]


def _arms(rows: Sequence[Row]) -> list[str]:
    return [arm for arm in ARMS if any(row["arm"] == arm for row in rows)]


def _names(arms: Sequence[str]) -> str:
    return ", ".join(f"`{arm}`" for arm in arms) or "none"


def _mean(rows: Sequence[Row], arm: str, measure: str) -> str:
    values = [float(row[measure]) for row in rows if row["arm"] == arm]
    if measure.startswith("frechet"):
        return f"{statistics.geometric_mean(values):.3g}"
    return f"{100 * statistics.fmean(values):.1f} %"


def _shown(gap: Interval, measure: str) -> str:
    """An interval in the table's units; bold where it leaves out no difference."""
    ends = gap.mean, gap.low, gap.high
    if measure == "frechet":
        mean, low, high = (f"{math.exp(end):.2f}" for end in ends)
    else:
        mean, low, high = (f"{end:+.1f}" for end in ends)
    clear = gap.low > 0 or gap.high < 0
    return (f"**{mean}**" if clear else mean) + f" ({low} to {high})"


def read_rows(path: pathlib.Path) -> list[Row]:
    """Rows of a CSV file; none where it is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
