"""What public names refuse is in their docstrings, and every public function shows its use.

The errors are read from the source: those that a body raises, that functions of its own file
raise for it, and that the checks raise.
"""

import ast
import functools
import importlib
import inspect
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ssltok._shared.checks import check_number
from tests.test_architecture import PACKAGES, tree_of

ERRORS = ("TypeError", "ValueError")
Function = Callable[..., Any]


def own(thing: object) -> bool:
    return getattr(thing, "__module__", "").startswith("ssltok")


def is_check(function: Function) -> bool:
    """Whether a function of another file is there to raise: its name or its file says so."""
    names = (function.__name__, function.__module__.rpartition(".")[2])
    return names[0].lstrip("_").startswith("check_") or names[1].endswith("checks")


@functools.cache
def bodies(file: str) -> dict[int, ast.AST]:
    """The functions of a file by their first line, that of a decorator included."""
    nodes = ast.walk(tree_of(pathlib.Path(file)))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    return {min(n.lineno, *(d.lineno for d in n.decorator_list), n.lineno): n for n in functions}


@functools.cache
def read(function: Function) -> tuple[set[str], list[Function]]:
    """The errors that a body raises, and the functions that may raise others for it."""
    code = function.__code__
    if not code.co_filename.endswith(".py"):
        return set(), []  # a dataclass's own
    tree = bodies(code.co_filename)[code.co_firstlineno]
    inner = {id(node) for part in ast.walk(tree) if isinstance(part, ast.FunctionDef | ast.Lambda)
             for node in ast.walk(part) if part is not tree}  # fmt: skip
    for part in ast.walk(tree):  # what is caught here does not leave
        caught = [h.type for h in getattr(part, "handlers", []) if h.type is not None]
        if any(error in ast.unparse(kind) for kind in caught for error in (*ERRORS, "Exception")):
            inner |= {id(node) for line in getattr(part, "body", []) for node in ast.walk(line)}
    errors: set[str] = set()
    others: list[Function] = []
    for node in ast.walk(tree):
        if id(node) in inner:
            continue  # what is made here raises later
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            errors.add(ast.unparse(node.exc.func))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            other: Any = function.__globals__.get(node.func.id)
            other = inspect.unwrap(other) if callable(other) else other
            near = inspect.isfunction(other) and other.__module__ == function.__module__
            if near or (inspect.isfunction(other) and own(other) and is_check(other)):
                others.append(other)
    return errors & set(ERRORS), others


def raised(function: Function) -> set[str]:
    """Errors that a function raises by its own words, or through those it calls for them."""
    errors: set[str] = set()
    waiting, seen = [inspect.unwrap(function)], set()
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            here, others = read(one)
            if one is not check_number or takes_number(function):
                errors |= here
            waiting += others
    return errors


def takes_number(function: Function) -> bool:
    """Whether a caller can give a number: sizes that are read from a tensor are numbers anyhow."""
    hints = [str(p.annotation) for p in inspect.signature(function).parameters.values()]
    return any(re.search(r"\b(int|float)\b", hint) for hint in hints) or (
        function.__name__ == "__post_init__"
    )


def public(package: str) -> Iterator[tuple[str, Any]]:
    module = importlib.import_module(f"ssltok.{package}")
    for name in module.__all__:
        if own(getattr(module, name)):
            yield name, getattr(module, name)


def refers(package: str, docstring: str) -> bool:
    """Whether a class leaves the word to the function that it binds the options of."""
    module = importlib.import_module(f"ssltok.{package}")
    first = re.match(r"`(\w+)`", docstring)
    return first is not None and inspect.isfunction(getattr(module, first[1], None))


def spoken(package: str) -> Iterator[tuple[str, str, set[str]]]:
    """Each public function, class and method: its address, its docstring, and what it raises."""
    for name, thing in public(package):
        words = inspect.getdoc(thing) or ""
        if inspect.isfunction(thing):
            yield name, words, raised(thing)
        if not inspect.isclass(thing) or getattr(thing, "_is_protocol", False):
            continue
        errors: set[str] = set()
        for key, value in vars(thing).items():
            method = getattr(value, "__func__", value)
            if not inspect.isfunction(method) or method.__module__ != thing.__module__:
                continue
            text = inspect.getdoc(method) or ""
            called = key in ("__init__", "__post_init__", "__call__", "forward")
            if called and "Raises:" not in text:
                errors |= raised(method)
            elif not key.startswith("_") or called:
                yield f"{name}.{key}", text, raised(method)
        if not refers(package, words):
            yield name, words, errors


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_name_what_is_raised(package: str) -> None:
    missing = {}
    for name, words, errors in spoken(package):
        section = words.partition("Raises:\n")[2]
        silent = {error for error in errors if not re.search(rf"^    {error}: ", section, re.M)}
        if silent:
            missing[name] = sorted(silent)
    assert missing == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_function_has_an_example(package: str) -> None:
    silent = [
        name for name, thing in public(package)
        if inspect.isfunction(thing) and ">>> " not in (inspect.getdoc(thing) or "")
    ]  # fmt: skip
    assert silent == []


def test_the_reading_of_errors_sees_them() -> None:
    from ssltok.losses import vicreg_loss
    from ssltok.nn import Transformer

    assert raised(vicreg_loss) == {"TypeError", "ValueError"}
    assert "ValueError" in raised(Transformer.__init__)
    assert len(dict(public("losses"))) > 100
