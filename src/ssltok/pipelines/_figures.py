"""The figures of a run's report: what was learned, so that somebody can look at it."""

import io
import pathlib
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssltok.pipelines._memory import History

__all__ = [
    "draw_codebook",
    "draw_curves",
    "draw_overlay",
    "draw_reconstructions",
    "draw_trace",
    "png",
]

REAL, MADE = "#33415c", "#d1495b"
Array = NDArray[Any]


def draw_overlay(
    real: Array,
    real_labels: Sequence[Hashable],
    made: Array,
    made_labels: Sequence[Hashable],
    *,
    shown: int = 20,
) -> Figure:
    """Real series above, generated series below, a column for each class (six at most)."""
    classes = list(dict.fromkeys(sorted(real_labels, key=str)))[:6]
    figure = Figure(figsize=(min(2.2 + 3.0 * len(classes), 11.0), 4.6), layout="constrained")
    grid = figure.subplots(2, len(classes), squeeze=False, sharex=True, sharey=True)
    rows = (("real", real, real_labels, REAL), ("generated", made, made_labels, MADE))
    for row, (name, series, labels, color) in enumerate(rows):
        for axes, label in zip(grid[row], classes, strict=True):
            mine = [case for case, own in enumerate(labels) if own == label][:shown]
            axes.plot(series[mine, 0].T, color=color, alpha=0.45, linewidth=0.8)
            title = name if label is None else f"{name}, class {label}"
            axes.set_title(title, fontsize=10, wrap=True)
            axes.locator_params(axis="x", nbins=5)
            _plain(axes)
    for axes in grid[1]:
        axes.set_xlabel("time")
    return figure


def draw_reconstructions(series: Array, rebuilt: Array, *, shown: int = 6) -> Figure:
    """Test series and what comes back from their tokens."""
    count = min(shown, len(series))
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.2 * columns, 2.0 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for case, axes in enumerate(grid[:count]):
        axes.plot(series[case, 0], color=REAL, linewidth=1.2, label="series")
        axes.plot(rebuilt[case, 0], color=MADE, linewidth=1.2, label="from its tokens")
        _plain(axes)
    grid[0].legend(frameon=False, fontsize=8)
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure


def draw_codebook(real: Array, made: Array, codebook_size: int) -> Figure:
    """How often each code occurs in real and in generated series."""
    figure = Figure(figsize=(7.0, 2.4), layout="constrained")
    axes = figure.subplots()
    places = np.arange(codebook_size)
    for codes, color, shift, name in ((real, REAL, -0.2, "real"), (made, MADE, 0.2, "generated")):
        counts = np.bincount(codes[codes >= 0], minlength=codebook_size)
        axes.bar(places + shift, counts / counts.sum(), width=0.4, color=color, label=name)
    axes.set(xlabel="code", ylabel="share")
    axes.legend(frameon=False, fontsize=8)
    _plain(axes)
    return figure


def draw_curves(histories: dict[str, History]) -> Figure:
    """Every recorded term over the steps, a panel for each stage."""
    figure = Figure(figsize=(4.6 * len(histories), 3.0), layout="constrained")
    grid = figure.subplots(1, len(histories), squeeze=False)[0]
    for axes, (name, history) in zip(grid, histories.items(), strict=True):
        for column, term in enumerate(history.names):
            values = history.rows[:, column]
            if bool((values > 0).any()):
                width = max(1, len(values) // 50)
                smooth = np.convolve(values, np.ones(width) / width, mode="valid")
                axes.plot(smooth, linewidth=1.1, label=term)
        axes.set_yscale("log")
        axes.set(title=name, xlabel="step")
        axes.legend(frameon=False, fontsize=7)
        _plain(axes)
    return figure


def draw_trace(trace: Sequence[torch.Tensor], mask_index: int) -> Figure:
    """The tokens of one series by decoding step: white is still hidden."""
    tokens = torch.stack(list(trace)).numpy().astype(float).T
    tokens[tokens == mask_index] = np.nan
    figure = Figure(figsize=(5.4, 3.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(tokens, aspect="auto", cmap="viridis", interpolation="nearest")
    axes.set(xlabel="decoding step", ylabel="token", xticks=range(tokens.shape[1]))
    axes.set_xticklabels([str(step + 1) for step in range(tokens.shape[1])])
    figure.colorbar(image, ax=axes, label="code")
    return figure


def png(figure: Figure, path: pathlib.Path | None = None) -> bytes:
    """The figure as PNG bytes; also written to `path` if there is one."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    if path is not None:
        path.write_bytes(stream.getvalue())
    return stream.getvalue()


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
