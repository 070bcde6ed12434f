"""Sets on which the preset `ssltok` was chosen: none is a test split of the study.

    python -m benchmarks.studies.ssl_tokens.development --data DATA --out FOLDER
    python -m benchmarks.studies.ssl_tokens.run --results RESULTS --data FOLDER --split test ...

Two groups of outlines (ShapesAll, every fourth sample), one channel of BasicMotions, parts of the
*training* splits of TwoPatterns, ECG5000 and Wafer, and three sets by formula: control charts
(Alcock and Manolopoulos 1999), plateaus with or without an overshoot, and cylinder, bell and funnel
(Saito 1994; drawn anew, so not the archive's). Each is cut into a small part to train on and a rest
to judge by, class by class.
"""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from benchmarks.studies.evaluation_sanity import cylinder_bell_funnel

__all__ = ["control_charts", "motions", "split"]

Array = np.ndarray[Any, Any]


def split(
    series: Array, labels: Array, cases: int, generator: np.random.Generator
) -> dict[str, Array]:
    """Cut a set, class by class, into about so many cases to train on and the rest."""
    parts: tuple[list[int], list[int]] = ([], [])
    for label in np.unique(labels):
        own = generator.permutation(np.flatnonzero(labels == label))
        first = max(2, round(cases * len(own) / len(labels)))
        parts[0].extend(own[:first])
        parts[1].extend(own[first:])
    series, labels = series.astype(np.float32), np.unique(labels, return_inverse=True)[1]
    return {
        f"{what}_{name}": array[part]
        for name, part in zip(("train", "test"), parts, strict=True)
        for what, array in (("X", series), ("y", labels.astype(np.int64)))
    }


def control_charts(cases: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Six kinds of chart, 60 samples: level, cycle, up, down, step up, step down."""
    time, series, labels = np.arange(60), [], []
    for kind in range(6):
        for _ in range(cases):
            chart = 30 + 2 * generator.uniform(-3, 3, 60)
            if kind == 1:
                swing, period = generator.uniform(10, 15), generator.uniform(10, 15)
                chart += swing * np.sin(2 * np.pi * time / period)
            elif kind in (2, 3):
                chart += (1 if kind == 2 else -1) * generator.uniform(0.2, 0.5) * time
            elif kind in (4, 5):
                height = (1 if kind == 4 else -1) * generator.uniform(7.5, 20)
                chart += height * (time >= generator.uniform(20, 40))
            series.append(_standard(chart))
            labels.append(kind)
    return np.array(series)[:, None], np.array(labels)


def motions(cases: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """A plateau of 120 samples; the second class swells before the rise and dips after the fall."""
    time, series, labels = np.linspace(0, 1, 120), [], []
    for kind in range(2):
        for _ in range(cases):
            up, down = generator.uniform(0.15, 0.35), generator.uniform(0.65, 0.85)
            width = generator.uniform(0.015, 0.05)
            motion = 1 / (1 + np.exp((up - time) / width)) - 1 / (1 + np.exp((down - time) / width))
            if kind:
                size = generator.uniform(0.08, 0.2)
                before = np.exp(-(((time - up + 0.06) / 0.03) ** 2))
                motion += size * (before - np.exp(-(((time - down - 0.06) / 0.03) ** 2)))
            series.append(_standard(motion + 0.01 * generator.standard_normal(120)))
            labels.append(kind)
    return np.array(series)[:, None], np.array(labels)


def _standard(series: Array) -> Array:
    scaled: Array = (series - series.mean()) / series.std()
    return scaled


def _both(path: pathlib.Path) -> tuple[Array, Array]:
    with np.load(path, allow_pickle=False) as file:
        return (
            np.concatenate([file["X_train"], file["X_test"]]),
            np.concatenate([file["y_train"], file["y_test"]]),
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write the sets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(7)

    def write(name: str, series: Array, labels: Array, cases: int) -> None:
        parts: dict[str, Any] = dict(split(series, labels, cases, generator))
        np.savez(options.out / f"{name}.npz", **parts)

    series, labels = _both(options.data / "ShapesAll.npz")
    series = series[..., ::4]
    order = generator.permutation(60)
    for name, group, cases in (("ShA", order[:3], 30), ("ShB", order[3:9], 60)):
        chosen = np.isin(labels, group)
        write(name, series[chosen], labels[chosen], cases)
    series, labels = _both(options.data / "BasicMotions.npz")
    write("BM1", series[:, 1:2], labels, 40)
    for name in ("TwoPatterns", "ECG5000", "Wafer"):
        with np.load(options.data / f"{name}.npz", allow_pickle=False) as file:
            write(f"{name[:3]}v", file["X_train"], file["y_train"], 250)
    write("SC", *control_charts(100, generator), 60)
    write("TM", *motions(150, generator), 24)
    drawn_parts: dict[str, Any] = {}
    for part, size, seed in (("train", 30, 7), ("test", 600, 8)):
        drawn, of = cylinder_bell_funnel(size, seed)
        drawn = (drawn - drawn.mean(-1, keepdim=True)) / drawn.std(-1, keepdim=True)
        drawn_parts |= {f"X_{part}": drawn.numpy(), f"y_{part}": of.numpy()}
    np.savez(options.out / "CBFd.npz", **drawn_parts)


if __name__ == "__main__":
    main()
