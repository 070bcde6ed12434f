"""A config's numbers as scikit-learn's nested parameters: `preset__tokenizer__dim`."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from ssltok.pipelines._config import Config

__all__ = ["nested_parameters", "replace_nested"]


def nested_parameters(config: Config, *, prefix: str = "preset__") -> dict[str, Any]:
    """Every section and every number of a config, by its path."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        found[prefix + field.name] = value
        if dataclasses.is_dataclass(value):
            for inner in dataclasses.fields(value):
                found[f"{prefix}{field.name}__{inner.name}"] = getattr(value, inner.name)
    return found


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
    for path in sorted(values, key=lambda p: p.count("__")):
        section, _, field = path.removeprefix(prefix).partition("__")
        value = values[path]
        if field:
            value = dataclasses.replace(getattr(config, section), **{field: value})
        config = dataclasses.replace(config, **{section: value})
    return config
