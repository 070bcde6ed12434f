"""Lessons, gallery, examples on the site, and the page that begins from what a run prints."""

import ast
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
from types import ModuleType
from typing import get_type_hints

import pytest

from ssltok.pipelines import AutoConfig, Config
from ssltok.pipelines._auto._verdict import CHECKS, WEAK_JUDGE, in_words
from tests.test_recipes import FAMILIES

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = DOCS / "pages"
LESSONS = sorted((PAGES / "learn").glob("*.md"))
GALLERY = PAGES / "assets" / "gallery"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LARGEST = 80 * 1024


def module_of(name: str) -> ModuleType:
    """Import a file of docs/ as mkdocs does: its neighbours can be imported."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(DOCS))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DOCS))
    return module


# Lessons.
def test_six_lessons_stand_in_the_nav_before_the_guides() -> None:
    nav = (DOCS / "mkdocs.yml").read_text()
    places = [nav.index(page.relative_to(PAGES).as_posix()) for page in LESSONS]
    assert len(places) == 6
    assert places == sorted(places)
    assert places[-1] < nav.index("guides/")


@pytest.mark.parametrize("page", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_shows_what_it_draws_and_leads_on(page: pathlib.Path) -> None:
    text = page.read_text()
    drawn = re.findall(r'savefig\("(\w+\.png)"\)', text)
    assert drawn, "a lesson comes to a figure"
    assert re.findall(r"^!\[.{20,}\]\(\.\./assets/learn/(\w+\.png)\)$", text, re.MULTILINE) == drawn
    for name in drawn:
        assert (PAGES / "assets" / "learn" / name).stat().st_size < LARGEST
    following = [other.name for other in LESSONS if other.name > page.name][:1]
    assert all(f"]({name})" in text for name in following), "a link to the next lesson"
    code = "".join(BLOCK.findall(text))
    assert "sktime" not in code
    for name in re.findall(r'load_dataset\("([^"]+)"', code):
        assert f'open("{name}", "w"' in code, "no data from elsewhere"


@pytest.mark.parametrize("page", LESSONS, ids=lambda p: p.stem)
def test_a_notebook_has_the_cells_of_its_page_and_no_link_that_leads_nowhere(
    page: pathlib.Path,
) -> None:
    notebook = json.loads(module_of("notebooks").notebook_of(page.read_text()))
    cells = notebook["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code == [block.strip() for block in BLOCK.findall(page.read_text())]
    prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert "](" not in prose
    assert "][" not in prose
    assert cells[0]["source"][0].startswith("# ")


def test_links_become_words_in_a_notebook() -> None:
    text = "See [the\nguide](../guides/x.md), [`f`][ssltok.losses.f], [a](https://x.org), end.\n"
    notebook = json.loads(module_of("notebooks").notebook_of(text))
    prose = "".join(notebook["cells"][0]["source"])
    assert prose.startswith("See the\nguide, `f`, [a](https://x.org)")


@pytest.mark.skipif("SSLTOK_ALL" not in os.environ, reason="minutes; `make test-all` runs it")
@pytest.mark.parametrize("page", LESSONS, ids=lambda p: p.stem)
def test_a_notebook_runs(page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """With all its steps, in a kernel, by nbmake."""
    notebook = tmp_path / f"{page.stem}.ipynb"
    notebook.write_text(module_of("notebooks").notebook_of(page.read_text()))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--nbmake", "--nbmake-timeout=900",
         "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path), str(notebook)],
        cwd=tmp_path, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# Gallery.
def test_every_picture_of_the_gallery_is_drawn_by_the_script_and_leads_to_its_code() -> None:
    text = (PAGES / "gallery.md").read_text()
    shown = dict(re.findall(r"^\[!\[.{20,}\]\(assets/gallery/(\w+)\.png\)\]\((\S+)\)$", text, re.M))
    tree = ast.parse((DOCS / "figures" / "gallery.py").read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(shown) == {"tokens", "generation", "imputation", "forecast", "anomalies",
                          "embedding"}  # fmt: skip
    assert {*shown, "first_page"} <= functions
    for name, link in shown.items():
        assert (GALLERY / f"{name}.png").stat().st_size < LARGEST
        assert (PAGES / link).is_file()
    assert (GALLERY / "first_page.png").stat().st_size < LARGEST
    assert {path.stem for path in GALLERY.iterdir()} == {*shown, "first_page"}, "no other picture"


@pytest.mark.parametrize(
    ("page", "link"),
    [("README.md", "docs/pages/assets/gallery/"), ("docs/pages/index.md", "assets/gallery/")],
)
def test_the_first_screen_shows_one_figure_and_five_lines_that_run(page: str, link: str) -> None:
    first = (ROOT / page).read_text().split("\n## ")[0]
    assert first.count("![") == 1
    assert f"({link}first_page.png)" in first
    (block,) = BLOCK.findall(first)
    lines = [line for line in block.splitlines() if line and not line.startswith("from ")]
    assert len(lines) == 5


# Examples on the site.
def test_every_script_has_its_place_in_a_reading_order() -> None:
    for folder in (ROOT / "examples", ROOT / "examples" / "ssl"):
        text = (folder / "README.md").read_text()
        linked = re.findall(r"\]\((\w+\.py)\)", text)
        assert sorted(linked) == sorted(path.name for path in folder.glob("*.py"))
    numbered = re.findall(r"^\| \d+ \| \[`(\w+)\.py`\]", text, re.MULTILINE)
    assert sorted(numbered) == FAMILIES


def test_scripts_that_a_page_names_become_links_and_nothing_else_does() -> None:
    link = module_of("examples_on_site").link_examples
    page = (
        "`03_generate.py`, `examples/ssl/dense.py`, `dense.py --steps 2`, `setup.py`, [`data.py`]"
    )
    assert link(page, "guides") == (
        "[`03_generate.py`](../examples/03_generate.md), "
        "[`examples/ssl/dense.py`](../examples/ssl/dense.md), "
        "[`dense.py --steps 2`](../examples/ssl/dense.md), `setup.py`, [`data.py`]"
    )
    assert link("`loop.py`", "") == "[`loop.py`](examples/ssl/loop.md)"
    block = "```text\npython `loop.py`\n```\n"
    assert link(block, "") == block


def test_a_script_leads_back_to_the_pages_that_name_it() -> None:
    module = module_of("examples_on_site")
    naming = module._naming()
    page = module._page_of(ROOT / "examples" / "ssl" / "contrastive.py", naming["contrastive.py"])
    assert "[Which system is where](../../guides/systems.md)" in page
    assert page.count("```python") == 1
    assert '"""Contrast' not in page, "the description stands above the code"
    unnamed = [name for name, pages in naming.items() if not pages and name[0].isdigit()]
    assert not unnamed, "every example in reading order is named on some page"


def test_every_recipe_of_the_table_of_systems_is_a_link_on_the_site() -> None:
    text = (PAGES / "guides" / "systems.md").read_text()
    linked = module_of("examples_on_site").link_examples(text, "guides")
    for family in FAMILIES:
        assert f"](../examples/ssl/{family}.md)" in linked


# My run is bad.
BAD = (PAGES / "guides" / "bad_run.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in BAD.split("\n## ")[1:]}


def section_of(template: str) -> str:
    """The section whose heading is the beginning of a sentence, figures as dots."""
    sentence = re.sub(r"\{[^}]*\}", "…", template)
    found = [
        part for heading, part in SECTIONS.items()
        if sentence.startswith(heading.strip('"')) and heading.startswith('"')
    ]  # fmt: skip
    assert len(found) == 1, f"no section, or several, for: {sentence}"
    return found[0]


@pytest.mark.parametrize("template", [*(check.text for check in CHECKS), WEAK_JUDGE])
def test_every_sentence_of_a_run_has_its_section(template: str) -> None:
    section = section_of(template)
    quoted = next(line for line in section.splitlines() if line.startswith("> "))
    pattern = re.sub(r"\\\{[^}]*\}", r"[\\d.]+%?", re.escape(template))
    assert re.fullmatch(pattern, quoted.removeprefix("> ")), "the sentence as it is printed"
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert rows[0] == "| Change | Why |"
    assert len(rows) >= 4
    for option in re.findall(r"--[\w.-]*[\w]", template):
        assert option in "".join(rows), f"the section says nothing of {option}"


def test_what_is_printed_when_all_is_well_has_its_section_too() -> None:
    assert section_of(in_words([]))


def test_every_option_of_the_page_exists() -> None:
    stages = {name.replace("_", "-"): kind for name, kind in get_type_hints(Config).items()}
    known = {f"--{name}" for name in get_type_hints(AutoConfig)} | {
        f"--{stage}.{name.replace('_', '-')}"
        for stage, kind in stages.items()
        for name in getattr(kind, "__annotations__", {})
    }
    command = {"--seed", "--overwrite", "--out", "--layout", "--resample", "--evaluator-steps"}
    unknown = set(re.findall(r"--[a-z][\w.-]*[\w]", BAD)) - known - command
    assert not unknown
