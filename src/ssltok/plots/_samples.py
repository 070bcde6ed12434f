"""Generated series, with the real ones behind them."""

from ssltok._shared.checks import check_at_least
from ssltok._shared.drawing import GENERATED, REAL, plain, value_range
from ssltok.plots._checks import Axes, Values, channel_of, check_panel

__all__ = ["plot_samples"]


def plot_samples(
    axes: Axes,
    series: Values,
    *,
    reference: Values | None = None,
    channel: int = 0,
    shown: int = 20,
    color: str = GENERATED,
) -> None:
    """Draw the first series of a set over each other, and real ones behind them.

    With a reference the axis has the range of the reference, a fifth wider at both ends, so that
    one wild series does not hide the others, and a legend.

    Args:
        axes: Matplotlib axes to draw into.
        series: `(cases, length)` or `(cases, channels, length)`; NaN is a gap.
        reference: Real series, of the same form, or None.
        channel: The channel that is drawn.
        shown: At most so many series of each set.
        color: Of the series; the reference has its own.

    Raises:
        TypeError: If `axes` is not one panel of matplotlib, or the series are no numbers.
        ValueError: If the series have another shape, `channel` is none of theirs, or `shown < 1`.

    Example:
        >>> import numpy as np
        >>> from matplotlib.figure import Figure
        >>> from ssltok.plots import plot_samples
        >>> axes = Figure().subplots()
        >>> plot_samples(axes, np.zeros((3, 8)), reference=np.ones((30, 8)), shown=20)
        >>> len(axes.lines), [float(edge) for edge in axes.get_ylim()]
        (23, [0.0, 2.0])
    """
    who = "plot_samples"
    check_panel(who, axes)
    check_at_least(who, "shown", shown, 1)
    sets = [(series, color, "generated", "series")]
    if reference is not None:
        sets.insert(0, (reference, REAL, "real", "reference"))
    for values, shade, label, name in sets:
        rows = channel_of(who, name, values, channel=channel, front=("cases",))
        lines = axes.plot(rows[:shown].T, color=shade, alpha=0.45, linewidth=0.8)
        if reference is not None:
            lines[0].set_label(label)
            if name == "reference":
                axes.set_ylim(value_range(rows))
    if reference is not None:
        axes.legend(frameon=False, fontsize=8)
    axes.locator_params(axis="x", nbins=5)
    plain(axes)
