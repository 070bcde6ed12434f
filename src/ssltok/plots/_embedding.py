"""Features of series as points on a plane."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssltok._shared.drawing import GENERATED, REAL, plain
from ssltok.plots._checks import Axes, Values, as_array, check_panel

__all__ = ["plot_embedding"]

COLORS = (
    REAL, GENERATED, "#edae49", "#00798c", "#8f5fa8", "#66a182", "#b57b4a", "#7a8fb8", "#c77fa0",
    "#8a8a8a",
)  # fmt: skip


def plot_embedding(
    axes: Axes,
    points: Values,
    labels: Sequence[Hashable] | None = None,
    *,
    classes: Sequence[Hashable] = (),
    colors: Sequence[str] = COLORS,
) -> None:
    """Draw one point for each series, in the colour of its class.

    More than two features are brought to the plane of their two first principal components; the
    axes then say what share of the variance each has.

    Args:
        axes: Matplotlib axes to draw into.
        points: `(cases, 2)`, or `(cases, dim)` with more features.
        labels: A class for each case, or None.
        classes: The order of the classes in legend and colours; by default sorted as text.
        colors: One for each class, repeated where there are more classes.

    Raises:
        TypeError: If `axes` is not one panel of matplotlib, or the points are no numbers.
        ValueError: If points are not `(cases, dim >= 2)` and finite, there is not a label for
            each, or a label is none of `classes`.

    Example:
        >>> import numpy as np
        >>> from matplotlib.figure import Figure
        >>> from ssltok.plots import plot_embedding
        >>> axes = Figure().subplots()
        >>> plot_embedding(axes, np.diag([2.0, 1.0, 0.0])[:, [2, 0, 1]], labels=["a", "b", "a"])
        >>> axes.get_xlabel()
        'component 1 (86 % of the variance)'
        >>> [c.get_label() for c in axes.collections]
        ['a', 'b']
    """
    who = "plot_embedding"
    check_panel(who, axes)
    array = as_array(who, "points", points).astype(np.float64)
    if array.ndim != 2 or array.shape[1] < 2 or not len(array):
        raise ValueError(f"{who}: points must be (cases, dim >= 2); got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{who}: points must be finite; got NaN or an infinite one")
    names = [None] * len(array) if labels is None else list(labels)
    order = list(classes) or sorted(dict.fromkeys(names), key=str)
    if len(names) != len(array) or not set(names) <= set(order):
        raise ValueError(
            f"{who}: labels must be one of the classes for each of {len(array)} points; got "
            f"{len(names)}, with {sorted(set(names) - set(order), key=str)} in no class"
        )
    if array.shape[1] > 2:
        array, shares = _principal(array)
        for axis, number in ((axes.set_xlabel, 0), (axes.set_ylabel, 1)):
            share = f"{100 * shares[number]:.0f} % of the variance"
            axis(f"component {number + 1} ({share})", fontsize=8)
    for place, name in enumerate(order):
        xy = array[[other == name for other in names]]
        axes.scatter(
            xy[:, 0], xy[:, 1], s=8, alpha=0.5, linewidths=0, color=colors[place % len(colors)],
            label=str(name),
        )  # fmt: skip
    if labels is not None:
        axes.legend(frameon=False, fontsize=8)
    plain(axes)


def _principal(points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Coordinates on the two first principal axes, and the share of the variance of each.

    An axis points to where its largest weight is positive, so that a picture has one orientation.
    """
    centred = points - points.mean(axis=0)
    _, scales, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    plane = np.zeros((len(points), 2))
    plane[:, : len(axes)] = centred @ (axes * signs[:, None]).T
    shares = np.zeros(2)
    total = (scales**2).sum()
    shares[: len(axes)] = scales[:2] ** 2 / total if total else 0.0
    return plane, shares
