"""Every Python block of the README and of the docs runs, page by page, in one namespace each."""

import functools
import importlib
import pathlib
import re
import sys

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").rglob("*.md"))]

EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
CITED = re.compile(r"\bssltok(?:\.[A-Za-z_]\w*)+")
IMPORTED = re.compile(r"from (ssltok[.\w]*) import (\([^)]*\)|[^\n]*)")


def cited_names(text: str) -> set[str]:
    """Every `ssltok.x.y` of a text, those of its import statements included."""
    found = set(CITED.findall(text))
    for module, names in IMPORTED.findall(text):
        for name in re.sub(r"#[^\n]*|[()]", "", names).split(","):
            if word := name.split(" as ")[0].strip():
                found.add(f"{module}.{word}")
    return found


def shortened(text: str) -> str:
    """The same page with a few steps of small models; the lessons run whole in `make test-all`."""
    quick = 'SSLTokenizer(shorten("compact", steps=2))'
    text, first_lines = re.subn(r"SSLTokenizer\(\)(?=\.fit)", quick, text)
    if first_lines:
        text = text.replace("import SSLTokenizer\n", "import SSLTokenizer, shorten\n", 1)
    text, lessons = re.subn(r"^STEPS = \d+", "STEPS = 2", text, flags=re.MULTILINE)
    if lessons:
        text = text.replace('"demo"', '"compact"')
    return re.sub(r"\bsamples=\d+", "samples=2", text) if first_lines or lessons else text


def fault(name: str) -> str | None:
    """What is wrong with citing a name, or None: it is in the public list of a subpackage."""
    _, package, *rest = name.split(".")
    try:
        module = importlib.import_module(f"ssltok.{package}")
    except ImportError:
        return f"{name}: there is no such subpackage"
    if package.startswith("_") or any(word.startswith("_") for word in rest):
        return f"{name}: is private"
    if rest and rest[0] not in module.__all__:
        return f"{name}: is in no public list"
    try:
        functools.reduce(getattr, rest, module)
    except AttributeError as error:
        return f"{name}: {error}"
    return None


@pytest.mark.parametrize("page", [*PAGES, *EXAMPLES], ids=lambda p: str(p.relative_to(ROOT)))
def test_only_public_names_are_cited(page: pathlib.Path) -> None:
    faults = [fault(name) for name in sorted(cited_names(page.read_text()))]
    assert [line for line in faults if line] == []


PEERS = re.compile(r"\b(lightly|pytorch-metric-learning|vector-quantize-pytorch|timm|solo-learn)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_page_that_compares_with_a_library_says_with_which_version(page: pathlib.Path) -> None:
    text = page.read_text().replace("**", "")
    for peer in set(PEERS.findall(text)):
        assert re.search(rf"\b{peer} \d+\.\d+", text), peer


def test_the_finder_of_names_finds_faults() -> None:
    text = """`ssltok.nn._x` [VQ][ssltok.quantizers.FSQ] `ssltok.nope`, ssltok.losses.Nope.
    from ssltok.pipelines import (
        fit,  # a comment, with a comma
        _fit as f,
    )
    from ssltok.data import read_series, Nope
    `ssltok.quantizers.FSQ.decode` `ssltok.quantizers.FSQ.nope` `ssltok._shared`"""
    names = sorted(cited_names(text))
    assert [name for name in names if fault(name)] == [
        "ssltok._shared", "ssltok.data.Nope", "ssltok.losses.Nope", "ssltok.nn._x", "ssltok.nope",
        "ssltok.pipelines._fit", "ssltok.quantizers.FSQ.nope",
    ]  # fmt: skip
    assert {"ssltok.pipelines.fit", "ssltok.data.read_series"} <= set(names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_run(
    page: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / page.name
    copy.write_text(shortened(page.read_text()))
    examples = list(Sybil(parsers=[PythonCodeBlockParser()]).parse(copy).examples())
    fences = [line for line in page.read_text().splitlines() if line.startswith("```python")]
    assert len(examples) == len(fences), "a block that nothing would run"
    try:
        for example in examples:
            example.evaluate()
    finally:
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")


def test_every_subpackage_has_an_api_page() -> None:
    found = (ROOT / "src" / "ssltok").glob("*/__init__.py")
    packages = {p.parent.name for p in found} - {"_shared"}
    for name in packages:
        api = ROOT / "docs" / "pages" / "api"
        pages = [api / f"{name}.md", *api.glob(f"{name}/*.md")]
        text = "".join(page.read_text() for page in pages)
        assert f"::: ssltok.{name}\n" in text, f"no API page for {name}"
