"""Parts as data: a public name and plain options, from which the same part is built again.

A description holds nothing that can be executed: names are looked up in the public lists of a few
subpackages, numbers have limits, and what is not ours is named and must be handed over.
"""

import functools
import importlib
import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssltok._shared.described import MadeBy, description_of

__all__ = ["PartError", "build_described", "describe"]

HOUSES = (
    "augment", "decoding", "losses", "masking", "nn", "quantizers", "signal", "state", "training",
)  # fmt: skip
OURS = {"pipelines": ("Branch", "CausalPrior", "ConditionedPrior", "Prior", "Tokenizer")}
FACTORIES = ("augment", "decoding", "masking")  # packages whose functions make rules
TORCH = (
    "BatchNorm1d", "BatchNorm2d", "ELU", "GELU", "GroupNorm", "Identity", "LayerNorm", "LeakyReLU",
    "RMSNorm", "ReLU", "SiLU", "Tanh",
)  # fmt: skip
GIVEN = ("encoder",)  # what objectives are called with, and do not own
LARGEST = 2**20  # of any number; lengths are the largest
DEEPEST = 40  # parts inside parts
MOST_NUMBERS = 2**16  # of a tensor that is an option


class PartError(ValueError):
    """A description cannot be read, or a part of somebody else's was not handed over."""


def describe(part: object, *, at: str = "") -> Any:
    """Describe a part by its public name and plain options.

    Modules and rules of this library, classes and partials of them, plain values, sequences and
    small tensors can be described; an objective as the partial that builds it for an encoder. What
    is somebody else's is described by its name alone, as `{"foreign": name, "at": path}`, and must
    be handed to `build_described`. Weights are no part of a description: a `state_dict` holds them.

    Args:
        part: The part, built or as a `functools.partial`.
        at: The place that it is described for, in front of the places of its own parts.

    Returns:
        What `json` can write.

    Raises:
        PartError: If an option is too large, or parts are nested too deeply.

    Example:
        >>> from ssltok.pipelines import describe
        >>> from ssltok.quantizers import FSQ
        >>> describe(FSQ([8, 5]))
        {'module': 'ssltok.quantizers.FSQ', 'options': {'levels': [8, 5], 'channel_dim': -1}}
    """
    return _describe(part, at, {}, 0)


def build_described(
    description: Any, *, parts: Mapping[str, Any] | None = None, at: str = ""
) -> Any:
    """Build a part from its description.

    Args:
        description: From `describe`, perhaps by way of a file; nothing in it is trusted.
        parts: What is somebody else's, by its place in the description, such as
            `{"branches.0.encoder": MyEncoder()}`.
        at: As in `describe`; parts of other places are left alone.

    Returns:
        The part, with new weights.

    Raises:
        PartError: If the description has another form, a name is not public or a number too
            large; or if a part must be handed over, with its place.

    Example:
        >>> from ssltok.pipelines import build_described, describe
        >>> from ssltok.quantizers import FSQ
        >>> build_described(describe(FSQ([8, 5]))).codebook_size
        40
    """
    handed = {k: v for k, v in (parts or {}).items() if not at or f"{k}.".startswith(f"{at}.")}
    built = _build(description, at, {}, handed, 0)
    if handed:
        raise PartError(
            f"parts must be those that the description asks for; got {sorted(handed)} beside"
        )
    return built


def address_of(thing: Any) -> str | None:
    """The public address of a class or function, or None."""
    name = getattr(thing, "__name__", None)
    module = getattr(thing, "__module__", "") or ""
    if module.startswith("torch.nn") and name in TORCH:
        return f"torch.nn.{name}"
    words = module.split(".")
    if words[0] != "ssltok" or len(words) < 2 or not isinstance(name, str):
        return None
    house = words[1]
    known = OURS.get(house, ()) if house not in HOUSES else ()
    if house in HOUSES:
        known = importlib.import_module(f"ssltok.{house}").__all__
    if name not in known or getattr(importlib.import_module(f"ssltok.{house}"), name) is not thing:
        return None
    return f"ssltok.{house}.{name}"


def _describe(part: Any, path: str, seen: dict[int, int], depth: int) -> Any:
    if depth > DEEPEST:
        raise PartError(f"{path}: parts must be nested at most {DEEPEST} deep; got more")
    inner = functools.partial(_describe, seen=seen, depth=depth + 1)
    if part is None or isinstance(part, bool | str):
        return part
    if isinstance(part, int):
        if abs(part) > LARGEST:
            raise PartError(f"{path}: numbers must be at most {LARGEST}; got {part}")
        return part
    if isinstance(part, float):
        return part if math.isfinite(part) else {"float": repr(part)}
    if isinstance(part, torch.Size | tuple):
        return {"tuple": [inner(item, _join(path, i)) for i, item in enumerate(part)]}
    if isinstance(part, list | nn.ModuleList):
        return [inner(item, _join(path, i)) for i, item in enumerate(part)]
    if isinstance(part, Tensor):
        if part.numel() > MOST_NUMBERS:
            raise PartError(
                f"{path}: tensors must have at most {MOST_NUMBERS} numbers; got {part.numel()}"
            )
        dtype = str(part.dtype).removeprefix("torch.")
        return {"tensor": part.detach().cpu().tolist(), "dtype": dtype}
    made_by = description_of(part)
    if made_by is not None:
        return _describe_call(made_by, path, inner)
    if isinstance(part, functools.partial):
        address = address_of(part.func)
        if address is None:
            return _foreign(part.func, path)
        return {
            "partial": address,
            "places": [inner(item, _join(path, i)) for i, item in enumerate(part.args)],
            "options": {k: inner(v, _join(path, k)) for k, v in part.keywords.items()},
        }
    if isinstance(part, nn.Module) and not isinstance(part, type):
        return _describe_module(part, path, seen, inner)
    address = address_of(part)
    return _foreign(part, path) if address is None else {"name": address}


def _describe_module(part: nn.Module, path: str, seen: dict[int, int], inner: Any) -> Any:
    if id(part) in seen:
        return {"same": seen[id(part)]}
    address = address_of(type(part))
    if address is None:
        return _foreign(type(part), path)
    number = seen[id(part)] = len(seen)
    given = GIVEN if address.startswith("ssltok.training.") else ()
    options = {
        name: inner(_option(part, name), _join(path, name))
        for name in options_of(type(part))
        if name not in given
    }
    if given:  # an objective is built for an encoder, which is no part of it
        return {"partial": address, "places": [], "options": options}
    described = {"module": address, "options": options}
    return described if number == 0 else {**described, "number": number}


def options_of(kind: Any) -> list[str]:
    """Names of what a class is built from, but for what only decides first weights and places."""
    parameters = inspect.signature(kind).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    placing = ("device", "dtype") if kind.__module__.startswith("torch.") else ()
    return [
        p.name for p in parameters
        if p.kind in plain and not p.name.endswith("generator") and p.name not in placing
    ]  # fmt: skip


def _option(part: nn.Module, name: str) -> Any:
    """An option of a module; `bias` of torch's own says whether there is one, and holds it."""
    value = getattr(part, name)
    if name == "bias" and type(part).__module__.startswith("torch."):
        return value is not None
    return value


def _describe_call(made_by: MadeBy, path: str, inner: Any) -> Any:
    address = address_of(made_by.factory)
    if address is None:
        return _foreign(made_by.factory, path)
    options = {k: inner(v, _join(path, k)) for k, v in made_by.arguments.items()}
    return {"call": address, "options": options}


def _foreign(thing: Any, path: str) -> dict[str, str]:
    name = f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', type(thing))}"
    return {"foreign": name, "at": path}


def _join(path: str, name: str | int) -> str:
    return f"{path}.{name}" if path else str(name)


def _build(node: Any, path: str, built: dict[int, Any], handed: dict[str, Any], depth: int) -> Any:
    if depth > DEEPEST:
        raise PartError(f"parts must be nested at most {DEEPEST} deep; got more at {path}")
    inner = functools.partial(_build, built=built, handed=handed, depth=depth + 1)
    if node is None or isinstance(node, bool | str):
        return node
    if isinstance(node, int | float):
        if not abs(node) <= LARGEST:
            raise PartError(f"numbers must be at most {LARGEST}; got {node} at {path}")
        return node
    if isinstance(node, list):
        return [inner(item, _join(path, i)) for i, item in enumerate(node)]
    if not isinstance(node, dict):
        raise PartError(f"a part must be plain; got {type(node).__name__} at {path}")
    keys = set(node)
    if keys == {"foreign", "at"}:
        if path not in handed:
            raise PartError(
                f"{node['foreign']} at {path!r} is no part of ssltok and must be handed over: "
                f"parts={{{path!r}: ...}}"
            )
        return handed.pop(path)
    if keys == {"tuple"} and isinstance(node["tuple"], list):
        return tuple(inner(item, _join(path, i)) for i, item in enumerate(node["tuple"]))
    if keys == {"float"} and node["float"] in ("inf", "-inf", "nan"):
        return float(node["float"])
    if keys == {"same"} and type(node["same"]) is int and node["same"] in built:
        return built[node["same"]]
    if keys == {"tensor", "dtype"}:
        return _tensor(node, path)
    if keys == {"name"}:
        return _public(node["name"], path)
    options = node.get("options")
    if not isinstance(options, dict):
        raise PartError(f"a part must have a known form; got {sorted(map(str, keys))} at {path}")
    bound = {str(k): inner(v, _join(path, str(k))) for k, v in options.items()}
    if keys == {"partial", "places", "options"} and isinstance(node["places"], list):
        places = [inner(item, _join(path, i)) for i, item in enumerate(node["places"])]
        return functools.partial(_public(node["partial"], path), *places, **bound)
    if keys == {"call", "options"}:
        return _call(node["call"], bound, path)
    if keys in ({"module", "options"}, {"module", "options", "number"}):
        kind = _public(node["module"], path)
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise PartError(f"a module must be a module's class; got {node['module']} at {path}")
        _check_options(node["module"], kind, options_of(kind), bound, path)
        number = node.get("number", 0)
        if type(number) is not int:
            raise PartError(f"a module's number must be a number; got {number!r} at {path}")
        part = built[number] = _construct(kind, bound, path)
        return part
    raise PartError(f"a part must have a known form; got {sorted(map(str, keys))} at {path}")


def _check_options(
    name: str, kind: Any, known: list[str], bound: dict[str, Any], path: str
) -> None:
    """Ask for known options, and for all that have no default.

    An option that is younger than what was written is not there, and its default is what was.
    """
    parameters = inspect.signature(kind).parameters
    needed = {option for option in known if parameters[option].default is inspect.Parameter.empty}
    odd = sorted((set(bound) - set(known)) | (needed - set(bound)))
    if odd:
        raise PartError(f"{name} must have its own options; got {odd} at {path}")


def _construct(kind: Any, bound: dict[str, Any], path: str) -> Any:
    try:
        return kind(**bound)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise PartError(f"{kind.__name__} refuses its options at {path!r} ({error})") from error


def _call(name: Any, bound: dict[str, Any], path: str) -> Any:
    factory = _public(name, path)
    if isinstance(factory, type) or str(name).split(".")[1] not in FACTORIES:
        raise PartError(f"a rule must come from a function that makes rules; got {name} at {path}")
    _check_options(name, factory, list(inspect.signature(factory).parameters), bound, path)
    try:
        rule = MadeBy(factory, bound).rebuild()
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise PartError(f"{name} refuses its options at {path!r} ({error})") from error
    if description_of(rule) is None:
        raise PartError(f"a rule must come from a function that makes rules; got {name} at {path}")
    return rule


def _public(name: Any, path: str) -> Any:
    words = name.split(".") if isinstance(name, str) else []
    if words[:2] == ["torch", "nn"] and len(words) == 3 and words[2] in TORCH:
        return getattr(nn, words[2])
    if len(words) == 3 and words[0] == "ssltok":
        house, item = words[1:]
        if item in OURS.get(house, ()):
            return getattr(importlib.import_module(f"ssltok.{house}"), item)
        if house in HOUSES:
            package = importlib.import_module(f"ssltok.{house}")
            if item in package.__all__:
                return getattr(package, item)
    raise PartError(f"a part's name must be public in ssltok; got {name!r} at {path!r}")


def _tensor(node: dict[str, Any], path: str) -> Tensor:
    dtype = getattr(torch, str(node["dtype"]), None)
    try:
        if not isinstance(dtype, torch.dtype):
            raise TypeError(f"dtype {node['dtype']!r}")
        tensor = torch.tensor(node["tensor"], dtype=dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PartError(f"a tensor must be numbers; got {error} at {path}") from error
    if tensor.numel() > MOST_NUMBERS:
        raise PartError(f"tensors must have at most {MOST_NUMBERS} numbers; got more at {path}")
    return tensor
