"""Functions that make functions: what they return remembers how it was made.

A rule such as `confidence_order(temperature=4.0)` is a closure, and a closure has no options that
could be read, compared or written into a file. The decorator `described` puts them beside it:

    rule = confidence_order(temperature=4.0)
    rule.made_by             # MadeBy(confidence_order, {"temperature": 4.0})
    rule.made_by.rebuild()   # an equal rule

`made_by` is a pair of the factory, as the public can call it, and its arguments by name, defaults
included. `description_of` reads it from anything, with types.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

__all__ = ["MadeBy", "described", "description_of"]

Options = ParamSpec("Options")
Rule = TypeVar("Rule")


class MadeBy(NamedTuple):
    """A factory, and the arguments of one call of it by name, defaults included.

    `arguments` is what `inspect.BoundArguments` holds: the name of a parameter `*parts` stands for
    all its parts, a tuple. Without such a parameter `factory(**arguments)` is the call; `rebuild`
    is it in every case.
    """

    factory: Callable[..., Any]
    arguments: dict[str, Any]

    def rebuild(self) -> Any:
        """Call the factory with these arguments again."""
        signature = inspect.signature(self.factory)
        bound = inspect.BoundArguments(signature, self.arguments)
        return self.factory(*bound.args, **bound.kwargs)


def described(factory: Callable[Options, Rule]) -> Callable[Options, Rule]:
    """Give the function that each call of `factory` returns an attribute `made_by`.

    The factory must return a new function each time (a closure, a lambda, a `functools.partial`).
    """
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def describing(*args: Options.args, **kwargs: Options.kwargs) -> Rule:
        rule = factory(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        rule.made_by = MadeBy(describing, dict(bound.arguments))  # type: ignore[attr-defined]
        return rule

    return describing


def description_of(rule: object) -> MadeBy | None:
    """Return how a rule was made, or None if it does not say."""
    made_by = getattr(rule, "made_by", None)
    return made_by if isinstance(made_by, MadeBy) else None
