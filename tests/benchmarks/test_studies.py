"""The studies prove that the line composes: what they need of ssltok is public."""

import ast
import pathlib
import re

import pytest

STUDIES = pathlib.Path(__file__).parents[2] / "benchmarks" / "studies"
FILES = sorted(STUDIES.rglob("*.py"))


def private_names(source: str) -> list[str]:
    """Names of ssltok that a file uses though they, or a package before them, are private.

    Those that it imports, those that it reaches by their path, and paths in its strings.
    """
    found = re.findall(r"\bssltok(?:\.[a-z0-9]\w*)*\._[a-z]\w*", source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [name for name in names if name.startswith("ssltok.") and "._" in name]
    return found


@pytest.mark.parametrize(
    "line",
    [
        "import ssltok.nn._x", "from ssltok.nn import _x", "from ssltok._shared.checks import y",
        "from ssltok import _y", "return ssltok.nn._x.f", "load('ssltok.pipelines._fit')",
    ],
)  # fmt: skip
def test_a_private_name_is_seen(line: str) -> None:
    assert private_names(f"def f():\n    {line}") != []


def test_a_public_name_is_none() -> None:
    assert private_names("import ssltok\nfrom ssltok.nn import x\nfrom _own import z") == []
    assert private_names("ssltok.pipelines.__all__, ssltok.__version__") == []


def test_studies_import_no_private_name() -> None:
    assert len(FILES) > 15
    assert {f.name: found for f in FILES if (found := private_names(f.read_text()))} == {}
