"""The law of options: a module says by its attributes how it was built, and is built from them."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

EMPTY = inspect.Parameter.empty


def parameters_of(module: nn.Module) -> list[inspect.Parameter]:
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter
        for parameter in inspect.signature(type(module)).parameters.values()
        if parameter.kind not in several and parameter.name != "generator"
    ]


def rebuilt(value: Any) -> Any:
    """Build a module anew from its options, and the modules among them likewise."""
    if isinstance(value, nn.Module):
        if not type(value).__module__.startswith("ssltok."):
            return copy.deepcopy(value)
        options = {p.name: rebuilt(getattr(value, p.name)) for p in parameters_of(value)}
        return type(value)(**options)
    if isinstance(value, list | tuple):
        return type(value)(rebuilt(item) for item in value)
    plain = value is None or isinstance(value, bool | int | float | str) or callable(value)
    assert plain, f"{value!r} is not plain"
    return value


def assert_options_are_read_back(
    build: Callable[[], nn.Module], call: Callable[[Any], Tensor]
) -> set[str]:
    """Check one module; return the names of its options whose value is not the default."""
    torch.manual_seed(0)
    module = build()
    twin = rebuilt(module)
    assert type(twin) is type(module)
    shapes, expected = (
        {key: tensor.shape for key, tensor in part.state_dict().items()} for part in (twin, module)
    )
    assert list(shapes) == list(expected)
    assert shapes == expected
    twin.load_state_dict(module.state_dict())
    for training in (True, False):
        outs = []
        for part in (module, twin):
            part.train(training)
            torch.manual_seed(1)
            outs.append(call(part))
        assert torch.equal(*outs), f"training {training}"
    for key, tensor in module.state_dict().items():  # what training wrote, momentum and all
        assert torch.equal(twin.state_dict()[key], tensor), key
    for name, learned in module.named_parameters():
        assert dict(twin.named_parameters())[name].requires_grad == learned.requires_grad, name
    for parameter in parameters_of(module):
        value, again = getattr(module, parameter.name), getattr(twin, parameter.name)
        assert isinstance(value, nn.Module) or value == again, parameter.name
    return {
        p.name
        for p in parameters_of(module)
        if p.default is not EMPTY and getattr(module, p.name) != p.default
    }


def options_with_default(module: nn.Module) -> set[str]:
    return {p.name for p in parameters_of(module) if p.default is not EMPTY}
