"""Rules of decoding, side by side on one trained model a set and seed: forwards against quality.

    python benchmarks/studies/decoding.py --results FOLDER --data FOLDER --seeds 0 1 2 3
    python benchmarks/studies/decoding.py --results FOLDER --datasets GunPoint --only schedule
    python benchmarks/studies/decoding.py --results FOLDER --print  # the table of what is there

Data sets are files NAME.npz in `--data` (X_train, y_train, X_test, y_test), or archive names.
Resumable: a model is trained once and kept as a folder; each rule is a line of `rows.csv`, written
when it is known, and what is there is not run again. Models, rows and settings of one folder belong
together.

Columns: `forwards`, rows that went through the priors by series, so that a second forward of
guidance, both branches and rows not asked for count as what they are; `calls`, by batch; `seconds`
of processor time for all series; `fid` (FCN) and `cas` (ridge on ROCKET) of the study of SSL tokens
and its judge; `diversity`, the mean distance between two generated series of a class over that
between two training series of it (1 is as diverse). The printed table pairs every rule with
`schedule 10`, the default, over sets and seeds: the ratio of FIDs and the difference of CAS with
their 95 % intervals.
"""

import argparse
import csv
import dataclasses
import json
import math
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

import torch
from benchmarks.studies.ssl_tokens.data import Split, find_datasets, make_split
from benchmarks.studies.ssl_tokens.judge import Judge, JudgeSettings
from benchmarks.studies.ssl_tokens.paired import mean_interval
from torch import Tensor

from ssltok.data import Dataset
from ssltok.decoding import (
    classifier_free_guidance,
    confidence_order,
    entropy_bound,
    interval_scale,
    moment_order,
    moment_sample,
    planning_order,
    random_order,
    remask_loop,
    remask_order,
    rising_scale,
)
from ssltok.masking import cosine_schedule
from ssltok.pipelines import DecodingConfig, Parts, SSLTokenizer, build_decoding, generate
from ssltok.training import keyed_generator

__all__ = ["RULES", "Rule", "main", "run_cell", "summary"]

BASE, MOST = "schedule 10", 1_000  # forwards that a rule may take
Row = dict[str, Any]
COLUMNS = (
    "dataset", "seed", "rule", "forwards", "calls", "seconds", "fid", "fid_rocket", "cas",
    "diversity", "cases",
)  # fmt: skip


class Rule(NamedTuple):
    """What is changed of a model's own decoding: words of the config, and parts."""

    words: dict[str, Any]
    parts: Callable[[DecodingConfig], Parts] = lambda config: Parts()


def counted(count: str, *bounds: float) -> dict[str, Rule]:
    """A rule that says how many, at several bounds: alone, and beside the schedule's pace."""
    alone = {
        f"{count} {bound:g}": Rule({"count": count, "bound": bound, "steps": MOST})
        for bound in bounds
    }
    paced = {
        f"{count} {bound:g}, paced": Rule(
            {"count": count, "bound": bound, "steps": 10},
            lambda config: Parts(schedule=cosine_schedule),
        )
        for bound in bounds
    }
    return alone | paced


def _moments(config: DecodingConfig) -> Parts:
    tau = config.order_temperature
    return Parts(order=moment_order(temperature=tau), sampling=moment_sample(temperature=tau))


def _in_order(bound: float) -> Callable[[DecodingConfig], Parts]:
    """The default's order and its slowest pace, and more at once where entropies are small."""

    def parts(config: DecodingConfig) -> Parts:
        order = confidence_order(temperature=config.order_temperature)
        return Parts(settle=entropy_bound(bound, order=order), schedule=cosine_schedule)

    return parts


def _loop(config: DecodingConfig) -> Parts:
    loop = remask_loop()
    order = remask_order(random_order(), probability=loop.probability)
    return Parts(schedule=loop.schedule, order=order)


def _planned(eta: float) -> Callable[[DecodingConfig], Parts]:
    return lambda config: Parts(order=planning_order(eta=eta))


def _guided(scale: Callable[[float], Any]) -> Callable[[DecodingConfig], Parts]:
    def parts(config: DecodingConfig) -> Parts:
        rule = partial(classifier_free_guidance, scale=scale(config.guidance))
        return Parts(guidance=rule if config.guidance != 1 else None)

    return parts


RULES: dict[str, Rule] = {
    **{f"schedule {steps}": Rule({"steps": steps}) for steps in (10, 3, 5, 20, 40)},
    **counted("entropy_bound", 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    **{f"entropy_bound {bound:g} in the default order": Rule({"steps": 10}, _in_order(bound))
       for bound in (0.5, 1.0, 2.0, 4.0)},
    **counted("confidence_threshold", 0.2, 0.4, 0.6),
    **counted("confidence_factor", 1.0, 2.0, 4.0),
    **counted("stable_prediction", 0.05, 0.5),
    **{f"moments {steps}": Rule({"steps": steps}, _moments) for steps in (5, 10)},
    **{f"planning {eta:g}": Rule({"steps": 10}, _planned(eta)) for eta in (0.5, 1.0)},
    "remask loop 20": Rule({"steps": 20}, _loop),
    **{f"unguided {steps}": Rule({"steps": steps, "guidance": 1.0}) for steps in (5, 10, 20)},
    "rising guidance": Rule({"steps": 10}, _guided(lambda s: rising_scale(2 * s - 1))),
    "late guidance": Rule({"steps": 10}, _guided(lambda s: interval_scale(s, start=0.5))),
    "late guidance 7": Rule({"steps": 7}, _guided(lambda s: interval_scale(s, start=4 / 7))),
    "late guidance 8": Rule({"steps": 8}, _guided(lambda s: interval_scale(s, start=0.75))),
}  # fmt: skip
"""Rules by name. The first is the default, with which the others are paired."""


class Passes:
    """Counts what goes through the priors of a model: calls, and rows of tokens."""

    def __init__(self, prior: torch.nn.Module) -> None:
        self.calls, self.rows = 0, 0
        self.hooks = [
            part.register_forward_pre_hook(self._count)
            for part in prior.transformers  # type: ignore[union-attr]
        ]

    def _count(self, module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        self.calls, self.rows = self.calls + 1, self.rows + len(args[0])

    def stop(self) -> None:
        """Count no more."""
        for hook in self.hooks:
            hook.remove()


def trained(split: Split, preset: Any, *, seed: int, place: pathlib.Path) -> SSLTokenizer:
    """The model of a set and seed: from its folder, or trained and put there."""
    if not place.is_dir():
        model = SSLTokenizer(preset, seed=seed, cpu=True)
        model.fit(split.train.values.numpy(), split.train_labels.tolist())
        place.parent.mkdir(parents=True, exist_ok=True)
        model.save(place)
    return SSLTokenizer.load(place)


def diversity(series: Tensor, labels: Tensor, split: Split) -> float:
    """Mean distance within a class, generated over training, averaged over the classes."""
    ratios = []
    for label in split.train_labels.unique():
        both = [
            torch.pdist(part.flatten(1).double()).mean()
            for part in (series[labels == label], split.train.values[split.train_labels == label])
            if len(part) > 1
        ]
        if len(both) == 2:
            ratios.append(float(both[0] / both[1]))
    return statistics.mean(ratios) if ratios else math.nan


def run_cell(
    split: Split, model: SSLTokenizer, judge: Judge, rules: Sequence[str], *, seed: int
) -> Iterator[Row]:
    """Generate by each rule from one model, count what it took, and judge it."""
    artifact, labels = model.artifact_, judge.wanted
    lengths = torch.full((len(labels),), split.train.values.shape[2])
    for name in rules:
        words, parts = RULES[name]
        config = dataclasses.replace(artifact.config.decoding, **words)
        decoding = build_decoding(config, artifact.tokenizer, parts=parts(config))
        passes, start = Passes(artifact.prior), time.process_time()
        series = generate(
            artifact.tokenizer, artifact.prior, labels=labels, lengths=lengths, decoding=decoding,
            generator=keyed_generator(seed, "decoding study"),
        ).series  # fmt: skip
        seconds = time.process_time() - start
        passes.stop()
        figures = judge.figures(series, labels)
        yield {
            "dataset": split.name, "seed": seed, "rule": name,
            "forwards": passes.rows / len(labels), "calls": passes.calls, "seconds": seconds,
            "fid": figures["fid"], "fid_rocket": figures["fid_rocket"], "cas": figures["cas"],
            "diversity": diversity(series, labels, split), "cases": len(labels),
        }  # fmt: skip


def read_rows(path: pathlib.Path) -> list[Row]:
    """Rows of a file; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    return [
        {key: value if key in ("dataset", "rule") else float(value) for key, value in row.items()}
        for row in rows
    ]


def write_rows(path: pathlib.Path, rows: Sequence[Row]) -> None:
    """Replace the file by whole lines."""
    draft = path.with_suffix(".draft")
    with draft.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    draft.replace(path)


def summary(rows: Sequence[Row]) -> str:
    """A table, a line a rule: means, and what is paired with the default over sets and seeds."""
    by_rule: dict[str, dict[tuple[str, int], Row]] = {}
    for row in rows:
        by_rule.setdefault(row["rule"], {})[row["dataset"], int(row["seed"])] = row
    base = by_rule.get(BASE, {})
    lines = [
        "| rule | cells | forwards | seconds | FID | FID, times default (95 %) | CAS | "
        "CAS less default, points (95 %) | diversity |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rule, cells in by_rule.items():
        both = sorted(set(cells) & set(base))
        ratio = mean_interval([math.log(cells[k]["fid"] / base[k]["fid"]) for k in both])
        gap = mean_interval([100 * (cells[k]["cas"] - base[k]["cas"]) for k in both])
        mean = {c: statistics.mean(row[c] for row in cells.values()) for c in COLUMNS[3:-1]}
        times, low, high = (math.exp(value) for value in ratio[:3])
        lines.append(
            f"| {rule} | {len(cells)} | {mean['forwards']:.1f} | {mean['seconds']:.2f} "
            f"| {mean['fid']:.3f} | {times:.2f} ({low:.2f} to {high:.2f}) "
            f"| {100 * mean['cas']:.1f} | {gap.mean:+.1f} ({gap.low:+.1f} to {gap.high:+.1f}) "
            f"| {mean['diversity']:.2f} |"
        )
    return "\n".join(lines)


def _claim(folder: pathlib.Path, settings: dict[str, Any]) -> None:
    """Write the settings of a new folder; ask that an old one has the same."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "settings.json"
    settings = json.loads(json.dumps(settings))
    if not path.is_file():
        path.write_text(json.dumps(settings, indent=2))
    elif json.loads(path.read_text()) != settings:
        raise ValueError(f"decoding: settings must be those of {path}; got {settings}")


def _parser() -> argparse.ArgumentParser:
    judge = JudgeSettings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--results", type=pathlib.Path, required=True, help="folder of models and rows")
    add("--data", type=pathlib.Path, help="folder of .npz files")
    add("--datasets", nargs="*", default=[], help="names; none is the whole folder")
    add("--seeds", nargs="*", type=int, default=[0, 1, 2, 3])
    add("--only", nargs="*", default=[], help="rules whose name begins so; none is all")
    add("--preset", default="compact", help="what is trained, by the name of its preset")
    add("--split", choices=("test", "validation"), default="test", help="what is judged on")
    add("--most-test", type=int, default=1000, help="test series at most")
    add("--most-generated", type=int, default=judge.most_generated)
    add("--fcn-steps", type=int, default=judge.fcn_steps, help="budget of the judge's classifier")
    add("--print", action="store_true", help="print the table of what is there, and end")
    return parser


def main(
    arguments: Sequence[str] | None = None, *, arrays: dict[str, Dataset] | None = None,
    preset: Any = None,
) -> None:  # fmt: skip
    """Run what is not there yet, a row at a time, then print the table.

    Args:
        arguments: Of the command; None are the process's own.
        arrays: Data sets that somebody already holds.
        preset: A config in the place of a named preset.
    """
    said = _parser().parse_args(arguments)
    path = said.results / "rows.csv"
    rows = read_rows(path)
    if not said.print:
        judging = JudgeSettings(most_generated=said.most_generated, fcn_steps=said.fcn_steps)
        _claim(said.results, {
            "preset": said.preset if preset is None else dataclasses.asdict(preset),
            "split": said.split, "most_test": said.most_test, "judge": judging._asdict(),
        })  # fmt: skip
        wanted = [name for name in RULES if not said.only or name.startswith(tuple(said.only))]
        datasets = find_datasets(said.datasets, folder=said.data, arrays=arrays)
        for name, data in datasets.items():
            for seed in said.seeds:
                there = {r["rule"] for r in rows if (r["dataset"], r["seed"]) == (name, seed)}
                todo = [rule for rule in wanted if rule not in there]
                if not todo:
                    continue
                split = make_split(name, data, kind=said.split, seed=seed, most_test=said.most_test)
                model = trained(
                    split, preset or said.preset, seed=seed,
                    place=said.results / "models" / f"{name}-{seed}",
                )  # fmt: skip
                judge = Judge(split, judging, cache=said.results / "judges")
                for row in run_cell(split, model, judge, todo, seed=seed):
                    rows.append(row)
                    write_rows(path, rows)
                    print(*(f"{v:.4g}" if isinstance(v, float) else v for v in row.values()))
    print(summary(rows))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
