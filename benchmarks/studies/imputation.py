"""Gaps of ETTh1 filled by tokens, beside lines, the Gaussian alone and what TSI-Bench publishes.

    python benchmarks/studies/imputation.py --data FOLDER --out rows.csv
    python benchmarks/studies/imputation.py --data FOLDER --out rows.csv --minutes 60
    python benchmarks/studies/imputation.py --data FOLDER --out ideas.csv --ideas   # validation

`--data` is a folder with ETTh1.csv (github.com/zhouhaoyi/ETDataset, ETT-small). Rows are appended
as they come, and a row that is there is not made again.

**Protocol** (TSI-Bench, Awesome_Imputation and BenchPOTS): months 1 to 14 train, 15 to 19
validate, 20 to 24 test; each channel standardised by train; windows of 48 hours that do not overlap
(213, 76 and 72); gaps as PyGrinder draws them: points at 10, 50 and 90 %, sub-sequences of 36 hours
in half of the values, blocks of 6 hours and 6 neighbouring channels (factor 0.36, which hides
about half); mean absolute and squared error of the hidden values, standardised. Published rows are
means over 5 trained models at one draw of gaps; here each seed is a model and a draw of gaps.

**One model** for all patterns learns from windows of 48 hours of the training months, a day apart.
Nothing is chosen on the test months: `--ideas` is what the choice was made by, on validation.
"""

import argparse
import copy
import csv
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from benchmarks.side_by_side import machine

from ssltok.masking import gap_mask
from ssltok.pipelines import (
    Config,
    DecodingConfig,
    Parts,
    PriorConfig,
    SSLTokenizer,
    TokenizerConfig,
)
from ssltok.signal import GaussianFill, LineFill, line_fill
from ssltok.training import TrainingConfig

__all__ = ["IDEAS", "PATTERNS", "config_for", "cut", "hide", "main", "rows_of", "summary"]

STEPS = 48
MONTHS = (14, 19)  # the first of validation, the first of test
RATE = (25.0, 40.0)  # steps a second of stage 1 and of stage 2, one thread of the machine of README
SHARES = (0.7, 0.3)  # of the minutes
LEAST = 20
COLUMNS = (
    "part", "pattern", "seed", "arm", "mae", "mse", "hidden", "steps", "seconds", "minutes",
)  # fmt: skip
PUBLISHED = {
    "point 10 %": {"SAITS": (0.144, 0.047), "BRITS": (0.145, 0.064), "CSDI": (0.151, 0.057),
                   "linear, theirs": (0.197, 0.106)},
    "point 50 %": {"SAITS": (0.223, 0.107), "BRITS": (0.238, 0.127),
                   "Crossformer": (0.270, 0.146), "linear, theirs": (0.267, 0.178)},
    "point 90 %": {"SAITS": (0.507, 0.498), "PatchTST": (0.517, 0.516),
                   "linear, theirs": (0.616, 1.014)},
    "sub-sequence": {"CSDI": (0.558, 0.783), "Informer": (0.571, 0.731),
                     "linear, theirs": (0.722, 1.322)},
    "block": {"CSDI": (0.401, 0.340), "SAITS": (0.424, 0.387), "StemGNN": (0.433, 0.384),
              "linear, theirs": (0.527, 0.699)},
}  # fmt: skip
"""MAE and MSE, from the result files of Awesome_Imputation at dabbfde."""
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def _points(rate: float) -> Callable[[tuple[int, ...], np.random.Generator], Mask]:
    return lambda shape, random: random.random(shape) < rate


def _stretches(shape: tuple[int, ...], random: np.random.Generator) -> Mask:
    """Stretches of 36 in so many channels of windows, each once, that half of all is hidden."""
    cases, channels, length = shape
    count = math.ceil(cases * channels * 0.5 * length / 36)
    rows = random.choice(cases * channels, count, replace=False)
    starts = random.choice(length - 36, count)
    mask = np.zeros((cases * channels, length), dtype=bool)
    for row, start in zip(rows, starts, strict=True):
        mask[row, start : start + 36] = True
    return mask.reshape(shape)


def _blocks(shape: tuple[int, ...], random: np.random.Generator) -> Mask:
    """Blocks of 6 hours and 6 channels, with replacement; they may overlap."""
    cases, channels, length = shape
    places = cases * (channels - 6 + 1)
    count = math.ceil(places * 0.36 * length * channels / 36)
    firsts = random.choice(places, count)
    starts = random.choice(length - 6 + 1, count)
    mask = np.zeros(shape, dtype=bool)
    for place, start in zip(firsts, starts, strict=True):
        case, channel = divmod(int(place), channels - 6 + 1)
        mask[case, channel : channel + 6, start : start + 6] = True
    return mask


PATTERNS: dict[str, Callable[[tuple[int, ...], np.random.Generator], Mask]] = {
    "point 10 %": _points(0.1),
    "point 50 %": _points(0.5),
    "point 90 %": _points(0.9),
    "sub-sequence": _stretches,
    "block": _blocks,
}
"""Gaps by name, as PyGrinder draws them."""


class Idea(NamedTuple):
    """A way to fill: a tokenizer, and what is made of its tokens."""

    config: dict[str, Any]
    complete: bool = True
    lines: bool = False
    residual: str = "mean"
    samples: int = 1


TOKENIZER: dict[str, Any] = {
    "coder": "patch", "widths": (12,), "dim": 64, "blocks": 1, "codebook_size": 256,
    "quantizer": "residual", "codes_per_token": 4, "ssl": "none", "view_weight": 0.0, "gaps": 0.9,
}  # fmt: skip
ONE = {"quantizer": "ema", "codes_per_token": 1}
CHOSEN = Idea({})
IDEAS = {
    "tokens and the Gaussian of the rest": CHOSEN,
    "tokens alone": Idea({}, residual="none"),
    "tokens and lines of the rest": Idea({}, lines=True),
    "median of 5 draws": Idea({}, samples=5),
    "one draw of the rest": Idea({}, residual="drawn"),
    "one code a token": Idea(ONE),
    "one code a token, alone": Idea(ONE, residual="none"),
    "tokens of 2 hours": Idea(ONE | {"widths": (24,), "codebook_size": 512}),
    "tokens of 2 hours, alone": Idea(
        ONE | {"widths": (24,), "codebook_size": 512}, residual="none"
    ),
    "a transformer coder": Idea(ONE | {"coder": "transformer", "widths": (24,), "blocks": 2}),
    "channel by channel": Idea(ONE | {"channelwise": True, "widths": (8,)}),
    "learned from whole series": Idea({"gaps": 0.0}),
    "whole series, tokens alone": Idea({"gaps": 0.0}, residual="none"),
    "as before: no gaps, no fill": Idea({"gaps": 0.0}, complete=False),
}
"""What was tried, by the validation months; the first is what is run on test."""


def cut(file: pathlib.Path) -> tuple[Array, Array, Array]:
    """Train `(hours, 7)`, validation and test `(windows, 7, 48)`, standardised by train."""
    with open(file, newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    months = [row[0][:7] for row in rows]
    order = {month: number for number, month in enumerate(dict.fromkeys(months))}
    number = np.array([order[month] for month in months])
    values = np.array([[float(x) for x in row[1:]] for row in rows])
    first, second = MONTHS
    train = values[number < first]
    values = (values - train.mean(0)) / train.std(0)
    parts = [values[(number >= first) & (number < second)], values[number >= second]]
    windows = [
        p[: len(p) // STEPS * STEPS].reshape(-1, STEPS, p.shape[1]).transpose(0, 2, 1)
        for p in parts
    ]
    return values[number < first], windows[0], windows[1]


def hide(windows: Array, pattern: str, seed: int) -> Mask:
    """The gaps of a pattern and a seed."""
    number = list(PATTERNS).index(pattern)
    return PATTERNS[pattern](windows.shape, np.random.default_rng([seed, number]))


def training_windows(train: Array, stride: int = 24) -> Array:
    """Windows of 48 hours, a day apart: each begins at midnight, as those of the test do."""
    view = np.lib.stride_tricks.sliding_window_view(train, STEPS, axis=0)
    return np.ascontiguousarray(view[::stride])


def config_for(minutes: float, changes: dict[str, Any]) -> Config:
    """The config of an idea, its steps by minutes on one thread and fixed rates."""
    steps = [
        max(LEAST, round(60 * minutes * share * rate))
        for share, rate in zip(SHARES, RATE, strict=True)
    ]
    learning: dict[str, Any] = {"batch": 32, "learning_rate": 2e-3, "warmup_ratio": 0.05}
    return Config(
        tokenizer=TokenizerConfig(**TOKENIZER | changes),
        prior=PriorConfig(dim=128, depth=2, heads=4, mlp_ratio=2.0),
        tokenizer_training=TrainingConfig(steps=steps[0], **learning),
        prior_training=TrainingConfig(steps=steps[1], **learning),
        decoding=DecodingConfig(steps=10),
    )


def naive_arms(train: Array) -> dict[str, Callable[[Array, Mask], Array]]:
    """Lines, and the Gaussian of the series themselves: no tokens, no network."""
    series = torch.from_numpy(training_windows(train)).repeat_interleave(2, dim=0)
    shape = (len(series), series.shape[1], series.shape[2])
    holes = gap_mask(shape, ratio=0.9, generator=torch.Generator().manual_seed(0))
    gaussian = GaussianFill(shape[1], shape[2]).fit(series, holes=holes)
    return {
        "linear": lambda x, gone: line_fill(torch.from_numpy(x), torch.from_numpy(~gone)).numpy(),
        "Gaussian, no tokens": lambda x, gone: gaussian(
            torch.from_numpy(x), torch.from_numpy(~gone)
        ).numpy(),
    }


def rows_of(
    folder: pathlib.Path,
    seed: int,
    *,
    minutes: float,
    ideas: dict[str, Idea],
    part: str,
    done: set[tuple[str, ...]],
) -> Iterator[dict[str, object]]:
    """Yield a row for each arm, pattern and seed that is not done."""
    train, validation, test = cut(folder / "ETTh1.csv")
    windows = {"validation": validation, "test": test}[part]

    def row(pattern: str, arm: str, filled: Array, **more: object) -> dict[str, object]:
        gone = hide(windows, pattern, seed)
        off = (filled - windows)[gone]
        return {
            "part": part, "pattern": pattern, "seed": seed, "arm": arm,
            "mae": f"{np.abs(off).mean():.4f}", "mse": f"{np.square(off).mean():.4f}",
            "hidden": f"{gone.mean():.3f}", "minutes": f"{minutes:g}", **more,
        }  # fmt: skip

    def missing(arm: str) -> list[str]:
        return [p for p in PATTERNS if (part, p, str(seed), arm, f"{minutes:g}") not in done]

    if any(map(missing, ("linear", "Gaussian, no tokens"))):
        begun = time.process_time()
        arms = naive_arms(train)
        for arm, fill in arms.items():
            for pattern in missing(arm):
                filled = fill(windows, hide(windows, pattern, seed))
                seconds = f"{time.process_time() - begun:.1f}"
                yield row(pattern, arm, filled, steps=0, seconds=seconds)
    models: dict[str, tuple[SSLTokenizer, float]] = {}
    for arm, idea in ideas.items():
        if not missing(arm):
            continue
        key = repr((idea.config, idea.complete))
        config = config_for(minutes, idea.config)
        if key not in models:
            begun = time.process_time()
            parts = Parts(fill=GaussianFill if idea.complete else None)
            model = SSLTokenizer(config, seed=seed, progress=False, parts=parts, cpu=True)
            model.fit(training_windows(train))
            models[key] = model, time.process_time() - begun
        model, took = models[key]
        if idea.lines:
            model = copy.deepcopy(model)
            model.artifact_.tokenizer.fill = LineFill()
        for pattern in missing(arm):
            gone = hide(windows, pattern, seed)
            draws: Any = model.impute(
                np.where(gone, np.nan, windows), lengths=[STEPS] * len(windows),
                samples=idea.samples, residual=idea.residual, seed=seed,  # type: ignore[arg-type]
            )  # fmt: skip
            filled = np.median(draws.astype(np.float64), axis=0)
            filled = np.nan_to_num(filled)  # a channel without any value, where it stays so: 0
            steps = config.tokenizer_training.steps
            yield row(pattern, arm, filled, steps=steps, seconds=f"{took:.1f}")


def summary(rows: list[dict[str, str]]) -> str:
    """A table of MAE and MSE, means over seeds, patterns across."""
    lines = []
    for part in dict.fromkeys(row["part"] for row in rows):
        here = [row for row in rows if row["part"] == part]
        patterns = [p for p in PATTERNS if any(row["pattern"] == p for row in here)]
        lines += [f"| {part} | {' | '.join(patterns)} |", "| --- |" + " --- |" * len(patterns)]
        for arm in dict.fromkeys(row["arm"] for row in here):
            cells = []
            for pattern in patterns:
                some = [r for r in here if (r["pattern"], r["arm"]) == (pattern, arm)]
                mae, mse = (
                    np.mean([float(r[k]) for r in some] or [np.nan]) for k in ("mae", "mse")
                )
                cells.append(f"{mae:.3f} / {mse:.3f}")
            lines.append(f"| {arm} | {' | '.join(cells)} |")
        if part == "test":
            names = dict.fromkeys(name for published in PUBLISHED.values() for name in published)
            for name in names:
                pairs = [PUBLISHED[p].get(name) for p in patterns]
                cells = ["" if x is None else f"{x[0]:.3f} / {x[1]:.3f}" for x in pairs]
                lines.append(f"| {name}, published | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Make the rows that are missing, and print the table of all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="a folder with ETTh1.csv")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a .csv file of rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=0.5, help="of one thread, a model")
    parser.add_argument(
        "--ideas", nargs="*", help="what was tried, on validation; all, or those that are named"
    )
    options = parser.parse_args(arguments)
    rows = _read(options.out)
    done = {tuple(row[k] for k in ("part", "pattern", "seed", "arm", "minutes")) for row in rows}
    named = [next(iter(IDEAS))] if options.ideas is None else options.ideas or list(IDEAS)
    ideas = {name: IDEAS[name] for name in named}
    part = "test" if options.ideas is None else "validation"
    new = not options.out.exists()
    with open(options.out, "a", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS)
        if new:
            table.writeheader()
        for seed in options.seeds:
            for row in rows_of(
                options.data, seed, minutes=options.minutes, ideas=ideas, part=part, done=done
            ):
                table.writerow(row)
                stream.flush()
    print(summary(_read(options.out)))
    print(machine())


def _read(path: pathlib.Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    main()
