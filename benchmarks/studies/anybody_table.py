"""The table of `anybody.py`: what was reached, by set and over all, beside what was asked for."""

import csv
import math
import pathlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

__all__ = ["Row", "append_rows", "read_rows", "tables"]

Row = dict[str, str]
SHOWN = {
    "explained": "explained", "cas": "train on generated", "frechet": "Frechet distance",
    "coverage": "coverage", "memorization": "memorization", "probe": "probe on tokens",
}  # fmt: skip
DIGITS = {"frechet": 0, "cas": 1, "probe": 1}
SHARES = {"cas", "probe"}  # printed in per cent
SEEN = ("cas", "probe")  # of sets with several seeds
LARGEST = 10**9  # more than there are
SIZES = (1, 49), (50, 200), (201, LARGEST)
WANTED = {"GunPoint": "96 %, 92 %"}


def read_rows(path: pathlib.Path) -> list[Row]:
    """The rows of the study's file."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def append_rows(
    path: pathlib.Path, fields: Sequence[str], rows: Sequence[Mapping[str, object]]
) -> None:
    """Add rows to the study's file, under a header where it is new."""
    first = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fields)
        if first:
            writer.writeheader()
        writer.writerows(rows)


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """What was reached over all sets, and then set by set; markdown."""
    yield from goals(rows)
    yield ""
    yield from by_set(rows)


def goals(rows: Sequence[Row]) -> Iterator[str]:
    """A line a goal. A set counts once: several seeds of it are averaged first."""
    explained, floors = _each(rows, lambda r: r["explained"]), _each(rows, lambda r: r["dct"])
    low = [name for name, value in explained.items() if value < LEAST and value < floors[name]]
    excused = sum(value < LEAST for value in explained.values()) - len(low)
    yield "| | asked for | reached | sets |"
    yield "| --- | --- | --- | --- |"
    yield _line(
        "variance explained on test, median", "0.90", f"{_median(explained):.3f}", explained
    )
    yield _line(
        f"sets below {LEAST} where a DCT at equal bits explains more", "none",
        f"{len(low)}{' (' + ', '.join(low) + ')' if low else ''}; {excused} with the DCT below",
        explained,
    )  # fmt: skip
    for key, word, wanted, middle in (
        ("cas", "train on generated over train on real, mean", "0.90", statistics.fmean),
        ("frechet", "Frechet distance over that of real series, median", "at most 3",
         statistics.median),
        ("coverage", "coverage over that of real series, median", "0.70", statistics.median),
        ("memorization", "memorization over that of real series, median", "1", statistics.median),
    ):  # fmt: skip
        ratios = _each(rows, partial(_ratio, key))
        yield _line(word, wanted, f"{middle(ratios.values()):.2f}", ratios)
    for fewest, most in SIZES:
        some = [row for row in rows if fewest <= int(row["train"]) <= most]
        ratios = _each(some, partial(_ratio, "coverage"))
        if ratios:
            size = f"{fewest} to {most}" if most < LARGEST else f"{fewest} or more"
            word = f"coverage over that of real series, {size} training series"
            yield _line(word, "", f"{_median(ratios):.2f}", ratios)
    probes = _each(rows, lambda r: r["probe"])
    if probes:
        mean = 100 * statistics.fmean(probes.values())
        yield _line("probe on tokens, mean", "", f"{mean:.1f} %", probes)
    for name in dict.fromkeys(row["set"] for row in rows):
        seeds = [row for row in rows if row["set"] == name]
        if len(seeds) > 1:
            word = f"{name}: train on generated, probe on tokens; means of {len(seeds)} seeds"
            figures = (_each(seeds, partial(_percent, key)) for key in SEEN)
            shown = ", ".join(f"{values.get(name, math.nan):.1f} %" for values in figures)
            yield _line(word, WANTED.get(name, ""), shown, {name: 0.0})
    seconds = _each(rows, lambda r: r["cpu_seconds"])
    yield _line("processor seconds, median", "", f"{_median(seconds):.0f}", seconds)


def by_set(rows: Sequence[Row]) -> Iterator[str]:
    """A line a row: figure of ours, and behind it that of real series."""
    yield f"| set | seed | train | length | tokens | codes | {' | '.join(SHOWN.values())} |"
    yield "|" + " --- |" * (6 + len(SHOWN))
    for row in sorted(rows, key=lambda r: (r["set"].lower(), int(r["seed"]))):
        channels = int(row["channels"])
        length = row["length"] if channels == 1 else f"{channels} x {row['length']}"
        codes = row["codes"] + (f" x {row['codes_per_token']}" if row["codes_per_token"] != "1"
                                else "")  # fmt: skip
        cells = [row["set"], row["seed"], row["train"], length, row["tokens"], codes]
        for key in SHOWN:
            beside = row["dct"] if key == "explained" else row[f"{key}_real"]
            cells.append(f"{_shown(key, row[key])} ({_shown(key, beside)})")
        yield f"| {' | '.join(cells)} |"


LEAST = 0.8


def _each(rows: Sequence[Row], value: Callable[[Row], float | str]) -> dict[str, float]:
    """The mean over a set's seeds of what is finite, set by set."""
    found: dict[str, list[float]] = {}
    for row in rows:
        number = float(value(row))
        if math.isfinite(number):
            found.setdefault(row["set"], []).append(number)
    return {name: statistics.fmean(numbers) for name, numbers in found.items()}


def _ratio(key: str, row: Row) -> float:
    real = float(row[f"{key}_real"])
    return float(row[key]) / real if real else math.nan


def _percent(key: str, row: Row) -> float:
    return 100 * float(row[key])


def _median(values: dict[str, float]) -> float:
    return statistics.median(values.values())


def _line(word: str, wanted: str, reached: str, values: dict[str, float]) -> str:
    return f"| {word} | {wanted} | {reached} | {len(values)} |"


def _shown(key: str, text: str) -> str:
    number = float(text) * (100 if key in SHARES else 1)
    return "-" if math.isnan(number) else f"{number:.{DIGITS.get(key, 2)}f}"
