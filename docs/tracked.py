"""The page of tracked ratios: a table and drawings, from the file that `make track` keeps."""

import csv
import html
import math
import pathlib
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILE = ROOT / "benchmarks" / "results" / "tracked.csv"
MARK = "<!-- tracked ratios -->"
WIDTH, HEIGHT, EDGE = 420, 90, 12


def on_page_markdown(text: str, **_: Any) -> str:
    """Put the ratios where a page asks for them."""
    if MARK not in text:
        return text
    with FILE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return text.replace(MARK, tracked(rows))


def tracked(rows: list[dict[str, str]]) -> str:
    """The newest commit's table, then a drawing of each case over the commits."""
    newest = rows[-1]["commit"]
    last = [row for row in rows if row["commit"] == newest]
    about = f"Commit `{newest}`, {last[0]['date']}, {last[0]['machine']}; load {last[0]['load']}."
    lines = [
        about,
        "",
        "| case | ms | ratio | quartiles | bar |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in last:
        lost = " (below)" if row["bar"] and float(row["high"]) < float(row["bar"]) else ""
        lines.append(
            f"| {row['case']} | {row['milliseconds']} | {row['ratio']} | "
            f"{row['low']}-{row['high']} | {row['bar'] or 'none'}{lost} |"
        )
    lines.append("")
    for case in dict.fromkeys(row["case"] for row in last):
        history = [row for row in rows if row["case"] == case]
        lines += [f"**{case}**", "", drawing(case, history), ""]
    return "\n".join(lines)


def drawing(case: str, history: list[dict[str, str]]) -> str:
    """One case as SVG: ratio and quartiles of each commit, the bar as a line; logarithmic."""
    bar = float(history[-1]["bar"] or "nan")
    values = [float(row[name]) for row in history for name in ("low", "high")]
    values += [] if math.isnan(bar) else [bar]
    low, high = math.log(min(values) / 1.1), math.log(max(values) * 1.1)

    def y(value: float) -> float:
        return EDGE + (HEIGHT - 2 * EDGE) * (high - math.log(value)) / (high - low)

    step = (WIDTH - 4 * EDGE) / len(history)
    parts = []
    if not math.isnan(bar):
        parts.append(
            f'<line x1="0" x2="{WIDTH}" y1="{y(bar):.1f}" y2="{y(bar):.1f}" stroke="currentColor" '
            f'stroke-dasharray="4 3"/><text x="2" y="{y(bar) - 3:.1f}" font-size="10" '
            f'fill="currentColor">{bar:g}</text>'
        )
    for k, row in enumerate(history):
        x = 3 * EDGE + step * (k + 0.5)
        ratio, first, third = (float(row[name]) for name in ("ratio", "low", "high"))
        parts.append(
            f"<g><title>{html.escape(row['commit'])}: {ratio:g} ({first:g}-{third:g})</title>"
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y(first):.1f}" y2="{y(third):.1f}" '
            f'stroke="currentColor"/><circle cx="{x:.1f}" cy="{y(ratio):.1f}" r="3.5" '
            f'fill="currentColor"/></g>'
        )
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" style="max-width:100%" '
        f'aria-label="{html.escape(case)}: ratios by commit">{"".join(parts)}</svg>'
    )
