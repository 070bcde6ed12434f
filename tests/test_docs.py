"""Every Python block of the README and of the docs runs, page by page, in one namespace each."""

import pathlib

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_run(
    page: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = list(Sybil(parsers=[PythonCodeBlockParser()]).parse(page).examples())
    fences = [line for line in page.read_text().splitlines() if line.startswith("```python")]
    assert len(examples) == len(fences), "a block that nothing would run"
    for example in examples:
        example.evaluate()


def test_every_subpackage_has_an_api_page() -> None:
    found = (ROOT / "src" / "ssltok").glob("*/__init__.py")
    packages = {p.parent.name for p in found} - {"_shared"}
    for name in packages:
        page = ROOT / "docs" / "pages" / "api" / f"{name}.md"
        assert f"::: ssltok.{name}\n" in page.read_text(), f"no API page for {name}"
