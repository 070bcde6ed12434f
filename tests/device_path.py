"""On a CPU values may be looked at; in this mode components do as on a device, where they wait."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["DevicePath"]


class DevicePath(TorchDispatchMode):
    """Changes nothing, and is seen: a component cannot know what a dispatch mode stands for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))
