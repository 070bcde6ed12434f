"""Every field of a public result is explained where a reader of its docstring or page sees it."""

import ast
import dataclasses
import importlib
import inspect
import textwrap
import typing
from collections.abc import Iterator
from typing import Any

import griffe
import pytest

from tests.test_architecture import PACKAGES

EXPLAINING = (griffe.DocstringSectionKind.attributes, griffe.DocstringSectionKind.parameters)
"""Sections of a docstring that explain fields: those of a dataclass are its arguments too."""


def fields_of(kind: object) -> tuple[str, ...]:
    """The fields of a NamedTuple or a dataclass; none of anything else."""
    if not inspect.isclass(kind):
        return ()
    if issubclass(kind, tuple):
        return tuple(getattr(kind, "_fields", ()))
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


def mentioned(hint: object) -> Iterator[object]:
    """Every type that an annotation names."""
    yield hint
    for part in typing.get_args(hint):
        yield from mentioned(part)


def hints_of(thing: object) -> Iterator[object]:
    """What a public function returns, or any public method of a class."""
    functions: list[Any] = [thing] if inspect.isfunction(thing) else []
    if inspect.isclass(thing):
        members = inspect.getmembers(thing)
        public = [value for name, value in members if not name.startswith("_")]
        functions = [v for v in public if inspect.isfunction(v)]
        functions += [v.fget for v in public if isinstance(v, property) and v.fget]
    for function in functions:
        if function.__module__.startswith("ssltok"):
            yield from mentioned(typing.get_type_hints(function).get("return"))


def results() -> dict[str, type]:
    """Public types with fields, and those that something public returns."""
    every: dict[str, type] = {}
    for package in PACKAGES:
        module = importlib.import_module(f"ssltok.{package}")
        for name in module.__all__:
            for kind in (getattr(module, name), *hints_of(getattr(module, name))):
                if fields_of(kind) and kind.__module__.startswith("ssltok"):
                    every[f"{kind.__module__}.{kind.__name__}"] = typing.cast(type, kind)
    return every


def described(kind: type) -> dict[str, str]:
    """The words about each field: in a section, or a docstring behind the field."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    words = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            words[ast.unparse(field.target)] = ast.literal_eval(text.value)
    docstring = griffe.Docstring(inspect.getdoc(kind) or "", parent=griffe.Class(kind.__name__))
    for section in docstring.parse("google", warnings=False):
        if section.kind in EXPLAINING:
            words |= {item.name: item.description for item in section.value}
    return words


RESULTS = results()


def test_the_search_sees_them_all() -> None:
    names = {name.rpartition(".")[2] for name in RESULTS}
    assert {"Quantized", "VICRegTerms", "ReportRow", "Config", "Dataset", "KeyValues"} <= names
    assert len(names) > 90


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_each_field_is_explained(name: str) -> None:
    words = described(RESULTS[name])
    fields = fields_of(RESULTS[name])
    assert [field for field in fields if not words.get(field, "").strip(" .")] == []
    inherited = {key for base in RESULTS[name].__mro__ for key in vars(base)}
    assert set(words) <= {*fields, *inherited}, "a field that is no more"
