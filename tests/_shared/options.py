"""The law of options: what a module was built with can be read back, and builds its equal."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

Plain = bool | int | float | str | None


def options_of(module: nn.Module) -> dict[str, Any]:
    """The options of a built module under the names of its constructor; no generator."""
    if type(module).__init__ is nn.Module.__init__:
        return {}
    names = set(inspect.signature(type(module)).parameters) - {"generator"}
    return {name: getattr(module, name) for name in names}


def rebuilt(module: nn.Module) -> nn.Module:
    """A module of the options of another, with its state."""
    again = type(module)(**options_of(module))
    again.load_state_dict(module.state_dict())
    return again


def check_options(build: Callable[..., nn.Module], options: dict[str, Any]) -> None:
    """Ask the law of a class (or a function that builds it) at options that are not its defaults.

    The caller names every option, so that one which comes back as its default is noticed.
    """
    module = build(**options)
    assert set(options_of(module)) == set(options)
    for name, value in options_of(module).items():
        assert is_describable(value), f"{name} comes back as a {type(value).__name__}"
        if not isinstance(value, nn.Module):  # a module may be held as a copy
            assert value is options[name] or value == options[name], name
            assert type(value) is type(options[name]), name
    again = rebuilt(module)
    assert type(again) is type(module)
    shapes, wanted = (
        {key: (value.shape, value.dtype) for key, value in one.state_dict().items()}
        for one in (again, module)
    )
    assert shapes == wanted
    assert again.training == module.training


def is_describable(value: object) -> bool:
    """Whether an artefact can say it in words: plain values, functions, modules, lists of them."""
    if isinstance(value, list | tuple):
        return all(is_describable(part) for part in value)
    return isinstance(value, Plain | nn.Module) or callable(value)
