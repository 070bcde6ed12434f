"""Forwards against quality, a point a rule, from the rows of the study of decoding rules.

python benchmarks/studies/decoding_picture.py rows.csv --out picture.png
"""

import argparse
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from benchmarks.studies.decoding import BASE, read_rows
from benchmarks.studies.ssl_tokens.paired import mean_interval
from matplotlib.figure import Figure

__all__ = ["FAMILIES", "draw", "main"]

FAMILIES = {
    "schedule": "#33415c", "entropy_bound": "#d1495b", "entropy_bound, paced": "#edae49",
    "entropy_bound, default order": "#8d5a97", "confidence rules": "#66a182", "moments": "#2e86ab",
    "unguided": "#000000", "others": "#999999",
}  # fmt: skip
"""Lines of the picture and their colours."""


def family(rule: str) -> str:
    """The line that a rule's point lies on."""
    word = rule.split()[0]
    if word == "entropy_bound":
        tail = {"order": ", default order", "paced": ", paced"}
        return word + tail.get(rule.split()[-1], "")
    if word.startswith("confidence"):
        return "confidence rules"
    return word if word in FAMILIES else "others"


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Ratio of FIDs and difference of CAS over the share of the default's forwards, paired."""
    by_rule: dict[str, dict[tuple[str, int], dict[str, Any]]] = {}
    for row in rows:
        by_rule.setdefault(row["rule"], {})[row["dataset"], int(row["seed"])] = row
    base = by_rule[BASE]
    lines: dict[str, list[tuple[Any, Any, Any]]] = {}
    for rule, cells in by_rule.items():
        both = sorted(set(cells) & set(base))
        share = sum(cells[k]["forwards"] / base[k]["forwards"] for k in both) / len(both)
        ratio = mean_interval([math.log(cells[k]["fid"] / base[k]["fid"]) for k in both])
        gap = mean_interval([100 * (cells[k]["cas"] - base[k]["cas"]) for k in both])
        lines.setdefault(family(rule), []).append((share, ratio, gap))
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    for name, color in FAMILIES.items():
        points = sorted(lines.get(name, []), key=lambda point: point[0])
        if not points:
            continue
        shares = [point[0] for point in points]
        style = "o" if name in ("confidence rules", "others") else "o-"
        for axes, which in ((left, 1), (right, 2)):
            turn = math.exp if which == 1 else float
            values = [[turn(number) for number in point[which][:3]] for point in points]
            means = [mean for mean, _, _ in values]
            bars = [[m - low for m, low, _ in values], [high - m for m, _, high in values]]
            axes.plot(shares, means, style, color=color, markersize=4, linewidth=1.2, label=name)
            axes.errorbar(shares, means, yerr=bars, fmt="none", ecolor=color, alpha=0.35, zorder=0)
    left.axhline(1.10, color="black", linewidth=0.8, linestyle=":")
    left.set(yscale="log", ylabel="FID, times the default's", ylim=(0.4, 12))
    left.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    left.minorticks_off()
    right.axhline(-2, color="black", linewidth=0.8, linestyle=":")
    right.set(ylabel="CAS less the default's, points", ylim=(-40, 8))
    for axes in (left, right):
        axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
        axes.set(xlabel="forwards, share of the default's", xscale="log")
        axes.set_xticks([0.25, 0.5, 1, 2], ["¼", "½", "1", "2"])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    right.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    said = parser.parse_args(arguments)
    draw(read_rows(said.rows)).savefig(said.out, dpi=110)


if __name__ == "__main__":
    main()
