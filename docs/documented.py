"""Docstrings that a decorator completes are read from the function, where reading source loses it.

`force_inspection` on a page has no effect: the package is read once, for all pages.
"""

import inspect
from typing import Any

import griffe


class Documented(griffe.Extension):
    """Take the docstring of each function under `@documented` as the function has it."""

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        """Replace the docstring that stands in the source."""
        if func.docstring and any(str(d.value) == "documented" for d in func.decorators):
            func.docstring.value = inspect.getdoc(griffe.dynamic_import(func.path)) or ""
