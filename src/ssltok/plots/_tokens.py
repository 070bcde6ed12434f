"""A series above its tokens."""

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssltok._shared.drawing import REAL, plain, value_range
from ssltok.plots._checks import Axes, Values, as_array, channel_of, check_panel

__all__ = ["plot_tokens"]

GOLDEN = 0.618034  # of the circle of hues, between one code and the next: neighbours differ
STRIP = 0.13  # of the height of the series, for a row of tokens
MOST_NUMBERS = 40  # tokens in a row whose numbers can still be read
Array = NDArray[Any]


def plot_tokens(axes: Axes, series: Values, codes: Values, *, channel: int = 0) -> None:
    """Draw a series, and under it its tokens, each below the samples it stands for.

    A code has the same colour wherever it occurs; its number stands in it where there is room.
    With tokens by frequency the lowest row is the lowest frequency.

    Args:
        axes: Matplotlib axes to draw into.
        series: `(length,)` or `(channels, length)`; NaN is a gap.
        codes: Integers, `(tokens,)` or `(freq, tokens)`, in the order of time; -1 is padding and
            stays empty. The grid of `SSLTokenizer.encode` is in its `grids_`.
        channel: The channel that is drawn.

    Raises:
        TypeError: If `axes` is not one panel of matplotlib, or codes are no integers.
        ValueError: If series or codes have another shape, or `channel` is none of theirs.

    Example:
        >>> import numpy as np
        >>> from matplotlib.figure import Figure
        >>> from ssltok.plots import plot_tokens
        >>> axes = Figure().subplots()
        >>> plot_tokens(axes, np.arange(8.0), np.array([5, 5, 2, 7]))
        >>> [text.get_text() for text in axes.texts]
        ['5', '5', '2', '7']
        >>> [float(text.get_position()[0]) for text in axes.texts]  # the middle of two samples each
        [0.5, 2.5, 4.5, 6.5]
    """
    who = "plot_tokens"
    check_panel(who, axes)
    line = channel_of(who, "series", series, channel=channel)
    grid = as_array(who, "codes", codes)
    if grid.dtype.kind not in "iu":
        raise TypeError(f"{who}: codes must be integers; got {grid.dtype}")
    if grid.ndim not in (1, 2) or not grid.size:
        raise ValueError(
            f"{who}: codes must be (tokens,) or (freq, tokens), and not empty; got shape "
            f"{grid.shape}"
        )
    grid = np.atleast_2d(grid)
    rows, tokens = grid.shape
    low, high = value_range(line)
    height = STRIP * (high - low)
    top, bottom = low, low - rows * height
    axes.imshow(
        _colours(grid), extent=(-0.5, len(line) - 0.5, bottom, top), aspect="auto",
        interpolation="nearest", origin="lower",
    )  # fmt: skip
    if tokens <= MOST_NUMBERS:
        width = len(line) / tokens
        for row, token in zip(*np.nonzero(grid >= 0), strict=True):
            axes.text(
                (token + 0.5) * width - 0.5, bottom + (row + 0.5) * height, str(grid[row, token]),
                ha="center", va="center", fontsize=6, clip_on=True,
            )  # fmt: skip
    axes.plot(line, color=REAL, linewidth=1.2)
    axes.set(xlim=(-0.5, len(line) - 0.5), ylim=(bottom, high))
    axes.set_yticks([tick for tick in axes.get_yticks() if low < tick <= high])
    plain(axes)


def _colours(codes: Array) -> Array:
    """One colour for each code, `(freq, tokens, 4)`; padding can be seen through."""
    colours = np.zeros((*codes.shape, 4))
    for code in np.unique(codes[codes >= 0]):
        hue = float(code) * GOLDEN % 1
        colours[codes == code] = (*colorsys.hsv_to_rgb(hue, 0.45, 0.95), 1.0)
    return colours
