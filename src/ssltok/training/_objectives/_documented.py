"""The options that objectives share are described once, and stand in every docstring."""

import inspect
import re
from typing import TypeVar

from torch import nn

__all__ = ["documented"]

Kind = TypeVar("Kind", bound=type[nn.Module])

OPTIONS = {
    "encoder": "Gives the number of features; see `Objective` for what it must be.",
    "hidden_dim": "Width of the projector's hidden layer.",
    "projector": """A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
        its width takes the place of `projector_dim`.""",
    "pool": """From features `(batch, tokens, dim)` and which tokens are real, or None, to one
        vector a series. By default each real token is a row of its own.""",
    "global_views": "How many of the views are global, the first ones; all if None.",
    "views": "How many views it wants, 2 or more.",
}
RAISES = """\
Raises:
    TypeError: If the encoder lacks a member, or a part is not what it must be.
    ValueError: If an option is out of its range, or a batch does not fit.
"""


def documented(kind: Kind) -> Kind:
    """Complete an objective's docstring by the options that it does not describe itself."""
    written = inspect.cleandoc(kind.__doc__ or "")  # Python 3.13 has taken the margin already
    section = re.search(r"^Args:\n((?: {4}.*\n)*)", written, re.MULTILINE)
    if section is None:  # python -OO
        return kind
    entries = dict(re.findall(r"^ {4}(\w+): (.*\n(?: {8}.*\n)*)", section[1], re.MULTILINE))
    names = list(inspect.signature(kind).parameters)
    lines = [f"    {name}: {entries.get(name) or OPTIONS[name] + chr(10)}" for name in names]
    completed = written[: section.start(1)] + "".join(lines) + written[section.end(1) :]
    if "\nRaises:\n" not in completed:
        completed = completed.replace("\nExample:\n", f"\n{RAISES}\nExample:\n", 1)
    kind.__doc__ = completed
    return kind
