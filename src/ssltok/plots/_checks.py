"""Checks of what is drawn, and the one channel that a picture shows."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Axes", "Values", "as_array", "channel_of", "check_panel"]

if not TYPE_CHECKING:
    Axes = Any

Values = Tensor | ArrayLike


def check_panel(who: str, axes: Any) -> None:
    """Ask for one panel of matplotlib, not for an array of them."""
    if not (hasattr(axes, "plot") and hasattr(axes, "twinx")):
        raise TypeError(
            f"{who}: axes must be matplotlib axes, such as Figure().subplots(); got "
            f"{type(axes).__name__} (matplotlib comes with: pip install 'ssltok[pipelines]')"
        )


def as_array(who: str, name: str, values: Values) -> NDArray[Any]:
    """An array of numbers; a tensor may have a gradient and lie on a device."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{who}: {name} must hold real numbers; got {array.dtype}")
    return array


def channel_of(
    who: str, name: str, values: Values, *, channel: int, front: tuple[str, ...] = ()
) -> NDArray[Any]:
    """One channel of `(*front, length)` or `(*front, channels, length)` as floats, a view."""
    array = as_array(who, name, values)
    if array.ndim == len(front) + 1:
        array = array[..., None, :]
    if array.ndim != len(front) + 2 or not array.size:
        plain, full = (", ".join([*front, *rest]) for rest in (["length"], ["channels", "length"]))
        tail = "," if not front else ""
        raise ValueError(
            f"{who}: {name} must be ({plain}{tail}) or ({full}), and not empty; got shape "
            f"{np.asarray(values).shape}"
        )
    if not 0 <= channel < array.shape[-2]:
        raise ValueError(
            f"{who}: channel must lie in [0, {array.shape[-2] - 1}], the channels of {name}; "
            f"got {channel}"
        )
    chosen: NDArray[Any] = array[..., channel, :]
    return chosen if chosen.dtype.kind == "f" else chosen.astype(np.float64)
