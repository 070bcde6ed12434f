"""The figures of a run's report: what was learned, so that somebody can look at it."""

import io
import pathlib
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssltok._shared.drawing import GENERATED, REAL, plain, value_range
from ssltok.plots import plot_anomaly, plot_samples
from ssltok.training import History

__all__ = [
    "draw_anomalies",
    "draw_codebook",
    "draw_curves",
    "draw_overlay",
    "draw_rate",
    "draw_reconstructions",
    "draw_trace",
    "png",
]

MOST_CLASSES = 6
MOST_BARS = 64
MOST_TICKS = 8
Array = NDArray[Any]


def draw_overlay(
    real: Array,
    real_labels: Sequence[Hashable],
    generated: Array,
    generated_labels: Sequence[Hashable],
    *,
    classes: Sequence[Hashable] = (),
    shown: int = 20,
) -> Figure:
    """Real series above, generated series below, a column for each class, six at most.

    `classes` names their order; by default they are sorted as text. The axes have the range of
    the real series, so that one wild series does not hide the others.

    Example:
        >>> import numpy as np
        >>> from ssltok.evaluation import draw_overlay
        >>> series = np.zeros((4, 1, 8))
        >>> figure = draw_overlay(series, ["a", "a", "b", "b"], series, ["a", "b", "a", "b"])
        >>> len(figure.axes)  # two rows, a column for each class
        4
    """
    order = list(classes) or sorted(dict.fromkeys(real_labels), key=str)
    picked = order[:MOST_CLASSES]
    figure = Figure(figsize=(min(2.2 + 3.0 * len(picked), 11.0), 4.6), layout="constrained")
    grid = figure.subplots(2, len(picked), squeeze=False, sharex=True, sharey=True)
    rows = (
        ("real", real, real_labels, REAL),
        ("generated", generated, generated_labels, GENERATED),
    )
    for row, (name, series, labels, color) in enumerate(rows):
        for axes, label in zip(grid[row], picked, strict=True):
            cases = [case for case, other in enumerate(labels) if other == label]
            if cases:
                plot_samples(axes, series[cases], color=color, shown=shown)
            plain(axes)
        grid[row, 0].set_ylabel(name)
    for axes, label in zip(grid[0], picked, strict=True):
        if label is not None:
            text = str(label)
            title = text if text.lower().startswith("class") else f"class {text}"
            axes.set_title(title, fontsize=10, wrap=True)
    grid[0, 0].set_ylim(value_range(real[:, 0]))
    for axes in grid[1]:
        axes.set_xlabel("time")
    return figure


def draw_rate(
    tokens: Sequence[int], explained: Sequence[float], *, chosen: int | None, wanted: float
) -> Figure:
    """What tokens of several lengths explain of the variance, and which of them were chosen.

    Example:
        >>> from ssltok.evaluation import draw_rate
        >>> figure = draw_rate([4, 8], [0.5, 0.9], chosen=1, wanted=0.8)
        >>> len(figure.axes)
        1
    """
    figure = Figure(figsize=(5.0, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(tokens, explained, color=REAL, marker="o", markersize=4, linewidth=1.2)
    if chosen is not None:
        axes.plot(
            tokens[chosen], explained[chosen], color=GENERATED, marker="o", markersize=9,
            linestyle="none", label="chosen",
        )  # fmt: skip
    axes.axhline(wanted, color="0.6", linewidth=0.8, linestyle="--", label="wanted")
    axes.set(xscale="log", xlabel="tokens of a series", ylabel="variance explained")
    axes.set_xticks(tokens[:: -(-len(tokens) // MOST_TICKS)], minor=False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_ylim(min(0.0, *explained), 1.02)
    axes.legend(frameon=False, fontsize=8)
    plain(axes)
    return figure


def draw_reconstructions(series: Array, rebuilt: Array, *, shown: int = 6) -> Figure:
    """Test series and what comes back from their tokens.

    Example:
        >>> import numpy as np
        >>> from ssltok.evaluation import draw_reconstructions
        >>> series = np.zeros((4, 1, 8))
        >>> figure = draw_reconstructions(series, series + 0.1, shown=2)
        >>> len(figure.axes)
        2
    """
    count = min(shown, len(series))
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.2 * columns, 2.0 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for case, axes in enumerate(grid[:count]):
        axes.plot(series[case, 0], color=REAL, linewidth=1.2, label="series")
        axes.plot(rebuilt[case, 0], color=GENERATED, linewidth=1.2, label="from its tokens")
        plain(axes)
    grid[0].legend(frameon=False, fontsize=8)
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure


def draw_codebook(real: Array, generated: Array, codebook_size: int) -> Figure:
    """How often each code occurs in real and in generated series.

    Bars by code; steps for a codebook of more than 64, the codes sorted by how often they occur
    in real series.

    Example:
        >>> import numpy as np
        >>> from ssltok.evaluation import draw_codebook
        >>> codes = np.array([[0, 1, 1]])
        >>> figure = draw_codebook(codes, codes, 2)
        >>> len(figure.axes)
        1
    """
    figure = Figure(figsize=(7.0, 2.4), layout="constrained")
    axes = figure.subplots()
    places = np.arange(codebook_size)
    counts = [np.bincount(x[x >= 0], minlength=codebook_size) for x in (real, generated)]
    order = places if codebook_size <= MOST_BARS else np.argsort(-counts[0], kind="stable")
    rows = ((counts[0], REAL, -0.2, "real"), (counts[1], GENERATED, 0.2, "generated"))
    for count, color, shift, name in rows:
        share = count[order] / max(1, count.sum())
        if codebook_size <= MOST_BARS:
            axes.bar(places + shift, share, width=0.4, color=color, label=name)
        else:
            axes.plot(places, share, color=color, label=name, drawstyle="steps-mid", linewidth=1.2)
    sorted_ = "" if codebook_size <= MOST_BARS else ", sorted by its share in real series"
    axes.set(xlabel=f"code{sorted_}", ylabel="share")
    axes.legend(frameon=False, fontsize=8)
    plain(axes)
    return figure


def draw_curves(histories: dict[str, History]) -> Figure:
    """Every recorded term over the steps, a panel for each stage.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import draw_curves
        >>> from ssltok.training import History
        >>> history = History(("loss",), torch.tensor([[2.0], [1.0]]))
        >>> len(draw_curves({"tokenizer": history, "prior": history}).axes)
        2
    """
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
        plain(axes)
    return figure


def draw_trace(trace: Sequence[torch.Tensor], mask_index: int) -> Figure:
    """The tokens of one series by decoding step: white is still hidden.

    Raises:
        ValueError: If the trace has no step.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import draw_trace
        >>> trace = [torch.tensor([9, 9, 9]), torch.tensor([4, 9, 9]), torch.tensor([4, 7, 1])]
        >>> len(draw_trace(trace, 9).axes) > 0
        True
    """
    if not len(trace):
        raise ValueError("draw_trace: a trace must have steps; got none, as of a causal prior")
    tokens = torch.stack(list(trace)).numpy().astype(float).T
    tokens[tokens == mask_index] = np.nan
    figure = Figure(figsize=(5.4, 3.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(tokens, aspect="auto", cmap="viridis", interpolation="nearest")
    axes.set(xlabel="decoding step", ylabel="token", xticks=range(tokens.shape[1]))
    axes.set_xticklabels([str(step + 1) for step in range(tokens.shape[1])])
    figure.colorbar(image, ax=axes, label="code")
    return figure


def draw_anomalies(series: Array, scores: Array, threshold: float, *, shown: int = 3) -> Figure:
    """The series with the highest scores, each above its scores, and what exceeds the threshold.

    Args:
        series: `(cases, channels, length)`; channel 0 is drawn.
        scores: `(cases, length)`, NaN beyond a series' end; at least one number in each row.
        threshold: Drawn as a line, and marked above it; NaN draws and marks nothing.
        shown: How many series, at most.

    Example:
        >>> import numpy as np
        >>> from ssltok.evaluation import draw_anomalies
        >>> scores = np.zeros((5, 8))
        >>> scores[3, 4] = 2.0
        >>> figure = draw_anomalies(np.zeros((5, 1, 8)), scores, 1.0, shown=2)
        >>> len(figure.axes)  # two series and their scores
        4
    """
    first = np.argsort(-np.nanmax(scores, axis=1), kind="stable")[:shown]
    figure = Figure(figsize=(3.6 * len(first) + 0.4, 3.0), layout="constrained")
    panels = figure.subplots(1, len(first), squeeze=False, sharey=True)[0]
    highest = float(np.nanmax(scores[first]))
    for axes, case in zip(panels, first, strict=True):
        plot_anomaly(axes, series[case], scores[case], threshold=threshold, highest=highest)
        axes.set_title(f"series {case}", fontsize=9)
        axes.set_xlabel("time")
    panels[0].set_ylabel("channel 0" if series.shape[1] > 1 else "value")
    return figure


def png(figure: Figure, path: pathlib.Path | None = None) -> bytes:
    """The figure as PNG bytes; also written to `path` if there is one.

    Example:
        >>> import numpy as np
        >>> from ssltok.evaluation import draw_reconstructions, png
        >>> png(draw_reconstructions(np.zeros((1, 1, 8)), np.ones((1, 1, 8))))[1:4]
        b'PNG'
    """
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    if path is not None:
        path.write_bytes(stream.getvalue())
    return stream.getvalue()
