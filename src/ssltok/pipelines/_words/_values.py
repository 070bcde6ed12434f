"""Configs as plain dictionaries and as nested parameters, refusing what they do not know."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from ssltok.pipelines._words._config import Config

__all__ = ["config_from_dict", "config_to_dict", "nested_parameters", "replace_nested"]

Section = TypeVar("Section")


def config_to_dict(config: object) -> dict[str, Any]:
    """Turn a config into nested dictionaries of plain values, ready for JSON.

    Example:
        >>> from ssltok.pipelines import DecodingConfig, config_to_dict
        >>> config_to_dict(DecodingConfig(steps=6))["steps"]
        6
    """
    return dataclasses.asdict(typing.cast(Any, config))


def config_from_dict(kind: type[Section], values: object, *, path: str = "config") -> Section:
    """Build a config from nested dictionaries, refusing what it does not know.

    Args:
        kind: The dataclass to build.
        values: What JSON gave.
        path: Where we are, for the error's text.

    Returns:
        The config.

    Raises:
        ValueError: For an unknown key, a missing section or a value of the wrong type.

    Example:
        >>> from ssltok.pipelines import DecodingConfig, config_from_dict
        >>> config_from_dict(DecodingConfig, {"steps": 3}).steps
        3
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{path}: must be an object; got {type(values).__name__}")
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(str(key), list(hints), n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{path}: must have known keys only; got {key!r}{hint}")
    given = {key: _convert(hints[key], value, f"{path}.{key}") for key, value in values.items()}
    return kind(**given)


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return config_from_dict(typing.cast(type[object], hint), value, path=path)
    if origin is Literal:
        if value not in typing.get_args(hint):
            raise ValueError(f"{path}: must be one of {typing.get_args(hint)}; got {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple) or not all(type(v) is int for v in value):
            raise ValueError(f"{path}: must be a list of integers; got {value!r}")
        return tuple(value)
    kinds: dict[Any, Any] = {int: int, float: int | float, bool: bool, str: str}
    wanted = kinds[hint]
    allowed = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    if type(value) not in allowed:
        raise ValueError(f"{path}: must be {hint.__name__}; got {value!r}")
    return hint(value)


def nested_parameters(config: Config, *, prefix: str = "preset__") -> dict[str, Any]:
    """Every section and every number of a config, by its path."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        values[prefix + field.name] = value
        if dataclasses.is_dataclass(value):
            for inner in dataclasses.fields(value):
                values[f"{prefix}{field.name}__{inner.name}"] = getattr(value, inner.name)
    return values


def replace_nested(
    config: Config, values: Mapping[str, Any], *, prefix: str = "preset__"
) -> Config:
    """A config with other values at these paths; whole sections are replaced first.

    Raises:
        ValueError: If a path is unknown; near ones are named.
    """
    known = nested_parameters(config, prefix=prefix)
    for path in values:
        if path not in known:
            near = difflib.get_close_matches(path, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"set_params: names must be known; got {path!r}{hint}")
    fields: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        section, _, field = path.removeprefix(prefix).partition("__")
        if field:
            fields.setdefault(section, {})[field] = value
        else:
            config = dataclasses.replace(config, **{section: value})
    for section, several in fields.items():  # together, for one may need another
        changed = dataclasses.replace(getattr(config, section), **several)
        config = dataclasses.replace(config, **{section: changed})
    return config
