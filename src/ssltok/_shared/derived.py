"""Buffers that follow from a module's options: never saved, and right again wherever lost."""

from collections.abc import Callable
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

__all__ = ["DerivedBuffers"]

OPTIONS = "ssltok.options"
"""Where the metadata of a state_dict keeps the options that derived buffers follow from."""


class DerivedBuffers(nn.Module):
    """A module with buffers that its options determine, such as a table of angles.

    A `state_dict` does not hold them, so loading cannot bring them back. They are computed anew

    - after every conversion and move: `to_empty` leaves no values, `half` rounds and `double` does
      not undo it;
    - after `load_state_dict(..., assign=True)` on the meta device, which moves what is saved and
      leaves everything else behind. They go where the module's own parameters are, or to the
      default device if it has none.

    The options go into the metadata of the `state_dict`, where names and tensors stay as they
    were, and a state with other options is refused. One without (written before, or as plain
    tensors by `safetensors`) says nothing and is taken.

    An heir has `_derive` and `_derived_options`, and calls `_register_derived` when it is built.
    """

    def _derive(self) -> dict[str, Tensor]:
        """Return the buffers' values by name; floating-point ones in float64."""
        raise NotImplementedError

    def _derived_options(self) -> dict[str, Any]:
        """Return the options that states must agree in, as plain numbers and lists of such."""
        raise NotImplementedError

    def _derived_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of floating-point buffers where the module is converted to `dtype`."""
        return dtype

    def _register_derived(self) -> None:
        dtype = self._derived_dtype(torch.get_default_dtype())
        values = self._derive()
        self._derived = tuple(values)
        for name, value in values.items():
            start = value.to(dtype) if value.is_floating_point() else value
            self.register_buffer(name, start, persistent=False)

    def _write_derived(self, places: dict[str, torch.device]) -> None:
        """Put the values of some buffers on devices, in the dtype that each has."""
        with torch.no_grad(), torch.device("cpu"):
            values = self._derive() if places else {}
            for name, device in places.items():
                dtype: torch.dtype = getattr(self, name).dtype
                if dtype.is_floating_point:
                    dtype = self._derived_dtype(dtype)
                self._buffers[name] = values[name].to(device=device, dtype=dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:  # noqa: FBT001, FBT002
        """Convert or move as any module, then compute anew what is not the same tensor."""
        before = {name: self._buffers[name] for name in self._derived}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        after = {name: getattr(self, name) for name in self._derived}
        self._write_derived(
            {name: new.device for name, new in after.items() if new is not before[name]}
        )
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:  # noqa: FBT001
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", {})
        if prefix[:-1] in metadata:
            metadata[prefix[:-1]][OPTIONS] = self._derived_options()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,  # noqa: FBT001
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        here, there = self._derived_options(), local_metadata.get(OPTIONS)
        if there is not None and there != here:
            error_msgs.append(
                f"{type(self).__name__}: the state must be that of a module with {here}; "
                f"got one of {there}"
            )
        if local_metadata.get("assign_to_params_buffers", False):
            tensors = chain(self._parameters.values(), self._buffers.values())
            devices = [t.device for t in tensors if t is not None and t.device.type != "meta"]
            device = devices[0] if devices else torch.get_default_device()
            lost = [name for name in self._derived if getattr(self, name).is_meta]
            self._write_derived(dict.fromkeys(lost, device))
