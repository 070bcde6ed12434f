"""Write docs/pages/results/mutation.md from the tables of a run.

    python -m benchmarks.studies.mutation.page

`results/sample.csv` holds the sample as first run; `results/again.csv` its survivors, run against
the tests that were written then; `results/reasons.csv` why a mutant that survived is none that a
test should notice, or that it was (`gap`). `results/before.csv` holds the mutants of lines that
stand in commit 8935227 too, and what the tests of that commit say of them.
"""

import collections
import csv
import pathlib

from benchmarks.studies.mutation.mutants import FAMILIES
from scipy.stats import binomtest

ROOT = pathlib.Path(__file__).parents[3]
RESULTS = pathlib.Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "pages" / "results" / "mutation.md"
KILLED = ("killed", "timeout")
HEAD = """# Broken lines that the tests notice

**{killed} of {count} changed lines are noticed: {rate:.1f} % (95 % interval {low:.1f} to
{high:.1f} %).**
[mutmut](https://github.com/boxed/mutmut)'s operators make {population} mutants of the functions of
four packages; {each} of each are drawn with seed 16, and each runs against the tests of its package
that meet its lines.

```text
make mutation
```

Strings are not changed (words of messages), nor what stands outside of functions. Tests that start
processes of their own are left out: the change does not reach them. A mutant gets tests worth 10 s
at most. The sources were those of commit `fcd2eb2`. As first run, before the gaps below had tests,
{first} were noticed ({first_rate:.1f} %, {first_low:.1f}-{first_high:.1f} %).
Intervals are Wilson's.

| package | mutants | noticed | of these by time | survived | rate | interval |
| --- | --- | --- | --- | --- | --- | --- |
"""
LEFT = """
## What survived, and why

*Equal*: no input tells the two apart. *Speed*: only time or memory differs. *Message*: only the
words of a complaint. *Device*: the CPU of the tests does not tell. *Gap*: a test should notice;
those with a test since are noticed in the table above.

| place | the line | changed to | why |
| --- | --- | --- | --- |
"""
BEFORE = """
## Noticed before, noticed now

{count} of the {sample} changed lines also stand in commit 8935227, before the packages were cut.
Each was asked of that commit's own tests (4 s a mutant, the test of the same name first):
**{then} were noticed then; {both} of these are noticed now.** Of the other {lost}, one is the clamp
of `span_mask` that never acts any more (its line is gone since), the other an axis of `boxes`,
counted from the other end, of three axes then and of four now. {gained} that passed then are
noticed now, {neither} pass in both. Rows:
`benchmarks/studies/mutation/results/before.csv`.
"""


def rows_of(name: str) -> list[dict[str, str]]:
    path = RESULTS / name
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rate(killed: int, count: int) -> tuple[float, float, float]:
    interval = binomtest(killed, count).proportion_ci(method="wilson")
    return 100 * killed / count, 100 * interval.low, 100 * interval.high


def code(text: str) -> str:
    return "`" + text.replace("|", "\\|").replace("`", "'") + "`"


def difference(before: str, after: str, around: int = 24) -> tuple[str, str]:
    """What differs, with a little around it."""
    shortest = min(len(before), len(after))
    first = next((i for i in range(shortest) if before[i] != after[i]), shortest)
    last = next(
        (i for i in range(shortest - first) if before[-1 - i] != after[-1 - i]), shortest - first
    )
    start, stop = max(0, first - around), max(0, last - around)
    return tuple(  # type: ignore[return-value]
        ("... " if start else "") + text[start : len(text) - stop] + (" ..." if stop else "")
        for text in (before, after)
    )


def main() -> None:
    first = rows_of("sample.csv")
    again = {row["key"]: row for row in rows_of("again.csv")}
    reasons = {row["key"]: row["reason"] for row in rows_of("reasons.csv")}
    now = [again.get(row["key"], row) for row in first]
    population = (RESULTS / "population.txt").read_text().strip()
    early = sum(row["result"] in KILLED for row in first)
    killed = sum(row["result"] in KILLED for row in now)
    text = HEAD.format(
        killed=killed, count=len(now), population=population, each=len(now) // len(FAMILIES),
        first=early,
        **dict(zip(("rate", "low", "high"), rate(killed, len(now)), strict=True)),
        **dict(zip(("first_rate", "first_low", "first_high"), rate(early, len(now)), strict=True)),
    )  # fmt: skip
    for family in FAMILIES:
        results = collections.Counter(row["result"] for row in now if row["family"] == family)
        count, noticed = results.total(), sum(results[word] for word in KILLED)
        share, low, high = rate(noticed, count)
        text += (
            f"| {family} | {count} | {noticed} | {results['timeout']} | {count - noticed} | "
            f"{share:.0f} % | {low:.0f}-{high:.0f} % |\n"
        )
    text += LEFT
    for before, row in sorted(zip(first, now, strict=True), key=lambda pair: pair[0]["key"]):
        if before["result"] in KILLED:
            continue
        path, line, *_ = row["key"].removeprefix("src/ssltok/").split(":")
        reason = reasons.get(row["key"], "not judged")
        if row["result"] in KILLED:
            reason += "; noticed since"
        one, other = map(code, difference(row["before"], row["after"]))
        text += f"| {path}:{line} | {one} | {other} | {reason} |\n"
    pairs = collections.Counter(
        (row["old_result"], row["new_result"] in KILLED) for row in rows_of("before.csv")
    )
    text += BEFORE.format(
        count=pairs.total(), sample=len(first), both=pairs["killed", True],
        then=pairs["killed", True] + pairs["killed", False], lost=pairs["killed", False],
        gained=pairs["survived", True], neither=pairs["survived", False],
    )  # fmt: skip
    PAGE.write_text(text)
    print(text.split("## ")[0])


if __name__ == "__main__":
    main()
