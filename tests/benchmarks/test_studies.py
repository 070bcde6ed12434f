"""The studies prove that the line composes: what they need of ssltok is public."""

import ast
import pathlib

import pytest

STUDIES = pathlib.Path(__file__).parents[2] / "benchmarks" / "studies"
FILES = sorted(STUDIES.rglob("*.py"))


def private_names(source: str) -> list[str]:
    """Names of ssltok that a file imports though they, or a package before them, are private."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [name for name in names if name.startswith("ssltok.") and "._" in name]
    return found


@pytest.mark.parametrize("line", ["import ssltok.nn._x", "from ssltok.nn import _x",
                                  "from ssltok._shared.checks import y"])  # fmt: skip
def test_a_private_name_is_seen(line: str) -> None:
    assert private_names(f"def f():\n    {line}") != []


def test_a_public_name_is_none() -> None:
    assert private_names("import ssltok\nfrom ssltok.nn import x\nfrom _own import z") == []


def test_studies_import_no_private_name() -> None:
    assert len(FILES) > 15
    assert {f.name: found for f in FILES if (found := private_names(f.read_text()))} == {}
