"""Where the features are: one check for modules that read several layouts. Private."""

from torch import Tensor

__all__ = ["channel_axis"]


def channel_axis(who: str, name: str, tensor: Tensor, channel_dim: int) -> int:
    """Return `channel_dim` counted from the front; ask that it is an axis behind the batch."""
    axes = tensor.ndim
    if not -axes <= channel_dim < axes or channel_dim % axes == 0:
        raise ValueError(
            f"{who}: channel_dim must name an axis of {name} behind batch; got {channel_dim} "
            f"for shape {tuple(tensor.shape)}"
        )
    return channel_dim % axes
