"""Where a package of an extra is missing, one line says what to install, before anything else."""

import ast
import pathlib
import subprocess
import sys

import pytest

from ssltok._shared.extras import EXTRA, need
from tests.test_architecture import EXTRAS, NEEDS_EXTRAS, SOURCE, tree_of

AFTER = {
    "_tables.py": "of a file that `_open` opened",
    "_report_figures.py": "reached through `Report.draw`",
    "_report_maps.py": "reached through `Report.draw`",
    "_figures.py": "reached through the package, and through `Report.draw`",
}
"""Files that import a package of an extra where another function has asked for it, and which."""


def unguarded(path: pathlib.Path) -> list[str]:
    """Imports of an extra's package that no `need` and no `except ImportError` stands before."""
    tree = tree_of(path)
    parent = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            modules = [str(first.value)] if isinstance(first := node.args[0], ast.Constant) else []
        else:
            continue
        if not {str(module).split(".")[0] for module in modules} & EXTRAS:
            continue
        above, asked = parent.get(node), False
        while above is not None and not asked:
            if isinstance(above, ast.Try):
                asked = any("ImportError" in ast.unparse(h.type) for h in above.handlers if h.type)
            if isinstance(above, ast.If):
                asked = ast.unparse(above.test) == "TYPE_CHECKING"
            if isinstance(above, ast.FunctionDef):
                asked = asked or "need(" in ast.unparse(above)
            above = parent.get(above)
        if not asked:
            lines.append(f"{path.relative_to(SOURCE)}:{node.lineno} {ast.unparse(node)}")
    return lines


def test_nothing_of_an_extra_is_imported_without_a_word() -> None:
    files = [p for p in SOURCE.rglob("*.py") if p.relative_to(SOURCE).parts[0] not in NEEDS_EXTRAS]
    assert not [line for p in files if p.name not in AFTER for line in unguarded(p)]


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert need("someone", "json").__name__ == "json"
    for package, extra in EXTRA.items():
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"^someone: needs .*'ssltok\[{extra}\]'$") as caught:
            need("someone", package)
        assert caught.value.name == package


DOORS = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
import pathlib, tempfile, numpy as np, torch
from ssltok import evaluation, training
from ssltok._shared import storage
from ssltok.data import TableSource
X = np.random.default_rng(0).normal(size=(12, 1, 16))
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "x.parquet").write_bytes(b"PAR1")
doors = {{
    name: (lambda name=name: getattr(evaluation, name)) for name in sorted(evaluation.FIGURES)
}} | {{
    "build_accelerator": lambda: training.build_accelerator("no"),
    "accelerated": lambda: training.accelerated("no").__enter__(),
    "pack_state": lambda: storage.pack_state({{}}),
    "load_tensors": lambda: storage.load_tensors("x", "y", b""),
    "TableSource": lambda: TableSource(folder / "x.parquet"),
}}
for name, door in doors.items():
    try:
        door()
    except ImportError as error:
        text = str(error)
        assert "pip install 'ssltok[" in text and "\\n" not in text, (name, text)
    else:
        raise AssertionError(name)
"""


def test_the_doors_say_it() -> None:
    code = DOORS.format(blocked=sorted(EXTRAS))
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
