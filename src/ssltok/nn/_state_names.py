"""Parts whose name in the state is also the name of an option. Private."""

from functools import partial
from typing import Any

from torch import nn

__all__ = ["store_as"]


def store_as(module: nn.Module, **names: str) -> None:
    """Store the part `module.<attribute>` in the state under another name: `attribute="name"`.

    The attribute `module.<name>` is then free for the option of that name, as it was passed, and
    states that were saved before still load: keys and their order stay.
    """
    module.register_state_dict_post_hook(partial(_write, names=names))
    module.register_load_state_dict_pre_hook(
        partial(_read, names={name: attribute for attribute, name in names.items()})
    )


def _write(
    module: nn.Module, state: dict[str, Any], prefix: str, _: Any, *, names: dict[str, str]
) -> None:
    _rename(state, prefix, names)


def _read(
    module: nn.Module, state: dict[str, Any], prefix: str, *_: Any, names: dict[str, str]
) -> None:
    _rename(state, prefix, names)


def _rename(state: dict[str, Any], prefix: str, names: dict[str, str]) -> None:
    entries = list(state.items())
    state.clear()
    for key, value in entries:
        head, dot, tail = key.removeprefix(prefix).partition(".")
        inside = key.startswith(prefix) and head in names
        state[prefix + names[head] + dot + tail if inside else key] = value
