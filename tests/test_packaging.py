"""What is declared is what is imported, and the files that others read first are true."""

import ast
import csv
import pathlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import ssltok

ROOT = pathlib.Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
DISTRIBUTION = {
    "PIL": "pillow",
    "griffe": "griffelib",
    "sklearn": "scikit-learn",
    "huggingface_hub": "huggingface-hub",
    "mlflow": "mlflow-skinny",
    "umap": "umap-learn",
    "yaml": "pyyaml",
}
"""What a module's package is called where it is not called as the module."""
ASKED = ("import_module", "find_spec", "importorskip", "need")
"""Calls that name a module in their last argument."""
UNDERNEATH = {"tensorboard": "torch.utils.tensorboard"}
"""Packages that are imported under another's name."""
FOR_THE_TOOLS = {
    "pytest-xdist", "ruff", "mypy", "mkdocs", "mkdocs-material", "mkdocstrings-python",
    "nbmake", "ipykernel",
}  # fmt: skip
"""Tools of development: they are run, not imported."""


def modules(path: pathlib.Path) -> Iterator[str]:
    """Every module that a file imports or asks for by name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ASKED:
            argument = node.args[-1]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def imported(*folders: str) -> dict[str, set[str]]:
    """Distributions that the files of some folders import, with the files."""
    found: dict[str, set[str]] = {}
    own = {"ssltok", "tests", "benchmarks"} | set(sys.stdlib_module_names)
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            beside = {p.stem for p in path.parent.iterdir()}
            for module in modules(path):
                for name, under in UNDERNEATH.items():
                    if module.startswith(under):
                        module = name
                top = module.split(".")[0]
                if top and top not in own and top not in beside:
                    name = DISTRIBUTION.get(top, top).replace("_", "-").lower()
                    found.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return found


def names(requirements: list[str]) -> set[str]:
    return {Requirement(text).name.lower() for text in requirements} - {"ssltok"}


def core() -> list[str]:
    listed: list[str] = PROJECT["project"]["dependencies"]
    return listed


def for_users() -> list[str]:
    """Core and extras, without the tools of development."""
    return core() + [text for extra, listed in EXTRAS.items() if extra != "dev" for text in listed]


def test_the_library_imports_what_it_declares_and_declares_what_it_imports() -> None:
    found = imported("src")
    words = {path.read_text() for path in (ROOT / "src").rglob("*.py")}
    # read by their names in a table, or by another package on our behalf
    asked = {name for name in names(for_users()) if any(f'"{name}"' in text for text in words)}
    assert found.keys() - names(for_users()) == set(), found
    assert names(for_users()) - found.keys() - asked == set()


def test_the_core_is_what_no_extra_is_needed_for() -> None:
    """Nothing is declared twice, and the extras are those that the house keeps out of the core."""
    from tests.test_architecture import EXTRAS as KEPT_OUT

    declared = [Requirement(text).name for text in for_users()]
    assert len(declared) == len(set(declared)), declared
    kept_out = {DISTRIBUTION.get(name, name) for name in KEPT_OUT}
    assert kept_out == names(for_users()) - names(core())


def test_tests_and_docs_import_what_the_extra_dev_brings() -> None:
    found = imported("tests", "docs", "examples")
    browser = (ROOT / ".ci" / "browser.txt").read_text().splitlines()[1:]  # of `make test-all`
    meet = [line for line in (ROOT / ".ci" / "meet.txt").read_text().splitlines() if "==" in line]
    declared = names(for_users()) | names(EXTRAS["dev"]) | names(browser) | names(meet)
    assert found.keys() - declared == set(), {k: found[k] for k in found.keys() - declared}
    assert names(EXTRAS["dev"]) - FOR_THE_TOOLS <= found.keys()


def test_the_lowest_versions_are_the_declared_ones() -> None:
    lines = (ROOT / ".ci" / "lowest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    declared = {}
    for text in for_users():
        requirement = Requirement(text)
        (lower,) = (s.version for s in requirement.specifier if s.operator == ">=")
        declared[requirement.name] = lower
    assert pinned.keys() == declared.keys()
    for name, lower in declared.items():
        assert Version(pinned[name]) == Version(lower), name


def test_ci_pins_what_it_installs_within_what_is_declared() -> None:
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {pin.name.lower().replace("_", "-"): next(iter(pin.specifier)).version for pin in pins}
    for text in for_users() + EXTRAS["dev"]:
        requirement = Requirement(text)
        if requirement.name.lower() in pinned:
            version = pinned[requirement.name.lower()]
            assert requirement.specifier.contains(version), f"{text}: CI has {version}"


def test_the_citation_says_what_the_project_says() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = PROJECT["project"]
    assert citation["version"] == ssltok.__version__
    assert citation["license"] == project["license"]
    assert [a["name"] for a in citation["authors"]] == [a["name"] for a in project["authors"]]
    assert citation["title"].startswith(f"{project['name']}: ")
    assert {"cff-version", "message", "type", "keywords"} <= citation.keys()


HEADING = re.compile(r"## \[(?:Unreleased|(\d+\.\d+\.\d+))\](?: - \d{4}-\d\d-\d\d)?")


def test_the_changelog_keeps_changed_fixed_and_added_apart() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    sections = re.split(r"(?m)^(?=## )", text)[1:]
    released: list[Version] = []
    for section in sections:
        head, *rest = section.splitlines()
        match = HEADING.fullmatch(head)
        assert match, head
        if match[1]:
            assert " - " in head, f"{head}: a release has its date"
            released.append(Version(match[1]))
        kinds = re.findall(r"(?m)^### (.*)$", section)
        assert kinds == [k for k in ("Changed", "Fixed", "Added", "Removed") if k in kinds], head
        assert kinds, head
        for line in rest:
            known = not line or line.startswith(("### ", "- ", "  "))
            assert known, f"{head}: a line is an entry or goes on with one; got {line[:60]!r}"
        for part in re.split(r"(?m)^### .*$", section)[1:]:
            assert part.strip().startswith("- "), f"{head}: a heading without an entry"
    assert released == sorted(released, reverse=True)
    assert HEADING.fullmatch(sections[0].splitlines()[0]), "the newest stands first"
    if released and "Unreleased" not in sections[0].splitlines()[0]:
        assert released[0] == Version(ssltok.__version__)
    assert all(v <= Version(ssltok.__version__) for v in released)


def test_the_hooks_are_local_and_download_nothing() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    assert {hook["id"] for hook in hooks[0]["hooks"]} == {"ruff", "ruff-format", "mypy"}
    assert all(hook["language"] == "system" for hook in hooks[0]["hooks"])


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda p: p.name)
def test_templates_are_forms(path: pathlib.Path) -> None:
    form = yaml.safe_load(path.read_text())
    if path.name != "config.yml":
        assert {"name", "description", "body"} <= form.keys()
        assert all("label" in field["attributes"] for field in form["body"])


def test_ci_runs_the_core_the_distributions_and_the_tests() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in text
    assert re.findall(r"(?m)^(?:exec )?make (.*)$", text) == ["core smoke", "test"]
    for target in ("core", "smoke", "matrix", "release-check", "track-check", "test-all", "meet"):
        done = subprocess.run(
            ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"make {target}: {done.stderr}"


def test_an_index_page_gets_no_link_into_the_source() -> None:
    """The substitutions of pyproject.toml leave no picture or link without an address."""
    text = (ROOT / "README.md").read_text()
    rules = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    for rule in rules:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert all(re.match(r"[a-z]+:|#", target) for target in targets), targets
    assert "first_page.png" in text


def test_no_badge_and_no_address_that_nobody_gave() -> None:
    text = (ROOT / "README.md").read_text()
    assert "badge" not in text.lower()
    assert "shields.io" not in text
    assert not {"urls", "maintainers"} & PROJECT["project"].keys()
    assert "@" not in (ROOT / "CITATION.cff").read_text()


def test_tracked_ratios_name_every_bar() -> None:
    path = ROOT / "benchmarks" / "results" / "tracked.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    last = [row for row in rows if row["commit"] == rows[-1]["commit"]]
    assert {"commit", "machine", "load", "case", "ratio", "low", "high"} <= rows[0].keys()
    assert sum(bool(row["bar"]) for row in last) >= 10


def farewells() -> Iterator[tuple[str, str]]:
    """Each DeprecationWarning of the library: where it is, and what it says."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("warn")):
                continue
            said = [ast.unparse(argument) for argument in [*node.args, *node.keywords]]
            if any("DeprecationWarning" in text for text in said):
                parts = [n.value for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant)]
                yield f"{path.relative_to(ROOT)}:{node.lineno}", "".join(map(str, parts))


def test_a_name_that_dies_says_when_and_is_gone_by_then() -> None:
    """The page Stability: a successor, and the version in which the old name goes."""
    found = list(farewells())
    assert found
    for place, said in found:
        match = re.search(r" is .*now; .* goes in (\d+\.\d+)$", said)
        assert match, f"{place}: {said!r} names no successor or no version"
        assert Version(match[1]) > Version(ssltok.__version__), f"{place}: {said!r} is overdue"
