"""Which objective makes tokens most legible for least harm to generation, at equal time?

    python -m benchmarks.studies.ssl_tokens.development --data DATA --out FOLDER
    python benchmarks/studies/objectives.py --data FOLDER --calibrate   # once: steps and weights
    python benchmarks/studies/objectives.py --data FOLDER               # the rows that are missing
    python benchmarks/studies/objectives.py --print                     # tables of what is there
    python benchmarks/studies/objectives.py --page docs/pages/results/objectives.md

Development parts only: no test split of the archive is read. Everything but stage 1's objective is
`auto`'s plan, with fixed steps. An arm is an objective as the config's word builds it, but for two
things that `--calibrate` measures once and leaves in a table that is committed beside the rows:

- **Steps.** All arms of a set get the processor time that `none` needs for `STEPS_ONE` steps of
  stage 1: seconds a step are measured in turns, and their ratio to `none`, the median over rounds,
  gives the steps. Stage 2 has `STEPS_TWO` steps for all.
- **Weight.** Losses have scales of their own. Each objective's gradient on the encoder gets the
  norm that Barlow Twins' has at `auto`'s weight: the median ratio over steps of a short training
  in which the objective hardly moves the encoder, and its own parts learn.

Rows that the file already has are not computed again; a row repeats bit for bit.
"""

import argparse
import csv
import dataclasses
import functools
import itertools
import math
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from benchmarks.studies.objectives_tables import ALIGNED, ARMS, FIRST, NONE, Row, read_rows, tables
from benchmarks.studies.ssl_tokens.data import Split, find_datasets, make_split

from ssltok.data import SeriesSet
from ssltok.evaluation import Measure, RidgeJudge, Sets, evaluate, fidelity_measures
from ssltok.losses import cka_loss
from ssltok.nn import average_max_pool
from ssltok.pipelines import (
    Config,
    Parts,
    SSLTokenizer,
    auto,
    build_stage_one,
    start_tokenizer,
    tokenizer_measures,
    tokenizer_stage,
)
from ssltok.signal import ChannelScaler
from ssltok.training import Alignment

RESULTS, ROWS_FILE = pathlib.Path(__file__).parent / "results", "objectives.csv"
SETS = ("Twov", "ECGv", "Wafv", "SC")  # named before any score was seen
SEEDS = (0, 1, 2, 3)
STEPS_ONE, STEPS_TWO = 300, 300
ROUNDS, APART = 12, 1e-3  # of the calibration; the weight at which the encoder hardly moves
GENERATED = 250  # at least
ROWS = {
    "probe": "linear probe on tokens", "probe_mean": "linear probe on mean token",
    "frechet": "Frechet distance", "cas": "CAS, ridge", "explained": "variance explained",
    "prior_half": "loss of the prior, 50 % hidden",
}  # fmt: skip
FIELDS = (
    "set", "arm", "seed", "steps_one", "steps_two", "weight", "tokens", "codes", *ROWS,
    "probe_series", "frechet_real", "cas_real", "cpu_fit", "cpu_all",
)  # fmt: skip
MARKS = "<!-- objectives -->", "<!-- end of objectives -->"
CALIBRATION = ("set", "arm", "time_ratio", "gradient", "steps_one", "weight")


@functools.lru_cache(maxsize=8)
def multirocket_rows(name: str, digest: str) -> Tensor:
    """MultiRocket features of a set's training series, `(cases, rank)`.

    Standardised, and turned to as many columns as there are series: a linear kernel sees no
    difference.
    """
    from aeon.transformations.collection.convolution_based import MultiRocket

    series = SERIES[name, digest].double().numpy()
    features = torch.from_numpy(MultiRocket(random_state=0).fit_transform(series)).double()
    features = features - features.mean(dim=0)
    scale = features.square().mean(dim=0).sqrt()
    features = features / scale.where(scale > 1e-9, torch.inf) / math.sqrt(features.shape[1])
    values, vectors = torch.linalg.eigh(features @ features.T)
    seen = values > 1e-9 * values[-1]
    rows: Tensor = (vectors[:, seen] * values[seen].sqrt()).float()
    return rows


SERIES: dict[tuple[str, str], Tensor] = {}


def teacher_of(split: Split) -> Any:
    """A function that finds a training series, and returns its MultiRocket features."""
    train = split.train
    learned = ChannelScaler().fit(train.values, train.valid)(train.values).flatten(1)
    SERIES[split.name, train.digest()] = train.values
    rows = multirocket_rows(split.name, train.digest())

    def teacher(series: Tensor) -> Tensor:
        nearest = torch.cdist(series.flatten(1), learned).argmin(dim=1)
        return torch.index_select(rows, 0, nearest)

    return teacher


def parts_of(arm: str, split: Split) -> Parts:
    """What an arm passes beside the config: only alignment is no word of it."""
    if arm != ALIGNED:
        return Parts()
    objective = partial(
        Alignment, teacher=teacher_of(split), loss=cka_loss, projector=torch.nn.Identity()
    )
    return Parts(objective=objective, pool=average_max_pool)


def config_of(arm: str, split: Split, *, steps: tuple[int, int], weight: float) -> Config:
    """What `auto` plans for a set, with the arm's word, weight and steps."""
    key = split.name, split.train.digest()
    if key not in PLANS:
        PLANS[key] = auto(split.train, classes=split.classes).config
    base = PLANS[key]
    word: Any = NONE if arm == ALIGNED else arm
    return dataclasses.replace(
        base,
        tokenizer=dataclasses.replace(base.tokenizer, ssl=word, ssl_weight=weight),
        tokenizer_training=dataclasses.replace(base.tokenizer_training, steps=steps[0]),
        prior_training=dataclasses.replace(base.prior_training, steps=steps[1]),
    )


PLANS: dict[tuple[str, str], Config] = {}


class Trainee:
    """Stage 1 of an arm, a step at a time, for the calibration."""

    def __init__(self, arm: str, split: Split) -> None:
        weight = 0.0 if arm == NONE else APART
        self.config = config_of(arm, split, steps=(STEPS_ONE, 1), weight=weight)
        parts = parts_of(arm, split)
        channels, length = split.train.values.shape[1:]
        batch = self.config.tokenizer_training.batch
        self.model = build_stage_one(
            self.config, channels=channels, length=length, batch=batch, seed=0, parts=parts
        )
        tokenizer = self.model.tokenizer
        tokenizer.fit_scale(split.train)
        scaled = tokenizer.scaled(split.train)
        start_tokenizer(tokenizer, scaled, seed=0)
        self.stage, training, _ = tokenizer_stage(
            self.model, scaled, split.train_labels, self.config, seed=0, world=1
        )
        self.rows = slice(0, training.batch)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=training.learning_rate)
        self.learned = [p for p in tokenizer.parameters() if p.requires_grad]
        self.model.train()

    def step(self, number: int) -> float:
        """One step of training; the seconds of the processor that it took."""
        began = time.process_time()
        output = self.model(self.stage.draw(number, self.rows))
        self.optimizer.zero_grad()
        output.loss.backward()
        self.optimizer.step()
        self.stage.after_step(number, [output])
        return time.process_time() - began

    def gradient(self, number: int) -> float:
        """The norm of the objective's gradient on the tokenizer."""
        output = self.model(self.stage.draw(number, self.rows))
        parts = torch.autograd.grad(output.terms.agreement, self.learned, allow_unused=True)
        return math.sqrt(sum(float(part.square().sum()) for part in parts if part is not None))


def calibrate(split: Split, arms: Sequence[str]) -> list[Row]:
    """Measure time and gradient of a step of each arm, in turns."""
    trained = {arm: Trainee(arm, split) for arm in arms}
    times: dict[str, list[float]] = {arm: [] for arm in arms}
    norms: dict[str, list[float]] = {arm: [] for arm in arms}
    for number in range(ROUNDS):
        for arm, one in trained.items():
            seconds = one.step(number)
            if number >= 2:
                times[arm].append(seconds)
            if arm != NONE and number % 3 == 2:
                norms[arm].append(one.gradient(number))
    rows = []
    for arm in arms:
        pairs = zip(times[arm], times[NONE], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        shares = [b / a for a, b in zip(norms[arm], norms[FIRST], strict=False)]
        rows.append({
            "set": split.name, "arm": arm, "time_ratio": round(ratio, 3),
            "gradient": f"{statistics.median(norms[arm]):.3g}" if norms[arm] else 0,
            "steps_one": max(1, round(STEPS_ONE / ratio)),
            "weight": f"{statistics.median(shares):.2g}" if shares else 0,
        })  # fmt: skip
    return rows


def chosen(measures: Callable[[Sets], Sequence[Measure]], sets: Sets) -> list[Measure]:
    """Those of some measures that the study reads, and no others."""
    return [
        measure
        for measure in measures(sets)
        if any(row[0].startswith(name) for row in measure.rows for name in ROWS.values())
    ]


def cell(split: Split, arm: str, *, seed: int, steps: tuple[int, int], weight: float) -> Row:
    """Train an arm, generate, judge on the development set's other part."""
    began = time.process_time()
    config = config_of(arm, split, steps=steps, weight=weight)
    train, labels = split.train, split.train_labels
    parts = parts_of(arm, split)
    model = SSLTokenizer(config, parts=parts, seed=seed, progress=False)
    model.fit(_series(train), labels.tolist())
    trained = time.process_time() - began
    count = max(len(labels), GENERATED)
    wanted = labels.sort().values[torch.arange(count) * len(labels) // count].tolist()
    generated = model.generate(wanted, seed=seed).series
    report = evaluate(
        _series(train), _series(split.test), generated,
        train_labels=labels.tolist(), test_labels=split.test_labels.tolist(),
        generated_labels=wanted, steps=0, seed=0,
        measures=(
            partial(chosen, fidelity_measures), RidgeJudge(),
            partial(chosen, tokenizer_measures(model)),
        ),
    )  # fmt: skip
    row: Row = {
        "set": split.name, "arm": arm, "seed": seed, "steps_one": steps[0], "steps_two": steps[1],
        "weight": weight, "tokens": model.tokens_, "codes": config.tokenizer.codebook_size,
    }  # fmt: skip
    for name, start in ROWS.items():
        measure = next(r for r in report.rows if r.name.startswith(start))
        row[name] = round(measure.value, 4)
        beside = {"probe": "probe_series", "frechet": "frechet_real", "cas": "cas_real"}
        if name in beside:
            row[beside[name]] = round(measure.reference, 4)
    row["cpu_fit"] = round(trained, 1)
    row["cpu_all"] = round(time.process_time() - began, 1)
    return row


def _series(data: SeriesSet) -> Tensor:
    return data.values.where(data.valid, torch.nan)


def append_row(path: pathlib.Path, fields: Sequence[str], row: Row) -> None:
    """Add a row to a CSV file, below a header if it is the first."""
    first = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fields)
        if first:
            writer.writeheader()
        writer.writerow(row)


def main(words: list[str] | None = None) -> None:
    """Calibrate, or compute the rows that are missing: all of a seed before the next one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=pathlib.Path, help="what `development` has written")
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS, help="a folder")
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--page", type=pathlib.Path, help="a page to write the tables into")
    parser.add_argument("--print", action="store_true", help="only print the tables")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    steps_file, rows_file = (options.results / name for name in ("objectives_steps.csv", ROWS_FILE))
    if options.print or options.page:
        text = "\n".join(tables(read_rows(rows_file)))
        print(text)
        if options.page:
            page = options.page.read_text(encoding="utf-8")
            before, after = page.split(MARKS[0])[0], page.split(MARKS[1])[1]
            options.page.write_text(
                f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}", encoding="utf-8"
            )
        return
    datasets = find_datasets(options.sets, folder=options.data)
    splits = {
        name: make_split(name, data, kind="test", seed=0, most_test=1000)
        for name, data in datasets.items()
    }
    measured = {(row["set"], row["arm"]): row for row in read_rows(steps_file)}
    if options.calibrate:
        for name, split in splits.items():
            if not any((name, arm) in measured for arm in options.arms):
                for row in calibrate(split, options.arms):
                    append_row(steps_file, CALIBRATION, row)
        return
    done = {(row["set"], row["arm"], int(row["seed"])) for row in read_rows(rows_file)}
    for seed in options.seeds:
        for name, arm in itertools.product(splits, options.arms):
            if (name, arm, seed) in done:
                continue
            given = measured[name, arm]
            steps, weight = (int(given["steps_one"]), STEPS_TWO), float(given["weight"])
            row = cell(splits[name], arm, seed=seed, steps=steps, weight=weight)
            append_row(rows_file, FIELDS, row)
            print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
