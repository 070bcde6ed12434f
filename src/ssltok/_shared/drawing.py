"""What every picture here shares: two colours, a plain frame, and a range that hides nothing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GENERATED", "REAL", "plain", "value_range"]

REAL, GENERATED = "#33415c", "#d1495b"


def plain(axes: Any) -> None:
    """Two spines and small numbers."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def value_range(values: NDArray[Any], *, share: float = 0.0) -> tuple[float, float]:
    """The range of the values, a fifth of it wider at both ends; NaN is left out.

    `share` is left out of it at both ends.
    """
    low, high = np.nanquantile(values, [share, 1 - share])
    margin = 0.2 * (high - low) or 1.0
    return float(low - margin), float(high + margin)
