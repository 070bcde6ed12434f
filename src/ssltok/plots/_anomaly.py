"""A series, and how unusual each sample of it is."""

import math

import numpy as np

from ssltok._shared.drawing import GENERATED, REAL, plain, value_range
from ssltok.plots._checks import Axes, Values, channel_of, check_panel

__all__ = ["plot_anomaly"]

BELOW = 0.35  # of the panel's height, for the scores


def plot_anomaly(
    axes: Axes,
    series: Values,
    scores: Values,
    *,
    threshold: float = math.nan,
    highest: float = math.nan,
    channel: int = 0,
) -> None:
    """Draw a series with its unusual samples in colour, and the score of each sample below it.

    Scores have an axis of their own, on the right; NaN, beyond a series' end, is left out.

    Args:
        axes: Matplotlib axes to draw into.
        series: `(length,)` or `(channels, length)`; NaN is a gap.
        scores: `(length,)`, high where unusual, such as a row of `AnomalyScores.scores`.
        threshold: Above it a sample is unusual; NaN marks none.
        highest: The score that reaches as high as scores are drawn, so that panels can be compared;
            NaN takes the highest of these scores.
        channel: The channel that is drawn.

    Raises:
        TypeError: If `axes` is not one panel of matplotlib, or the values are no numbers.
        ValueError: If shapes do not fit, or no score is a number.

    Example:
        >>> import numpy as np
        >>> from matplotlib.figure import Figure
        >>> from ssltok.plots import plot_anomaly
        >>> axes = Figure().subplots()
        >>> plot_anomaly(axes, np.arange(4.0), np.array([1.0, 1.0, 6.0, 1.0]), threshold=5.0)
        >>> axes.lines[1].get_label(), axes.lines[1].get_xdata()
        ('unusual, 1 sample', array([2]))
    """
    who = "plot_anomaly"
    check_panel(who, axes)
    line = channel_of(who, "series", series, channel=channel)
    score = channel_of(who, "scores", scores, channel=0)
    if len(score) != len(line):
        raise ValueError(
            f"{who}: scores must be one for each of {len(line)} samples; got {len(score)}"
        )
    if np.isnan(score).all():
        raise ValueError(f"{who}: scores must hold a number; got NaN alone")
    time = np.arange(len(line))
    axes.plot(time, line, color=REAL, linewidth=1.2, label="series")
    marked = score > threshold
    if marked.any():
        count = int(marked.sum())
        axes.plot(
            time[marked], line[marked], linestyle="", marker="o", markersize=3, color=GENERATED,
            label=f"unusual, {count} sample{'s' if count > 1 else ''}",
        )  # fmt: skip
    low, high = value_range(line)
    high += 0.2 * (high - low)  # for the legend
    axes.set_ylim(low - BELOW / (1 - BELOW) * (high - low), high)
    below = axes.twinx()
    base, top = float(np.nanmin([*score, 0.0])), float(np.nanmax([*score, threshold, highest]))
    below.fill_between(time, base, score, color=GENERATED, alpha=0.35, linewidth=0)
    if not math.isnan(threshold):
        below.axhline(threshold, color=GENERATED, linewidth=0.8, linestyle="--")
        below.text(
            time[-1], threshold, "threshold ", color=GENERATED, fontsize=7, ha="right", va="bottom"
        )
    below.set_ylim(base, base + ((top - base) or 1.0) / BELOW)
    below.set_ylabel("score", fontsize=8, color=GENERATED, loc="bottom")
    below.set_yticks([base, top] if top > base else [base])
    below.spines[["top", "left"]].set_visible(False)
    below.tick_params(labelsize=7, colors=GENERATED)
    below.yaxis.set_major_formatter("{x:.2g}")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    plain(axes)
