"""Figures of a study: generated beside real series, decoding traces, probes while training, means.

    python -m benchmarks.studies.ssl_tokens.figures FOLDER... --data FOLDER --out figures

Reads the cells of results folders; real series come from `--data` or from the archive. Probes by
training time need cells that were run with `--probe-every`.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[3])

import numpy as np
from benchmarks.studies.ssl_tokens.collect import read_cells
from benchmarks.studies.ssl_tokens.data import find_datasets
from benchmarks.studies.ssl_tokens.paired import over_seeds
from benchmarks.studies.ssl_tokens.tables import METRICS

from ssltok.data import Dataset, label_index, read_series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_examples", "draw_means", "draw_probes", "draw_traces", "main", "probe_curve"]

Cell = Mapping[str, Any]
Name = Callable[[str], str]
REAL, MADE = "#33415c", "#d1495b"
COLORS = ("#33415c", "#d1495b", "#2a9d8f", "#e9a03b", "#7b5ea7", "#6c757d", "#3a86c8", "#8a5a44")
SHARES = np.linspace(0.1, 1.0, 10)
SHOWN, MOST_CLASSES = 3, 4
MEANS = ("linear_pooled", "svm_pooled", "knn_pooled", "reconstruction", "fid", "is", "cas",
         "perplexity")  # fmt: skip


def draw_examples(cells: Sequence[Cell], data: Dataset, *, name: Name = str) -> "Figure":
    """Real and generated series of one data set: a row for each class, a column for each arm.

    The first series of each class, of each arm's first seed; nothing is picked.
    """
    from matplotlib.figure import Figure

    first = _first_seeds(cells)
    real = read_series(data.train).values.numpy()
    labels, classes = label_index(data.train_labels, len(real))
    count = min(len(classes), MOST_CLASSES)
    figure = Figure(figsize=(2.3 * (1 + len(first)), 0.6 + 1.4 * count), layout="constrained")
    grid = figure.subplots(count, 1 + len(first), squeeze=False, sharex=True, sharey="row")
    for row in range(count):
        mine = (labels == row).nonzero()[:SHOWN, 0]
        columns = [("real", REAL, real[mine])]
        for arm, cell in first.items():
            made = cell["examples"]
            own = [s for s, y in zip(made["series"], made["labels"], strict=True) if y == row]
            columns.append((name(arm), MADE, np.array(own[:SHOWN])))
        for axes, (title, color, series) in zip(grid[row], columns, strict=True):
            if len(series):
                axes.plot(series[:, 0].T, color=color, linewidth=0.9, alpha=0.8)
            if not row:
                axes.set_title(title, fontsize=8)
            _plain(axes)
        grid[row][0].set_ylabel(f"class {classes[row]}", fontsize=8)
    return figure


def draw_traces(cells: Sequence[Cell], *, name: Name = str) -> "Figure":
    """How one series' (low) tokens are decoded, by arm, and how sure the prior is of them."""
    from matplotlib.figure import Figure

    first = _first_seeds(cells)
    figure = Figure(figsize=(2.6 * len(first), 4.4), layout="constrained")
    grid = figure.subplots(2, len(first), squeeze=False, height_ratios=(2, 1))
    for column, (arm, cell) in enumerate(first.items()):
        trace, size = cell["trace"], cell["config"]["tokenizer"]["codebook_size"]
        tokens = np.array(trace["tokens"], dtype=float).T
        tokens[tokens == size] = np.nan
        grid[0][column].imshow(tokens, aspect="auto", interpolation="nearest", cmap="viridis")
        grid[0][column].set_title(name(arm), fontsize=8)
        steps = np.arange(len(trace["hidden"]))
        grid[1][column].plot(steps, trace["confidence"], color=MADE, label="probability")
        grid[1][column].plot(steps, trace["hidden"], color=REAL, label="share hidden")
        grid[1][column].set_ylim(-0.02, 1.02)
        grid[1][column].set_xlabel("decoding step", fontsize=8)
        for axes in grid[:, column]:
            _plain(axes)
    grid[0][0].set_ylabel("token", fontsize=8)
    grid[1][0].legend(frameon=False, fontsize=7)
    return figure


def probe_curve(cells: Sequence[Cell], metric: str) -> np.ndarray[Any, Any]:
    """A metric by the share of stage 1 that is done: `(cells, 10)`, interpolated at 0.1, ..., 1.

    Nothing is said before the first probe: NaN.
    """
    rows = []
    for cell in cells:
        share = [point["step"] / cell["steps"][0] for point in cell["curve"]]
        values = [point[metric] for point in cell["curve"]]
        done = [*share, 1.0] if share[-1] < 1 else share
        row = np.interp(SHARES, done, [*values, cell["figures"][metric]][: len(done)])
        rows.append(np.where(share[0] - 1e-9 > SHARES, np.nan, row))
    return np.array(rows)


def draw_probes(
    cells: Sequence[Cell], *, metrics: Sequence[str] = ("linear_pooled", "reconstruction"),
    name: Name = str,
) -> "Figure":  # fmt: skip
    """Probes while the tokenizer is trained: means over data sets and seeds; shaded: all seeds."""
    from matplotlib.figure import Figure

    probed = [cell for cell in cells if cell["curve"]]
    arms = list(dict.fromkeys(cell["arm"] for cell in probed))
    figure = Figure(figsize=(4.2 * len(metrics), 3.2), layout="constrained")
    for axes, metric in zip(
        figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True
    ):
        for number, arm in enumerate(arms):
            mine = [cell for cell in probed if cell["arm"] == arm]
            seeds = sorted({cell["seed"] for cell in mine})
            curves = [probe_curve([c for c in mine if c["seed"] == s], metric) for s in seeds]
            by_seed = np.stack([curve.mean(axis=0) for curve in curves]) * METRICS[metric].scale
            color = COLORS[number % len(COLORS)]
            known = ~np.isnan(by_seed).any(axis=0)
            shown = by_seed[:, known]
            axes.plot(SHARES[known], shown.mean(axis=0), color=color, label=name(arm))
            axes.fill_between(
                SHARES[known], shown.min(axis=0), shown.max(axis=0),
                color=color, alpha=0.15, linewidth=0,
            )  # fmt: skip
        axes.set_xlabel("share of stage 1", fontsize=8)
        axes.set_title(METRICS[metric].title, fontsize=9)
        _plain(axes)
    figure.axes[0].legend(frameon=False, fontsize=7)
    return figure


def draw_means(
    cells: Sequence[Cell], *, metrics: Sequence[str] = MEANS, name: Name = str
) -> "Figure":
    """Means over data sets with 95 % intervals over seeds; dotted: real series, where known."""
    from matplotlib.figure import Figure

    arms = list(dict.fromkeys(cell["arm"] for cell in cells))
    columns = min(4, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(2.0 + 2.4 * columns, 0.7 + rows * (0.6 + 0.24 * len(arms))),
                    layout="constrained")  # fmt: skip
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, metric in zip(grid.ravel(), metrics, strict=False):
        scale = METRICS[metric].scale
        for place, arm in enumerate(arms):
            mine = {
                (c["dataset"], c["seed"]): c["figures"][metric] for c in cells if c["arm"] == arm
            }
            mean, low, high, _ = over_seeds(mine)
            color = COLORS[place % len(COLORS)]
            if not np.isnan(low):
                axes.plot([low * scale, high * scale], [place, place], color=color, linewidth=1.6)
            axes.plot([mean * scale], [place], "o", color=color, markersize=4)
        floors = {
            (c["dataset"], c["seed"]): c["floor"][metric] for c in cells if metric in c["floor"]
        }
        if floors:
            axes.axvline(over_seeds(floors).mean * scale, color="gray", linestyle=":", linewidth=1)
        axes.set_title(METRICS[metric].title, fontsize=8)
        axes.set_yticks(range(len(arms)), [name(arm) for arm in arms], fontsize=7)
        _plain(axes)
    for axes in grid.ravel()[len(metrics) :]:
        axes.set_visible(False)
    grid[0][0].set_ylim(len(arms) - 0.4, -0.6)
    return figure


def _first_seeds(cells: Sequence[Cell]) -> dict[str, Cell]:
    """For each arm, in the order given, the cell of its lowest seed."""
    arms = dict.fromkeys(cell["arm"] for cell in cells)
    return {
        arm: min((c for c in cells if c["arm"] == arm), key=lambda c: int(c["seed"]))
        for arm in arms
    }


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write PNG files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, help="folder of .npz files")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("figures"))
    parser.add_argument("--arms", nargs="*", default=[], help="in this order; default: all")
    parser.add_argument("--label", nargs="*", default=[], metavar="NAME:=ARM")
    options = parser.parse_args(arguments)
    labels = {arm: label for label, _, arm in (text.partition(":=") for text in options.label)}

    def name(arm: str) -> str:
        return str(labels.get(arm, arm))

    cells = read_cells(options.folders)
    if options.arms:
        cells = [cell for arm in options.arms for cell in cells if cell["arm"] == arm]
    if not cells:
        raise SystemExit("figures: the folders must hold cells of these arms; got none")
    datasets = sorted({cell["dataset"] for cell in cells})
    found = find_datasets(datasets, folder=options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    drawn = {"means": draw_means(cells, name=name)}
    for dataset in datasets:
        mine = [cell for cell in cells if cell["dataset"] == dataset]
        drawn[f"series_{dataset}"] = draw_examples(mine, found[dataset], name=name)
        drawn[f"trace_{dataset}"] = draw_traces(mine, name=name)
    if any(cell["curve"] for cell in cells):
        drawn["probes"] = draw_probes(cells, name=name)
    for file, figure in drawn.items():
        figure.savefig(options.out / f"{file}.png", dpi=110)
    print(f"{len(drawn)} figures in {options.out}")


if __name__ == "__main__":
    main()
