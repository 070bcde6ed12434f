"""Tables of a study in Markdown: means over data sets, each data set, and paired comparisons.

    python -m benchmarks.studies.ssl_tokens.tables study.csv --baseline one > tables.md

Means are over data sets that every arm has; the interval is over seeds (95 %, Student). The
comparisons are paired over data set and seed, with Holm's correction over the arms of a metric.
Accuracies are in per cent. For the Frechet distances and the reconstruction error, comparisons
are of logarithms, so a difference is a ratio.
"""

import argparse
import csv
import math
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[3])

from benchmarks.studies.ssl_tokens.paired import (
    Interval,
    Key,
    compare,
    holm,
    mean_interval,
    over_seeds,
)

__all__ = ["METRICS", "Study", "comparisons", "main_table", "per_dataset", "read_study"]

TIMES = "\N{MULTIPLICATION SIGN}"
Values = dict[str, dict[str, dict[Key, float]]]  # metric, arm, cell


class Metric(NamedTuple):
    """How a metric is shown: its title, factor, decimals, and whether ratios are compared."""

    title: str
    scale: float = 100.0
    digits: int = 1
    ratio: bool = False


METRICS = {
    "linear_pooled": Metric("linear probe, mean token ↑"),
    "svm_pooled": Metric("SVM, mean token ↑"),
    "knn_pooled": Metric("k-NN, mean token ↑"),
    "linear_grid": Metric("linear probe, all tokens ↑"),
    "svm_grid": Metric("SVM, all tokens ↑"),
    "knn_grid": Metric("k-NN, all tokens ↑"),
    "reconstruction": Metric("reconstruction MSE ↓", 1.0, 3, ratio=True),
    "fid": Metric("FID ↓", 1.0, 2, ratio=True),
    "fid_rocket": Metric("FID, ROCKET ↓", 1.0, 2, ratio=True),
    "fid_rebuilt": Metric("FID, rebuilt ↓", 1.0, 2, ratio=True),
    "is": Metric("IS", 1.0, 2),
    "cas": Metric("CAS ↑"),
    "cas_all": Metric("CAS, all generated ↑"),
    "cas_rebuilt": Metric("CAS, rebuilt ↑"),
    "recognised": Metric("labels recognised"),
    "loss_half": Metric("prior's loss, half hidden ↓", 1.0, 2),
    "loss_all": Metric("prior's loss, all hidden ↓", 1.0, 2),
    "perplexity": Metric("perplexity", 1.0, 1),
    "used": Metric("codes used"),
}


class Study(NamedTuple):
    """The values of a CSV, and what was said of how they were made."""

    values: Values
    arms: list[str]
    datasets: list[str]
    notes: list[str]
    labels: dict[str, str]

    def label(self, arm: str) -> str:
        """How an arm is called in tables and figures."""
        return self.labels.get(arm, f"`{arm}`")


def read_study(
    paths: Iterable[pathlib.Path],
    *,
    arms: Sequence[str] = (),
    labels: dict[str, str] | None = None,
) -> Study:
    """Read CSVs of `collect`; keep the data sets that all arms have.

    Args:
        paths: The CSVs.
        arms: Which arms, in which order; none is all.
        labels: Names to show in place of arms' recipes.

    Raises:
        ValueError: If an arm is missing, a cell occurs twice, or splits are mixed.
    """
    rows = []
    for path in paths:
        with open(path, newline="") as stream:
            rows += list(csv.DictReader(stream))
    splits = sorted({row["split"] for row in rows})
    if len(splits) != 1:
        raise ValueError(f"read_study: rows must be of one split; got {splits}")
    values: Values = {}
    for row in rows:
        cells = values.setdefault(row["metric"], {}).setdefault(row["arm"], {})
        key = row["dataset"], int(row["seed"])
        value = float(row["value"])
        if key in cells and (row["arm"] != "real" or cells[key] != value):
            raise ValueError(f"read_study: a cell must occur once; got {row['arm']} {key} twice")
        cells[key] = value
    known = list(dict.fromkeys(row["arm"] for row in rows if row["arm"] != "real"))
    for arm in arms:
        if arm not in known:
            raise ValueError(f"read_study: arms must be among {known}; got {arm!r}")
    chosen = list(arms) or known
    has = {arm: {r["dataset"] for r in rows if r["arm"] == arm} for arm in chosen}
    common = sorted(set.intersection(*has.values()))
    dropped = sorted(set.union(*has.values()) - set(common))
    for table in values.values():
        for arm, cells in table.items():
            table[arm] = {key: v for key, v in cells.items() if key[0] in common}
    made = [row for row in rows if row["arm"] in chosen and row["metric"] == "fid"]
    notes = [
        f"Split: {splits[0]}. {len(common)} data sets: {', '.join(common)}."
        + (f" Left out, as not all arms have them: {', '.join(dropped)}." if dropped else ""),
        f"{len(made)} cells, seeds {', '.join(sorted({r['seed'] for r in made}))}; "
        + _seconds(made)
        + f"; commit {', '.join(sorted({r['commit'][:10] for r in made}))}.",
        *sorted({row["machine"] for row in made}),
    ]
    return Study(values, chosen, common, notes, labels or {})


def main_table(study: Study, metrics: Sequence[str]) -> str:
    """Means over data sets with their intervals over seeds; the noise floor in the last row."""
    head = ["arm", *(METRICS[m].title for m in metrics)]
    rows = []
    for arm in [*study.arms, "real"]:
        cells = [
            _shown(over_seeds(study.values.get(m, {}).get(arm, {})), METRICS[m]) for m in metrics
        ]
        rows.append(["*real series*" if arm == "real" else study.label(arm), *cells])
    return _markdown(head, rows)


def per_dataset(study: Study, metric: str) -> str:
    """One metric: data sets by arms, each the mean over seeds with its interval."""
    table = study.values[metric]
    head = ["data set", *(study.label(arm) for arm in study.arms), "real"]
    rows = []
    for dataset in study.datasets:
        cells = []
        for arm in [*study.arms, "real"]:
            found = [v for (d, _), v in sorted(table.get(arm, {}).items()) if d == dataset]
            cells.append(_shown(mean_interval(found), METRICS[metric]))
        rows.append([dataset, *cells])
    return _markdown(head, rows)


def comparisons(study: Study, metric: str, baseline: str) -> str:
    """One metric: each arm against the baseline, paired over data set and seed."""
    shown, table = METRICS[metric], study.values[metric]
    logs = {arm: _maybe_logs(table[arm], ratio=shown.ratio) for arm in study.arms}
    others = [arm for arm in study.arms if arm != baseline]
    found = [compare(logs[arm], logs[baseline]) for arm in others]
    columns = [holm([getattr(c, name) for c in found]) for name in ("t", "wilcoxon", "datasets")]
    what = "ratio" if shown.ratio else "difference"
    head = ["arm", f"{what} to {study.label(baseline)}", "higher / lower", "paired t", "Wilcoxon",
            "Wilcoxon, data sets", "data sets worse"]  # fmt: skip
    rows = []
    for arm, one, *p_values in zip(others, found, *columns, strict=True):
        worse = _worse(logs[arm], logs[baseline], study.datasets, metric)
        gap, counts = _shown(one.difference, shown, gap=True), f"{one.wins} / {one.losses}"
        p_cells = [_p(p) for p in p_values]
        rows.append([study.label(arm), gap, counts, *p_cells, ", ".join(worse) or "none"])
    return _markdown(head, rows)


def _worse(
    arm: dict[Key, float], baseline: dict[Key, float], datasets: Sequence[str], metric: str
) -> list[str]:
    """Data sets where the arm is worse by the paired t-test over seeds, Holm over data sets."""
    lower_is_better = "↓" in METRICS[metric].title
    found = [compare({k: v for k, v in arm.items() if k[0] == d}, baseline) for d in datasets]
    adjusted = holm([c.t for c in found])
    return [
        d
        for d, c, p in zip(datasets, found, adjusted, strict=True)
        if p < 0.05 and (c.difference.mean > 0) == lower_is_better
    ]


def _maybe_logs(cells: dict[Key, float], *, ratio: bool) -> dict[Key, float]:
    return {k: math.log(max(v, 1e-12)) for k, v in cells.items()} if ratio else cells


def _shown(interval: Interval, metric: Metric, *, gap: bool = False) -> str:
    if not interval.n:
        return ""
    numbers = interval.mean, interval.low, interval.high
    if gap and metric.ratio:
        mean, low, high = (math.exp(v) for v in numbers)
        bounds = "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"
        return f"{TIMES} {mean:.2f}{bounds}"
    mean, low, high = (v * metric.scale for v in numbers)
    sign = "+" if gap else ""
    half = "" if math.isnan(low) else f" ± {(high - low) / 2:.{metric.digits}f}"
    return f"{mean:{sign}.{metric.digits}f}{half}"


def _p(p: float) -> str:
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _seconds(rows: Sequence[dict[str, str]]) -> str:
    both = ("seconds_tokenizer_cpu", "seconds_prior_cpu")
    totals = [sum(float(r[k]) for k in both) for r in rows if all(r[k] for k in both)]
    if not totals:
        return "training times unknown"
    return (
        f"{sum(totals) / len(totals):.1f} s of processor time for training a cell "
        f"({min(totals):.1f} to {max(totals):.1f})"
    )


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("csv", nargs="+", type=pathlib.Path)
    parser.add_argument("--baseline", default="one")
    parser.add_argument("--arms", nargs="*", default=[], help="in this order; default: all")
    parser.add_argument("--metrics", nargs="*", default=list(METRICS), choices=list(METRICS))
    parser.add_argument("--no-datasets", action="store_true", help="leave out each data set")
    parser.add_argument("--label", nargs="*", default=[], metavar="NAME:=ARM")
    options = parser.parse_args(arguments)
    labels = {arm: name for name, _, arm in (text.partition(":=") for text in options.label)}
    study = read_study(options.csv, arms=options.arms, labels=labels)
    if options.baseline not in study.arms:
        raise SystemExit(f"tables: --baseline must be one of {study.arms}; got {options.baseline}")
    metrics = [metric for metric in options.metrics if metric in study.values]
    print("## Means over data sets\n\n" + main_table(study, metrics))
    for metric in metrics:
        print(f"\n## {METRICS[metric].title}: compared with {study.label(options.baseline)}\n")
        print(comparisons(study, metric, options.baseline))
    if not options.no_datasets:
        for metric in metrics:
            print(f"\n## {METRICS[metric].title}: by data set\n\n{per_dataset(study, metric)}")
    print("\n" + "\n\n".join(study.notes))


if __name__ == "__main__":
    main()
