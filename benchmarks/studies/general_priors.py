"""A prior on the tokens that need no training, beside one on a set's own tokens, at equal time.

    python benchmarks/studies/general_priors.py --data FOLDER --out rows.csv
    python benchmarks/studies/general_priors.py --out rows.csv --table

FOLDER holds `NAME.npz` with X_train, y_train, X_test, y_test. Of the `--minutes`, the preset `auto`
spends a part on its tokenizer and the rest on the prior; `general` takes the tokenizer that ships
and spends all on the prior; `tuned` trains that tokenizer on the set first. `general 3` takes three
codes a token in the place of one. `cpu_seconds` is what each `fit` took, planning too. As many
series as the training part has (200 at least) are generated, and judged beside at most 1,000 of the
test part: Frechet distance, and the accuracy of a ridge on ROCKET features that learns from the
generated series (CAS). Rows that the file already has are not computed again.
"""

import argparse
import math
import pathlib
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from benchmarks.studies.anybody_table import append_rows, read_rows
from benchmarks.studies.ssl_tokens.data import Split, find_datasets, make_split
from benchmarks.studies.ssl_tokens.paired import mean_interval

from ssltok.evaluation import RidgeJudge, evaluate, fidelity_measures, memory_measures
from ssltok.pipelines import AutoConfig, PretrainedTokenizer, SSLTokenizer

SETS = ("CBF", "TwoPatterns", "ECG5000")  # of the 16 of `general.py`: none has trained it
ARMS = ("auto", "general", "tuned")
LEAST_GENERATED, MOST_TESTED = 200, 1000
ROWS = {"frechet": "Frechet distance", "cas": "CAS, ridge", "coverage": "coverage"}
FIELDS = (
    "set", "seed", "minutes", "arm", "tokens", "codes_per_token", "steps",
    *ROWS, *(f"{name}_real" for name in ROWS), "cpu_seconds",
)  # fmt: skip


def fitted(arm: str, split: Split, *, seed: int, minutes: float) -> SSLTokenizer:
    """Train by the arm's name on the training part."""
    values, labels = split.train.values.where(split.train.valid, torch.nan), split.train_labels
    if arm == "auto":
        model = SSLTokenizer(AutoConfig(minutes=minutes), seed=seed, progress=False)
        return model.fit(values, labels.tolist())
    name, *levels = arm.split()
    options = {"levels": int(levels[0])} if levels else {}
    general: PretrainedTokenizer = SSLTokenizer.from_pretrained(
        "general", minutes=minutes, seed=seed, progress=False, **options
    )
    if name == "tuned":
        return general.fit(values, labels.tolist())
    return general.fit_prior(values, labels.tolist())


def cell(arm: str, split: Split, *, seed: int, minutes: float) -> dict[str, Any]:
    """Train, generate, judge."""
    began = time.process_time()
    model = fitted(arm, split, seed=seed, minutes=minutes)
    seconds = time.process_time() - began
    count = max(len(split.train_labels), LEAST_GENERATED)
    index = torch.arange(count) * len(split.train_labels) // count
    wanted = split.train_labels.sort().values[index].tolist()
    report = evaluate(
        split.train.values, split.test.values, model.generate(wanted, seed=seed).series,
        train_labels=split.train_labels.tolist(), test_labels=split.test_labels.tolist(),
        generated_labels=wanted, steps=0, seed=seed,
        measures=(fidelity_measures, memory_measures, RidgeJudge()),
    )  # fmt: skip
    found: dict[str, Any] = {
        "set": split.name, "seed": seed, "minutes": minutes, "arm": arm, "tokens": model.tokens_,
        "codes_per_token": model.config_.tokenizer.codes_per_token,
        "steps": model.config_.prior_training.steps, "cpu_seconds": round(seconds, 1),
    }  # fmt: skip
    for name, start in ROWS.items():
        row = next(r for r in report.rows if r.name.startswith(start))
        found |= {name: round(row.value, 4), f"{name}_real": round(row.reference, 4)}
    return found


def table(rows: list[dict[str, Any]], *, arms: tuple[str, ...] = ARMS) -> Iterator[str]:
    """Lay out means over seeds, and each arm paired with `auto` over sets and seeds."""
    cells = {(r["set"], r["seed"], r["arm"]): r for r in rows}
    yield "| set | arm | tokens | codes a token | FID (real) | CAS (real) | coverage | CPU s |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for name in dict.fromkeys(r["set"] for r in rows):
        for arm in arms:
            some = [r for r in rows if (r["set"], r["arm"]) == (name, arm)]
            if not some:
                continue
            mean = {
                key: statistics.fmean(float(r[key]) for r in some)
                for key in (*ROWS, *(f"{key}_real" for key in ROWS), "cpu_seconds", "tokens")
            }
            yield (
                f"| {name} | {arm} | {mean['tokens']:.0f} | {some[0]['codes_per_token']} "
                f"| {mean['frechet']:.3g} ({mean['frechet_real']:.3g}) "
                f"| {100 * mean['cas']:.1f} ({100 * mean['cas_real']:.1f}) "
                f"| {mean['coverage']:.2f} | {mean['cpu_seconds']:.0f} |"
            )
    yield ""
    yield "| arm, beside `auto` | cells | FID, times (95 %) | CAS, points (95 %) |"
    yield "| --- | --- | --- | --- |"
    for arm in arms[1:]:
        pairs = [
            (r, cells[name, seed, "auto"])
            for (name, seed, which), r in cells.items()
            if which == arm and (name, seed, "auto") in cells
        ]
        fid = mean_interval([math.log(float(a["frechet"]) / float(b["frechet"])) for a, b in pairs])
        cas = mean_interval([100 * (float(a["cas"]) - float(b["cas"])) for a, b in pairs])
        low, middle, high = (math.exp(v) for v in (fid.low, fid.mean, fid.high))
        yield (
            f"| {arm} | {len(pairs)} | {middle:.2f} ({low:.2f} to {high:.2f}) "
            f"| {cas.mean:+.1f} ({cas.low:+.1f} to {cas.high:+.1f}) |"
        )


def main(words: list[str] | None = None) -> None:
    """Compute the rows that are missing: all sets and arms of a seed before the next."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=pathlib.Path, help="a folder of .npz files")
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--kind", choices=("test", "validation"), default="test")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("general_priors.csv"))
    parser.add_argument("--table", action="store_true", help="print what is there, and do no more")
    options = parser.parse_args(words)
    if options.table:
        print("\n".join(table(read_rows(options.out))))
        return
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    found = find_datasets(options.sets, folder=options.data)
    done = set()
    if options.out.exists():
        done = {(r["set"], int(r["seed"]), r["arm"]) for r in read_rows(options.out)}
    for seed in options.seeds:
        for name, data in found.items():
            split = make_split(name, data, kind=options.kind, seed=seed, most_test=MOST_TESTED)
            for arm in options.arms:
                if (name, seed, arm) in done:
                    continue
                row = cell(arm, split, seed=seed, minutes=options.minutes)
                append_rows(options.out, FIELDS, [row])
                print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)


if __name__ == "__main__":
    main()
