"""The house stands: floors, exports, names, and files that can be read in one sitting."""

import ast
import functools
import importlib
import inspect
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]
SOURCE = ROOT / "src" / "ssltok"
FILES = sorted(SOURCE.rglob("*.py"))
PACKAGES = sorted(p.parent.name for p in SOURCE.glob("*/__init__.py") if p.parent.name != "_shared")
UPPER = {"data": 2, "training": 2, "evaluation": 2, "pipelines": 3, "cli": 4, "testing": 4}
"""The floor of each package that is not on floor 1, where siblings do not know each other."""
BESIDE = {("training", "data"), ("evaluation", "data"), ("evaluation", "training")}
"""The arrows allowed on floor 2."""
NEEDS_EXTRAS = {"pipelines", "cli"}
COMPONENTS = [name for name in PACKAGES if name not in NEEDS_EXTRAS]
EXTRAS = {
    "accelerate", "h5py", "huggingface_hub", "matplotlib", "narwhals", "openpyxl", "pandas",
    "pyarrow", "safetensors",
    "sklearn", "sktime", "tensorboard", "tqdm", "tyro", "umap",
}  # fmt: skip
MOST_OPTIONS = 8
MORE_OPTIONS = {
    "fit": "what is trained, where and on what, beside who hears of it while it lasts",
    "evaluate": "three sets, each with its labels, beside what measures them",
    "iterative_decode": "how many, which, what, guidance and observation are all the caller's",
}
"""Functions with more than eight options, each with its reason."""
TALE = {"said", "made", "own", "found", "told", "kept"}
LONGEST = 350
EXAMPLE = re.compile(r"^( *)Example:\n(?:\1    .*\n)*", re.MULTILINE)
"""Of a docstring: for the reader of the reference, it does not count."""
LONGER = {
    "decoding/_iterative.py": "the one decoder and what its rules see",
    "pipelines/_estimator.py": "one class; half of it is what its methods take and return",
    "pipelines/_fit.py": "one run, from the data to both stages; a third is what goes in and out",
    "pipelines/_folders/_artifact.py": "saving and loading side by side",
    "pipelines/_general/_pretrained.py": "one class, as _estimator.py",
    "training/_engine.py": "one loop, from batches to checkpoints",
}
"""Files above 350 lines, each with its reason."""


@functools.cache
def tree_of(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: pathlib.Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file names in an import, and whether it does so at its top level."""
    tree = tree_of(path)
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


def allowed(home: str, other: str) -> bool:
    """Whether a package may import another."""
    if other in (home, "_shared", "__version__"):
        return True
    if home == "_shared":
        return False
    return UPPER.get(other, 1) < UPPER.get(home, 1) or (home, other) in BESIDE


def test_arrows_point_down() -> None:
    for path in FILES:
        parts = path.relative_to(SOURCE).parts
        if len(parts) == 1 or path.name == "__main__.py":
            continue  # __init__ imports lazily, __main__ calls the command
        for name, _ in imports(path):
            words = name.split(".")
            if words[0] == "ssltok" and len(words) > 1:
                assert allowed(parts[0], words[1]), f"{path} imports {name}"


def test_other_packages_are_read_at_their_public_address() -> None:
    for path in FILES:
        home = path.relative_to(SOURCE).parts[0]
        for name, _ in imports(path):
            words = name.split(".")
            if words[0] == "ssltok" and len(words) > 2 and words[1] not in (home, "_shared"):
                assert not words[2].startswith("_"), f"{path} imports {name}"


def test_a_story_has_at_most_twenty_files_and_the_pipelines_fifteen() -> None:
    for name in UPPER:
        files = list((SOURCE / name).glob("*.py"))
        assert len(files) <= (15 if name == "pipelines" else 20), f"{name} has {len(files)} files"


def test_extras_stay_out_of_the_core() -> None:
    for path in FILES:
        if path.relative_to(SOURCE).parts[0] in NEEDS_EXTRAS:
            continue
        for name, top in imports(path):
            inside = path.name in {"_figures.py", "_report_figures.py", "_report_maps.py"}
            if name.split(".")[0] in EXTRAS and not inside:
                assert not top, f"{path} imports {name} at its top"


def test_the_core_imports_without_any_extra() -> None:
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in sorted(EXTRAS))
    wanted = "; ".join(f"import ssltok.{name}" for name in COMPONENTS)
    lazy = "; import ssltok; ssltok.losses.barlow_twins_loss; ssltok.cli.main"
    subprocess.run([sys.executable, "-c", f"import sys; {blocked}; {wanted}{lazy}"], check=True)


def test_every_public_name_has_one_address_and_a_docstring() -> None:
    owner: dict[str, str] = {}
    for name in PACKAGES:
        package = importlib.import_module(f"ssltok.{name}")
        assert sorted(package.__all__) == sorted(set(package.__all__))
        for item in package.__all__:
            assert item not in owner, f"{item} is public in {owner[item]} and in {name}"
            owner[item] = name
            thing = getattr(package, item)
            assert inspect.getdoc(thing) or not (
                inspect.isclass(thing) or inspect.isfunction(thing)
            )


def test_every_public_name_stands_in_a_file_of_its_package() -> None:
    for name in PACKAGES:
        gathered: set[str] = set()
        for path in sorted((SOURCE / name).rglob("_[a-z]*.py")):
            module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
            gathered |= set(importlib.import_module(f"ssltok.{module}").__all__)
        public = set(importlib.import_module(f"ssltok.{name}").__all__)
        missing = {
            item for item in public - gathered
            if not getattr(getattr(importlib.import_module(f"ssltok.{name}"), item), "__module__",
                           "").startswith("ssltok._shared")
        }  # fmt: skip
        assert not missing, f"no file of {name} owns {missing}"


def test_functions_have_few_options_and_swallow_none() -> None:
    for name in PACKAGES:
        package = importlib.import_module(f"ssltok.{name}")
        for item in package.__all__:
            thing = getattr(package, item)
            if not inspect.isfunction(thing):
                continue
            kinds = [p.kind for p in inspect.signature(thing).parameters.values()]
            options = kinds.count(inspect.Parameter.KEYWORD_ONLY)
            assert options <= MOST_OPTIONS or item in MORE_OPTIONS, f"{item}: {options} options"
            assert inspect.Parameter.VAR_KEYWORD not in kinds, f"{item} swallows **kwargs"


def test_a_file_is_read_in_one_sitting() -> None:
    for path in FILES:
        lines = EXAMPLE.sub("", path.read_text()).count("\n")
        assert lines <= LONGEST or str(path.relative_to(SOURCE)) in LONGER, f"{path}: {lines} lines"


def test_variables_have_the_words_of_the_field() -> None:
    """Not the words of a tale: what was `found` is codes, rows or paths."""
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            names = [node.arg] if isinstance(node, ast.arg) else []
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.append(node.id)
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.append(node.name)
            assert not set(names) & TALE, f"{path}: {names}"


def test_nothing_unpickles_or_evaluates() -> None:
    forbidden = {"eval", "exec", "torch.load", "pickle.load", "pickle.loads"}
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in forbidden, path
                for keyword in node.keywords:
                    if keyword.arg == "allow_pickle":
                        assert ast.unparse(keyword.value) == "False", path


def test_the_tests_mirror_the_tree() -> None:
    for name in PACKAGES:
        assert (ROOT / "tests" / name).is_dir(), name


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
