"""A gap, or a future, and what a model would have there."""

import numpy as np
from numpy.typing import NDArray

from ssltok._shared.checks import check_number
from ssltok._shared.drawing import GENERATED, REAL, plain
from ssltok.plots._checks import Axes, Values, channel_of, check_panel

__all__ = ["plot_imputation"]

HEADROOM = 0.3  # of the values' range, for the legend


def plot_imputation(
    axes: Axes,
    series: Values,
    draws: Values,
    *,
    truth: Values | None = None,
    interval: float = 0.8,
    channel: int = 0,
) -> None:
    """Draw a series with missing values, the median of the draws there, and how far they spread.

    The band holds the middle `interval` of the draws at each sample. A forecast is a gap at the
    end: lengthen the series by NaN, and put NaN in front of the draws.

    Args:
        axes: Matplotlib axes to draw into.
        series: `(length,)` or `(channels, length)`, NaN where a value is missing.
        draws: `(samples, length)` or `(samples, channels, length)`, such as one case of
            `SSLTokenizer.impute`; read where the series is missing.
        truth: What the missing values were, of the form of `series`, or None; drawn dotted.
        interval: Share of the draws that the band holds, in (0, 1).
        channel: The channel that is drawn.

    Raises:
        TypeError: If `axes` is not one panel of matplotlib, or the values are no numbers.
        ValueError: If shapes do not fit, nothing that is missing was drawn, or `interval` is
            outside (0, 1).

    Example:
        >>> import numpy as np
        >>> from matplotlib.figure import Figure
        >>> from ssltok.plots import plot_imputation
        >>> axes = Figure().subplots()
        >>> draws = np.arange(5.0)[:, None] * np.ones(4)  # 0, 1, 2, 3, 4 at each of four samples
        >>> plot_imputation(axes, np.array([2.0, np.nan, np.nan, 2.0]), draws, interval=0.5)
        >>> [line.get_label() for line in axes.lines]
        ['known', 'median of 5 draws']
        >>> axes.lines[1].get_ydata()  # it begins and ends at the known neighbours
        array([2., 2., 2., 2.])
    """
    who = "plot_imputation"
    check_panel(who, axes)
    check_number(who, "interval", interval)
    if not 0 < interval < 1:
        raise ValueError(f"{who}: interval must lie in (0, 1); got {interval}")
    known = channel_of(who, "series", series, channel=channel)
    drawn = channel_of(who, "draws", draws, channel=channel, front=("samples",))
    reference = None if truth is None else channel_of(who, "truth", truth, channel=channel)
    for name, values in (("draws", drawn), ("truth", reference)):
        if values is not None and values.shape[-1] != len(known):
            raise ValueError(
                f"{who}: {name} must be as long as the series, {len(known)}; got {values.shape[-1]}"
            )
    missing = np.isnan(known) & ~np.isnan(drawn).any(axis=0)
    if not missing.any():
        raise ValueError(f"{who}: series must have NaN where there are draws; got none")
    tail = (1 - interval) / 2
    bounds = np.full((3, len(known)), np.nan)
    bounds[:, missing] = np.quantile(drawn[:, missing], [tail, 0.5, 1 - tail], axis=0)
    beside = _beside(missing) & ~np.isnan(known)
    bounds[:, beside] = known[beside]  # so that it begins where the known values end
    time = np.arange(len(known))
    for start, end in _runs(missing):
        axes.axvspan(start - 0.5, end - 0.5, color="0.93", linewidth=0, zorder=0)
    axes.fill_between(
        time, bounds[0], bounds[2], color=GENERATED, alpha=0.25, linewidth=0,
        label=f"{interval:.0%} of the draws",
    )  # fmt: skip
    axes.plot(time, known, color=REAL, linewidth=1.4, label="known")
    axes.plot(
        time, bounds[1], color=GENERATED, linewidth=1.2, label=f"median of {len(drawn)} draws"
    )
    if reference is not None:
        axes.plot(
            time, np.where(missing | beside, reference, np.nan), color=REAL, linewidth=1.2,
            linestyle=":", label="truth",
        )  # fmt: skip
    drawn_values = [known, bounds.ravel(), *([] if reference is None else [reference])]
    low, high = _range(np.concatenate(drawn_values))
    # Room for the legend; in this way panels that share an axis still see all of each other.
    axes.update_datalim([(0.0, high + HEADROOM * (high - low))])
    axes.autoscale_view()
    axes.legend(frameon=False, fontsize=7, ncols=2, loc="upper center", handlelength=1.5)
    plain(axes)


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(np.nanmin(values)), float(np.nanmax(values))


def _beside(missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The samples next to a missing one."""
    near = np.zeros_like(missing)
    near[1:] |= missing[:-1]
    near[:-1] |= missing[1:]
    beside: NDArray[np.bool_] = near & ~missing
    return beside


def _runs(missing: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First sample of each run, and the one after its last."""
    steps = np.diff(np.concatenate([[0], missing.astype(int), [0]]))
    starts, ends = np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist()
    return list(zip(starts, ends, strict=True))
