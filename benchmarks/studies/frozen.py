"""Frozen features of the default, trained for seconds on each set, beside those everybody knows.

    pip install aeon
    python benchmarks/studies/frozen.py --data FOLDER [FOLDER ...] --out frozen.csv
    python benchmarks/studies/frozen.py --out frozen.csv --table

FOLDER holds `NAME.npz` with X_train, y_train, X_test, y_test: official splits, at most 400 test
series, evenly spaced. Nothing is chosen per set. Features of one tokenizer that `auto` trains on
the training series without labels, for `--seconds` at most by its own forecast:

- `embedding`: `transform`, mean code vectors of eight stretches of time;
- `tokens`: the code vectors of all tokens in their order.

Beside them stand the same with `ssl="none"` (`no objective`) and with one step (`start`: PCA and
k-means), `raw` (the series, missing values bridged, ends held), `catch22` and `MiniRocket` (aeon;
with more than one channel `MultiRocket` too). Each has the accuracy of logistic regression on
standardised features and of 5 nearest neighbours; the rockets have that of ridge, as their authors
do, in the place of logistic regression. Rows that the file already has are not computed again.
"""

import argparse
import pathlib
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from benchmarks.studies.anybody_table import append_rows, read_rows
from benchmarks.studies.general import load
from benchmarks.studies.ssl_tokens.paired import mean_interval

from ssltok.data import label_index, read_series
from ssltok.metrics import knn_accuracy, linear_probe_accuracy
from ssltok.pipelines import AutoConfig, SSLTokenizer

Array = NDArray[np.float64]
FIELDS = ("set", "features", "columns", "linear", "neighbours", "seconds")
FITS: dict[str, dict[str, Any]] = {
    "": {}, "no objective": {"tokenizer__ssl": "none"}, "start": {"tokenizer_training__steps": 1},
}  # fmt: skip
ROCKETS = ("MiniRocket", "MultiRocket")
SHARE = 0.2  # of the minutes of `auto`, which stage 1 gets


def model_of(name: str, train: NDArray[Any], *, seconds: float, length: int) -> SSLTokenizer:
    """A tokenizer by `auto`; its prior, which no feature reads, has one step."""
    given = {"prior_training__steps": 1, **FITS[name]}
    config = AutoConfig(minutes=seconds / 60 / SHARE, given=given)
    return SSLTokenizer(config, length=length, progress=False).fit(train)


def peers(name: str, train: NDArray[Any]) -> Callable[[NDArray[Any]], Array]:
    """Features that learn nothing, or no more than biases from the training series."""
    from aeon.transformations.collection import convolution_based, feature_based

    if name == "raw":
        return whole
    if name == "catch22":
        transform = feature_based.Catch22(replace_nans=True)
    else:
        transform = getattr(convolution_based, name)(random_state=0, n_jobs=1)
    transform.fit(whole(train))
    return lambda series: cast(Array, np.nan_to_num(np.asarray(transform.transform(whole(series)))))


def features_of(
    kind: str, train: NDArray[Any], *, seconds: float, length: int
) -> dict[str, Callable[[Any], Any]]:
    """Functions from series to features, by name."""
    if kind not in FITS:
        return {kind: peers(kind, train)}
    model, behind = (
        model_of(kind, train, seconds=seconds, length=length),
        f", {kind}" if kind else "",
    )
    return {f"embedding{behind}": model.transform, f"tokens{behind}": model.token_vectors}


def whole(series: NDArray[Any]) -> Array:
    """Series without gaps, each channel as wide as it was: `(cases, channels, length)`."""
    values = read_series(series).values.double().numpy()
    missing = series.shape[2] - values.shape[2]
    return cast(Array, np.pad(values, [(0, 0), (0, 0), (0, missing)], mode="edge"))


def scores(
    name: str, train: Array, y: torch.Tensor, test: Array, y_test: torch.Tensor
) -> tuple[float, float]:
    """Accuracy of the linear classifier and of the neighbours."""
    mean, spread = train.mean(0), train.std(0)
    spread = np.where(spread > 1e-8, spread, 1.0)
    a, b = (torch.from_numpy((x - mean) / spread) for x in (train, test))
    near = knn_accuracy(a, y, b, y_test, neighbors=min(5, len(a)))
    if name in ROCKETS:
        from sklearn.linear_model import RidgeClassifierCV

        ridge = RidgeClassifierCV(np.logspace(-3, 3, 10)).fit(a.numpy(), y.numpy())
        return float(ridge.score(b.numpy(), y_test.numpy())), near.item()
    return linear_probe_accuracy(a, y, b, y_test).item(), near.item()


def rows_of(name: str, data: dict[str, Any], *, seconds: float) -> Iterator[dict[str, Any]]:
    """One row for each kind of features."""
    train, test = data["X_train"], data["X_test"]
    y, classes = label_index(data["y_train"], len(train))
    y_test, _ = label_index(data["y_test"], len(test), classes=classes)
    length = max(int(read_series(part).lengths.max()) for part in (train, test))
    several = ("MultiRocket",) if train.shape[1] > 1 else ()
    for kind in (*FITS, "raw", "catch22", "MiniRocket", *several):
        began = time.process_time()
        for features, turn in features_of(kind, train, seconds=seconds, length=length).items():
            parts = [np.asarray(turn(part), dtype=np.float64) for part in (train, test)]
            a, b = (part.reshape(len(part), -1) for part in parts)
            taken = time.process_time() - began
            linear, near = scores(features, a, y, b, y_test)
            yield {
                "set": name, "features": features, "columns": a.shape[1],
                "linear": round(linear, 4), "neighbours": round(near, 4),
                "seconds": round(taken, 1),
            }  # fmt: skip


def table(rows: list[dict[str, str]]) -> Iterator[str]:
    """Means over the sets that all have, and our embedding paired with each of the others."""
    found = {(r["set"], r["features"]): r for r in rows}
    names = [n for n in dict.fromkeys(r["features"] for r in rows) if n != "MultiRocket"]
    sets = [s for s in dict.fromkeys(r["set"] for r in rows) if all((s, n) in found for n in names)]
    yield (
        f"| features, means of {len(sets)} sets | linear | embedding less it | ahead, behind "
        "| 5 neighbours |"
    )
    yield "| --- | --- | --- | --- | --- |"
    for name in names:
        linear, near = (
            [100 * float(found[s, name][key]) for s in sets] for key in ("linear", "neighbours")
        )
        ours = [100 * float(found[s, "embedding"]["linear"]) for s in sets]
        gaps = [a - b for a, b in zip(ours, linear, strict=True)]
        gap = mean_interval(gaps)
        less = f"{gap.mean:+.1f} ({gap.low:+.1f} to {gap.high:+.1f})"
        less += f" | {sum(g > 0 for g in gaps)}, {sum(g < 0 for g in gaps)}"
        less = " | " if name == "embedding" else less
        yield (
            f"| {name} | {statistics.fmean(linear):.1f} | {less} | {statistics.fmean(near):.1f} |"
        )
    several = [r for r in rows if r["features"] == "MultiRocket"]
    if several:
        yield ""
        yield "| several channels | embedding | tokens | MiniRocket | MultiRocket |"
        yield "| --- | --- | --- | --- | --- |"
        for row in several:
            cells = (
                f"{100 * float(found[row['set'], n]['linear']):.1f}"
                for n in ("embedding", "tokens", "MiniRocket", "MultiRocket")
            )
            yield f"| {row['set']} | {' | '.join(cells)} |"


def main(words: list[str] | None = None) -> None:
    """Compute the rows that are missing, set by set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=pathlib.Path, nargs="+", default=[])
    parser.add_argument("--sets", nargs="*", help="names; all by default")
    parser.add_argument("--seconds", type=float, default=20.0, help="of training, each tokenizer")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("frozen.csv"))
    parser.add_argument("--table", action="store_true", help="print what is there, and do no more")
    options = parser.parse_args(words)
    if options.table:
        print("\n".join(table(read_rows(options.out))))
        return
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    places = {file.stem: folder for folder in options.data for file in folder.glob("*.npz")}
    done = {row["set"] for row in read_rows(options.out)} if options.out.exists() else set()
    for name in options.sets or sorted(places):
        if name in done:
            continue
        rows = list(rows_of(name, load(places[name], name), seconds=options.seconds))
        append_rows(options.out, FIELDS, rows)
        shown = ", ".join(f"{r['features']} {100 * r['linear']:.1f}" for r in rows)
        print(f"{name}: {shown}", flush=True)


if __name__ == "__main__":
    main()
