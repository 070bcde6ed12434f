"""The house stands: floors, exports, names, and files that can be read in one sitting."""

import ast
import importlib
import inspect
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCE = ROOT / "src" / "ssltok"
FILES = sorted(SOURCE.rglob("*.py"))
PACKAGES = sorted(p.parent.name for p in SOURCE.glob("*/__init__.py") if p.parent.name != "_shared")
COMPONENTS = [name for name in PACKAGES if name != "pipelines"]
EXTRAS = {
    "accelerate", "matplotlib", "pandas", "safetensors", "sklearn", "sktime", "tensorboard",
    "tqdm", "tyro",
}  # fmt: skip


def imports(path: pathlib.Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file names in an import, and whether it does so at its top level."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield module, id(node) in top
            if module == "ssltok":
                for alias in node.names:
                    yield f"ssltok.{alias.name}", id(node) in top


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_arrows_point_down(path: pathlib.Path) -> None:
    home = path.relative_to(SOURCE).parts[0]
    for name, _ in imports(path):
        parts = name.split(".")
        if parts[0] != "ssltok" or len(parts) == 1:
            continue
        if home == "pipelines":
            allowed = {*PACKAGES, "_shared", "__version__"}
        elif home == "_shared":
            allowed = {"_shared"}
        else:
            allowed = {home, "_shared"}
        assert parts[1] in allowed, f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_extras_stay_out_of_the_core(path: pathlib.Path) -> None:
    if path.relative_to(SOURCE).parts[0] == "pipelines":
        pytest.skip("pipelines are an extra themselves")
    for name, top in imports(path):
        assert not (top and name.split(".")[0] in EXTRAS), f"{path} imports {name} at its top"


def test_the_core_imports_without_any_extra() -> None:
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in sorted(EXTRAS))
    wanted = "; ".join(f"import ssltok.{name}" for name in COMPONENTS)
    subprocess.run([sys.executable, "-c", f"import sys; {blocked}; {wanted}"], check=True)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_has_one_address_and_a_docstring(name: str) -> None:
    package = importlib.import_module(f"ssltok.{name}")
    assert sorted(package.__all__) == sorted(set(package.__all__))
    gathered: list[str] = []
    for path in sorted((SOURCE / name).glob("_[a-z]*.py")):
        gathered += importlib.import_module(f"ssltok.{name}.{path.stem}").__all__
    public = set(package.__all__)
    assert public <= set(gathered), f"no file owns {public - set(gathered)}"
    for item in package.__all__:
        thing = getattr(package, item)
        assert inspect.getdoc(thing) or not (inspect.isclass(thing) or inspect.isfunction(thing))
        if inspect.isfunction(thing):
            options = [
                p for p in inspect.signature(thing).parameters.values()
                if p.kind is inspect.Parameter.KEYWORD_ONLY
            ]  # fmt: skip
            assert len(options) <= 10, f"{item} has {len(options)} options"
            kinds = {p.kind for p in inspect.signature(thing).parameters.values()}
            assert inspect.Parameter.VAR_KEYWORD not in kinds, f"{item} swallows **kwargs"


def test_addresses_are_unique() -> None:
    owner: dict[str, str] = {}
    for name in PACKAGES:
        for item in importlib.import_module(f"ssltok.{name}").__all__:
            assert item not in owner, f"{item} is public in {owner[item]} and in {name}"
            owner[item] = name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_file_is_read_in_one_sitting(path: pathlib.Path) -> None:
    assert path.read_text().count("\n") <= 400


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_nothing_unpickles_or_evaluates(path: pathlib.Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            said = ast.unparse(node.func)
            assert said not in {"eval", "exec", "torch.load", "pickle.load", "pickle.loads"}
            assert not any(
                k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords
            )


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_tests_mirror_the_tree(name: str) -> None:
    assert (ROOT / "tests" / name).is_dir()


def test_import_is_quiet() -> None:
    """Importing a component changes no global setting of torch and draws no random number."""
    code = (
        "import torch, numpy, random;"
        "a = (torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads());"
        "r = random.getstate();"
        + ";".join(f"import ssltok.{name}" for name in COMPONENTS)
        + ";b = (torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads());"
        "assert torch.equal(a[0], b[0]) and a[1:] == b[1:] and r == random.getstate()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
