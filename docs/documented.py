"""Docstrings that a decorator completes are read from the object, where reading source loses it.

`force_inspection` on a page has no effect: the package is read once, for all pages.
"""

import inspect
from typing import Any

import griffe


class Documented(griffe.Extension):
    """Take the docstring of each function and class under `@documented` as the object has it."""

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        """Replace the docstring of a function that stands in the source."""
        _replace(func)

    def on_class_instance(self, *, cls: griffe.Class, **_: Any) -> None:
        """Replace the docstring of a class likewise."""
        _replace(cls)


def _replace(completed: griffe.Function | griffe.Class) -> None:
    if completed.docstring and any(str(d.value) == "documented" for d in completed.decorators):
        completed.docstring.value = inspect.getdoc(griffe.dynamic_import(completed.path)) or ""
