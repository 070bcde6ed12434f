"""Is the default good on data that nobody prepared? One row a set and seed, as they come.

    python benchmarks/studies/anybody.py --data FOLDER --out rows.csv             # all its .npz
    python benchmarks/studies/anybody.py --data FOLDER --sets A B --seeds 0 1 --minutes 0.2
    python benchmarks/studies/anybody.py --data FOLDER --series ETTh1.csv --out rows.csv
    python benchmarks/studies/anybody.py --out rows.csv --table                      # what is there

FOLDER holds `NAME.npz` with X_train, y_train, X_test, y_test. Nothing is chosen per set: `auto`
reads the training part, the model is trained, as many series as there are in training (200 at
least) are generated, and all is judged on the test part. Rows that the file already has are not
computed again. `--series` are files of FOLDER with long series, as people have them: of them
windows of 96 samples, a quarter apart, are learned from, and those of the last fifth of the time
are judged on, which share no sample with the others; there are no labels, so no judge of classes.

What stands beside what: `explained` is of the test part, `dct` is what a discrete cosine transform
explains with as many bits (the coefficients of largest variance in training, each with the same
number of bits); `cas` is a ridge on ROCKET features trained on generated series, `cas_real` on as
many real ones; Frechet distance, coverage (k = 5) and memorization each with their figure of real
series.
"""

import argparse
import csv
import math
import pathlib
import resource
import sys
import time
from typing import Any

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from benchmarks.studies.anybody_table import append_rows, read_rows, tables
from benchmarks.studies.ssl_tokens.data import Split, find_datasets, make_split

from ssltok.data import Reading, SeriesSet, load_dataset, read_series, train_and_test
from ssltok.evaluation import RidgeJudge, evaluate, fidelity_measures, memory_measures
from ssltok.pipelines import SSLTokenizer, auto, tokenizer_measures
from ssltok.signal import ChannelScaler
from ssltok.training import keyed_generator

LEAST_GENERATED = 200
MOST_TESTED = 1000
WINDOW = 96
BITS = (2, 3, 4, 5, 6, 8)
ROWS = {
    "explained": "variance explained", "cas": "CAS, ridge", "frechet": "Frechet distance",
    "coverage": "coverage", "memorization": "memorization ratio",
    "probe": "linear probe on tokens", "entropy": "entropy of codes at a place",
}  # fmt: skip
BESIDE = ("cas", "frechet", "coverage", "memorization", "probe")
FIELDS = (
    "set", "seed", "minutes", "channels", "length", "train", "test", "stride", "tokens", "codes",
    "codes_per_token", "steps_one", "steps_two", "dct",
    *ROWS, *(f"{name}_real" for name in BESIDE), "seconds_planned", "cpu_seconds", "peak_mib",
)  # fmt: skip


def dct_explained(train: Tensor, test: Tensor, bits: float) -> float:
    """Share of the test part's variance that a DCT explains with so many bits a series.

    Args:
        train: `(cases, channels, length)`, scaled; decides which coefficients, and their range.
        test: Likewise.
        bits: Of one series.
    """
    forward = [
        scipy.fft.dct(part.double().numpy(), norm="ortho", axis=2).reshape(len(part), -1)
        for part in (train, test)
    ]
    order = np.argsort(-forward[0].var(axis=0), kind="stable")
    best = -math.inf
    for each in BITS:
        index = order[: min(int(bits // each), forward[0].shape[1])]
        if not len(index):
            continue
        errors = [
            _quantised(forward[0][:, index], part[:, index], each) - part[:, index]
            for part in forward
        ]
        rest = [np.square(part).sum() - np.square(part[:, index]).sum() for part in forward]
        wholes = [np.square(part).sum() for part in forward]
        shares = [
            1 - (np.square(e).sum() + r) / w for e, r, w in zip(errors, rest, wholes, strict=True)
        ]
        best = max(best, float(shares[1]))  # the better number of bits: in favour of the DCT
    return best


def _quantised(
    train: NDArray[np.float64], values: NDArray[np.float64], bits: int
) -> NDArray[np.float64]:
    low, high = train.min(axis=0), train.max(axis=0)
    step = np.maximum(high - low, 1e-12) / 2**bits
    place = np.clip(np.floor((values - low) / step), 0, 2**bits - 1)
    result: NDArray[np.float64] = low + (place + 0.5) * step
    return result


def cell(split: Split, *, seed: int, minutes: float) -> dict[str, Any]:
    """Plan, train, generate, judge."""
    began = time.process_time()
    train, labels = split.train, split.train_labels
    plan = auto(train, minutes=minutes, classes=split.classes, ordered=not split.classes)
    known = labels.tolist() if split.classes else None
    length = train.values.shape[2]  # that of the longest of both parts
    model = SSLTokenizer(plan.config, seed=seed, length=length).fit(_series(train), known)
    count = max(len(labels), LEAST_GENERATED)
    wanted = labels.sort().values[torch.arange(count) * len(labels) // count].tolist()
    asked = wanted if split.classes else None
    generated = model.generate(asked or [None] * count, seed=seed).series
    test = _series(split.test)
    report = evaluate(
        _series(train), test, generated,
        train_labels=known, test_labels=split.test_labels.tolist() if known else None,
        generated_labels=asked, steps=0, seed=seed,
        measures=(fidelity_measures, memory_measures, RidgeJudge(), tokenizer_measures(model)),
    )  # fmt: skip
    config = plan.config
    found: dict[str, Any] = {
        "set": split.name, "seed": seed, "minutes": minutes,
        "channels": train.values.shape[1], "length": train.values.shape[2],
        "train": len(train.values), "test": len(split.test_labels),
        "stride": -(-train.values.shape[2] // config.tokenizer.widths[0]),
        "tokens": model.tokens_, "codes": config.tokenizer.codebook_size,
        "codes_per_token": config.tokenizer.codes_per_token,
        "steps_one": config.tokenizer_training.steps, "steps_two": config.prior_training.steps,
        "seconds_planned": round(sum(plan.seconds), 1),
    }  # fmt: skip
    for name, start in ROWS.items():
        row = next(r for r in report.rows if r.name.startswith(start))
        found[name] = round(row.value, 4)
        if name in BESIDE:
            found[f"{name}_real"] = round(row.reference, 4)
    scaler = ChannelScaler().fit(train.values, train.valid)
    bits = model.tokens_ * config.tokenizer.codes_per_token * math.log2(found["codes"])
    parts = [scaler(part.values).nan_to_num() for part in (train, split.test)]
    longest = parts[0].shape[2]
    parts = [torch.nn.functional.pad(part, (0, longest - part.shape[2])) for part in parts]
    found["dct"] = round(dct_explained(parts[0], parts[1], bits), 4)
    found["cpu_seconds"] = round(time.process_time() - began, 1)
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def windows_of(file: pathlib.Path, *, seed: int) -> Split:
    """Windows of a file's long series: the last fifth of the time is judged on."""
    data = load_dataset(str(file), reading=Reading(layout="time_in_rows"))
    parts = train_and_test(data, keyed_generator(seed, "test-part"), window=WINDOW, stride=None)
    train, test = read_series(parts.train), read_series(parts.test)
    step = -(-len(test.values) // MOST_TESTED)
    test = test.take(torch.arange(0, len(test.values), step))
    nothing = [torch.full((len(part.values),), -1) for part in (train, test)]
    return Split(file.stem, train, nothing[0], test, nothing[1], 0)


def _series(data: SeriesSet) -> Tensor:
    return data.values.where(data.valid, torch.nan)


def main(words: list[str] | None = None) -> None:
    """Compute the rows that are missing, each in its turn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=pathlib.Path, help="a folder of .npz files")
    parser.add_argument("--sets", nargs="*", default=[], help="names; none is the whole folder")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument(
        "--kind", choices=("test", "validation"), default="test",
        help="judge on the test part, or on a third of the training part",
    )  # fmt: skip
    parser.add_argument("--series", nargs="*", default=[], help="files of long series")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("anybody.csv"))
    parser.add_argument("--table", action="store_true", help="print what is there, and do no more")
    options = parser.parse_args(words)
    if options.table:
        print("\n".join(tables(read_rows(options.out))))
        return
    done = set()
    if options.out.exists():
        with options.out.open(newline="", encoding="utf-8") as stream:
            done = {(r["set"], int(r["seed"]), float(r["minutes"])) for r in csv.DictReader(stream)}
    found: dict[str, Any] = {}
    if options.sets or not options.series:
        found = dict(find_datasets(options.sets, folder=options.data))
    for file in options.series:
        place = pathlib.Path(options.data or ".", file)
        found[place.stem] = place
    for name, data in found.items():
        for seed in options.seeds:
            if (name, seed, options.minutes) in done:
                continue
            if isinstance(data, pathlib.Path):
                split = windows_of(data, seed=seed)
            else:
                split = make_split(name, data, kind=options.kind, seed=seed, most_test=MOST_TESTED)
            row = cell(split, seed=seed, minutes=options.minutes)
            append_rows(options.out, FIELDS, [row])
            print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)


if __name__ == "__main__":
    main()
