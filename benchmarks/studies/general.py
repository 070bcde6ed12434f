"""What the general tokenizer is worth on sets that gave nothing to its training.

    pip install aeon
    python -m benchmarks.studies.general --data FOLDER --out FOLDER [--sets CBF Wafer] [--model M]

`--data` is a folder of archives `<set>.npz` with `X_train`, `X_test`, `y_train`, `y_test`. Rows go
to `probe.csv`, `rate.csv` and `speed.csv` in `--out`, one at a time; a run that was stopped goes on
behind the rows that are there, and `--table` prints what is there and does nothing else.

**Probes**: logistic regression after standard scaling, on all training labels, a tenth, and a
hundredth (at least one a class; means over three draws), of frozen features: `tokens` (this model's
`transform`), `auto` (that of the per-set preset, whose first stage learns from this set's training
series without labels for its share of `--minutes`), `untrained` (the same networks as they start,
codebooks from k-means: step 0 of the training), `raw` (the series, missing values bridged),
`catch22` (aeon).

**Rate**: variance explained by bits a series, over patches and levels; at each of these budgets
the better of two peers everybody knows, each at the best of 2 to 10 bits a number *on the test set*
(which favours them): the lowest cosine coefficients of each frame under a uniform quantiser whose
range is each coefficient's largest size in training, and piecewise aggregate approximation
likewise. All three spend 30 bits a frame on level and size, and know the length.
"""

import argparse
import csv
import pathlib
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from ssltok.data import read_series
from ssltok.pipelines import AutoConfig, PretrainedTokenizer, SSLTokenizer

SETS = (
    "CBF", "TwoPatterns", "ECG5000", "Wafer", "SonyAIBORobotSurface1", "MoteStrain",
    "ToeSegmentation1", "PowerCons", "InsectEPGSmallTrain", "ShapeletSim", "Haptics",
    "AllGestureWiimoteX", "UMD", "DistalPhalanxTW", "FaceFour", "PigAirwayPressure",
)  # fmt: skip
"""Chosen before any score was seen: different families, none of a family that trained."""
MOST = 400  # test series of a set
SHARES, DRAWS = (1.0, 0.1, 0.01), 3
RATES = [(patch, levels) for patch in (16, 32, 64) for levels in (1, 2, 3)]
Array = NDArray[np.float64]


def load(folder: pathlib.Path, name: str) -> dict[str, Any]:
    """A set with at most MOST test series, evenly spaced."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as held:
        found = {key: held[key] for key in ("X_train", "X_test", "y_train", "y_test")}
    step = -(-len(found["X_test"]) // MOST)
    return {k: v[::step] if k.endswith("_test") else v for k, v in found.items()}


def some_labels(y: NDArray[Any], share: float, draw: int) -> NDArray[np.int64]:
    """A share of the cases, at least one of each class."""
    if share == 1.0:
        return np.arange(len(y))
    random = np.random.default_rng(draw)
    order = random.permutation(len(y))
    firsts = [order[np.flatnonzero(y[order] == label)[0]] for label in np.unique(y)]
    rest = [case for case in order if case not in set(firsts)]
    return np.array([*firsts, *rest][: max(len(firsts), round(share * len(y)))])


def probe(train: Array, y: NDArray[Any], test: Array, y_test: NDArray[Any], share: float) -> float:
    """Mean accuracy of the logistic regression over draws of the labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = []
    for draw in range(1 if share == 1.0 else DRAWS):
        chosen = some_labels(y, share, draw)
        pipe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        scores.append(pipe.fit(train[chosen], y[chosen]).score(test, y_test))
    return float(np.mean(scores))


def raw(series: NDArray[Any]) -> Array:
    values = read_series(series).values.flatten(1).double().numpy()
    wanted = series.shape[1] * series.shape[2]
    return cast(Array, np.pad(values, [(0, 0), (0, wanted - values.shape[1])], mode="edge"))


def catch22(series: NDArray[Any]) -> Array:
    from aeon.transformations.collection.feature_based import Catch22

    features = Catch22(replace_nans=True).fit_transform(raw(series)[:, None])
    return cast(Array, np.nan_to_num(np.asarray(features, dtype=np.float64)))


def embed(model: str, series: NDArray[Any]) -> Array:
    embeddings: NDArray[Any] = SSLTokenizer.from_pretrained(model).transform(series)
    return embeddings.astype(np.float64)


def per_set(train: NDArray[Any], minutes: float) -> Callable[[Any], Array]:
    """`transform` of the preset `auto`; its prior, which a probe does not see, has one step."""

    @cache
    def fitted() -> SSLTokenizer:
        config = AutoConfig(minutes=minutes, given={"prior_training__steps": 1})
        return SSLTokenizer(config, progress=False).fit(train)

    return lambda series: fitted().transform(series).astype(float)


def encoders(
    model: str, start: str | None, train: NDArray[Any], minutes: float
) -> dict[str, Callable[[Any], Array]]:
    """The arms of the probe."""
    arms: dict[str, Callable[[Any], Array]] = {
        "tokens": lambda series: (
            SSLTokenizer.from_pretrained(model).transform(series).astype(float)
        ),
        "auto": per_set(train, minutes),
        "raw": raw,
        "catch22": catch22,
    }
    if start is not None:
        arms["untrained"] = partial(embed, start)
    return arms


def explained(series: Array, rebuilt: Array) -> float:
    """Share of the variance about the set's mean, over known samples."""
    known = ~np.isnan(series)
    wrong = (series - rebuilt)[known] ** 2
    return float(1 - wrong.sum() / ((series[known] - series[known].mean()) ** 2).sum())


def frames(series: Array, size: int) -> list[tuple[Array, Array, Array]]:
    """Frames of series with their level and size, as the tokenizer's; gaps bridged."""
    filled, parts = raw(series[:, None]), []
    for first in range(0, filled.shape[1], size):
        part = filled[:, first : first + size]
        mean, spread = part.mean(1, keepdims=True), part.std(1, keepdims=True)
        spread = np.where(spread > 0, spread, 1.0)
        parts.append(((part - mean) / spread, mean, spread))
    return parts


def uniform(numbers: Array, largest: Array, bits: int) -> Array:
    """Each number as one of 2**bits in its range."""
    steps = 2**bits
    step = 2 * np.where(largest > 0, largest, 1.0) / steps
    index = np.clip(np.floor(numbers / step), -steps // 2, steps // 2 - 1)
    return cast(Array, (index + 0.5) * step)


def cosines(part: Array, train: Array, count: int, bits: int) -> Array:
    z, start = (scipy.fft.dct(x, norm="ortho")[:, :count] for x in (part, train))
    kept = uniform(z, np.abs(start).max(0), bits)
    full = np.zeros_like(part)
    full[:, :count] = kept
    return cast(Array, scipy.fft.idct(full, norm="ortho"))


def pieces(part: Array, train: Array, count: int, bits: int) -> Array:
    where = np.arange(part.shape[1]) * count // part.shape[1]
    means, start = (
        np.stack([x[:, where == p].mean(1) for p in range(count)], 1) for x in (part, train)
    )
    return uniform(means, np.abs(start).max(0), bits)[:, where]


def peers(series: Array, train: Array, patch: int, levels: int) -> dict[str, float]:
    """Variance explained by the peers at the bits of these tokens."""
    rule = {"cosines": cosines, "PAA": pieces}
    best = dict.fromkeys(rule, -np.inf)
    parts, starts = frames(series, 16 * patch), frames(train, 16 * patch)
    for name, turn in rule.items():
        for bits in range(2, 11):
            rebuilt = []
            for (z, mean, spread), (start, _, _) in zip(parts, starts, strict=True):
                budget = -(-z.shape[1] // patch) * levels * 10
                count = min(budget // bits, z.shape[1])
                rebuilt.append(turn(z, start, max(count, 1), bits) * spread + mean)
            best[name] = max(best[name], explained(series, np.concatenate(rebuilt, 1)))
    return best


def rate(name: str, data: dict[str, Any], model: str) -> list[dict[str, Any]]:
    """Rows of one set: by patch and levels, and at the default."""
    series, train = (np.asarray(data[k][:, 0], dtype=float) for k in ("X_test", "X_train"))
    rows = []
    for patch, levels in [(None, 3), *RATES]:
        tokenizer: PretrainedTokenizer = SSLTokenizer.from_pretrained(
            model, levels=levels, patch=patch
        )
        codes = tokenizer.encode(series)
        tokens, levels_of = (codes[..., 0] >= 0).sum(1), (codes >= 0).sum((1, 2))
        row: dict[str, Any] = {"set": name, "patch": patch or "default", "levels": levels}
        row |= {"tokens": round(float(tokens.mean()), 1), "bits": 10 * float(levels_of.mean())}
        rebuilt = np.full(series.shape, np.nan)
        known = tokenizer.reconstruct(series)[:, 0]
        rebuilt[:, : known.shape[1]] = known
        row["explained"] = round(explained(series, rebuilt), 4)
        if patch is not None:
            found = peers(series, train, patch, levels)
            row |= {key: round(value, 4) for key, value in found.items()}
        rows.append(row)
    return rows


def speed(model: str) -> list[dict[str, Any]]:
    """Series a second of one core, ours and MiniRocket's, in turns; the best of five."""
    from aeon.transformations.collection.convolution_based import MiniRocket

    rows = []
    for length in (100, 150, 512, 2000):
        series = np.random.default_rng(0).standard_normal((512, 1, length)).cumsum(2)
        series = series.astype(np.float32)
        tokenizer, rocket = SSLTokenizer.from_pretrained(model), MiniRocket(n_jobs=1).fit(series)
        calls: dict[str, Callable[[], Any]] = {
            "encode": lambda: tokenizer.encode(series),  # noqa: B023
            "transform": lambda: tokenizer.transform(series),  # noqa: B023
            "MiniRocket": lambda: rocket.transform(series),  # noqa: B023
        }
        best = dict.fromkeys(calls, np.inf)
        for _ in range(5):
            for key, call in calls.items():
                start = time.process_time()
                call()
                best[key] = min(best[key], time.process_time() - start)
        rows.append({"length": length, **{k: round(512 / v) for k, v in best.items()}})
    return rows


def append(file: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    new = not file.exists()
    with file.open("a", newline="") as stream:
        names = ["set", "patch", "levels", "tokens", "bits", "explained", "cosines", "PAA"]
        fields = names if file.name == "rate.csv" else list(rows[0])
        writer = csv.DictWriter(stream, fields)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def read(file: pathlib.Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def table(out: pathlib.Path) -> str:
    """Means over the sets that all arms have, and the curve, as Markdown."""
    rows, lines = read(out / "probe.csv"), []
    arms = list(dict.fromkeys(row["features"] for row in rows))
    sets = [
        s for s in dict.fromkeys(row["set"] for row in rows)
        if len({row["features"] for row in rows if row["set"] == s}) == len(arms)
    ]  # fmt: skip
    found = {(r["set"], r["features"], r["share"]): float(r["accuracy"]) for r in rows}
    lines += [f"| set | {' | '.join(arms)} |", f"|---|{'---|' * len(arms)}"]
    lines += [
        f"| {s} | {' | '.join(f'{100 * found[s, a, str(1.0)]:.1f}' for a in arms)} |" for s in sets
    ]
    for share in SHARES:
        means = [float(np.mean([found[s, a, str(share)] for s in sets])) for a in arms]
        head = f"mean of {len(sets)}, {100 * share:g} % of labels"
        lines.append(f"| **{head}** | {' | '.join(f'{100 * m:.1f}' for m in means)} |")
    curve = read(out / "rate.csv")
    lines += ["", "| patch, levels | bits | tokens | cosines | PAA |", "|---|---|---|---|---|"]
    for key in dict.fromkeys((r["patch"], r["levels"]) for r in curve):
        part = [r for r in curve if (r["patch"], r["levels"]) == key]
        numbers = [
            f"{np.median([float(r[c]) for r in part]):.3f}" if part[0][c] else ""
            for c in ("explained", "cosines", "PAA")
        ]
        bits = np.median([float(r["bits"]) for r in part])
        lines.append(f"| {key[0]}, {key[1]} | {bits:.0f} | {' | '.join(numbers)} |")
    pace = read(out / "speed.csv")
    if pace:
        lines += ["", f"| {' | '.join(pace[0])} |", f"|{'---|' * len(pace[0])}"]
        lines += [f"| {' | '.join(row.values())} |" for row in pace]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, nargs="+", default=[])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--model", default="general")
    parser.add_argument("--untrained", help="a folder of the model at step 0")
    parser.add_argument("--minutes", type=float, default=3.0, help="of `auto`, whole")
    parser.add_argument("--arms", nargs="*", help="only these features, and no rates")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(options.out))
        return
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    done = {(r["set"], r["features"]) for r in read(options.out / "probe.csv")}
    rated = {r["set"] for r in read(options.out / "rate.csv")}
    for name in options.sets:
        folder = next(f for f in options.data if (f / f"{name}.npz").exists())
        data = load(folder, name)
        for arm, features in encoders(
            options.model, options.untrained, data["X_train"], options.minutes
        ).items():
            if (name, arm) in done or arm not in (options.arms or [arm]):
                continue
            train, test = features(data["X_train"]), features(data["X_test"])
            rows = []
            for share in SHARES:
                score = probe(train, data["y_train"], test, data["y_test"], share)
                rows.append(
                    {"set": name, "features": arm, "share": share, "accuracy": round(score, 4)}
                )
            append(options.out / "probe.csv", rows)
            print(name, arm, [row["accuracy"] for row in rows], flush=True)
        if name not in rated and not options.arms:
            append(options.out / "rate.csv", rate(name, data, options.model))
    if not (options.out / "speed.csv").exists() and not options.arms:
        append(options.out / "speed.csv", speed(options.model))
    print(table(options.out))


if __name__ == "__main__":
    main()
