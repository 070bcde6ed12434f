"""Lessons get their notebooks and examples their pages while the site is built, linked both ways.

A page of the site that names a script of `examples/` in code letters, such as `03_generate.py` or
`contrastive.py --method moco`, links to the script's page; that page links back to all of them.
"""

import ast
import pathlib
import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel
from notebooks import LESSONS, notebook_of

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ROOT / "docs" / "pages"
EXAMPLES = {
    path.name: path.relative_to(ROOT).with_suffix(".md").as_posix()
    for path in sorted((ROOT / "examples").rglob("*.py"))
}
"""The address on the site of each script."""
RECIPE = re.compile(r"^<!-- recipe: (\w+\.py) -->$", re.MULTILINE)
"""Where a page shows a script of `examples/with/` as a block."""
NAMED = re.compile(r"(?<![\[`])`(?:examples/)?(?:ssl/|with/)?(\w+\.py)( [^`]*)?`(?!`)")


def on_files(files: Files, config: Any) -> Files:
    """Add a notebook for each lesson, and a page for each example."""
    for page in LESSONS:
        address = page.relative_to(PAGES).with_suffix(".ipynb").as_posix()
        files.append(File.generated(config, address, content=notebook_of(page.read_text())))
    for readme in ("examples/README.md", "examples/ssl/README.md"):
        address = readme.replace("README", "index")
        files.append(File.generated(config, address, content=_index_of(ROOT / readme)))
    naming = _naming()
    for name, address in EXAMPLES.items():
        script = ROOT / pathlib.Path(address).with_suffix(".py")
        files.append(
            File.generated(
                config, address, content=_page_of(script, naming[name]),
                inclusion=InclusionLevel.NOT_IN_NAV,
            )
        )  # fmt: skip
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Offer the notebook of a lesson, and link the scripts that a page names."""
    address = page.file.src_uri
    if address.startswith("examples/"):
        return markdown
    if re.match(r"learn/\d_", address):
        name = posixpath.basename(address).removesuffix(".md")
        heading, rest = markdown.split("\n", 1)
        markdown = f"{heading}\n\n[This lesson as a notebook]({name}.ipynb)\n{rest}"
    return link_examples(show_recipes(markdown), posixpath.dirname(address))


def show_recipes(markdown: str) -> str:
    """Put scripts of `examples/with/` where a page asks for them."""

    def block(match: re.Match[str]) -> str:
        source = (ROOT / "examples" / "with" / match[1]).read_text()
        return f"`examples/with/{match[1]}`:\n\n```python\n{source}```"

    return RECIPE.sub(block, markdown)


def link_examples(markdown: str, folder: str) -> str:
    """Make links of the scripts that are named outside of code blocks."""

    def linked(found: re.Match[str]) -> str:
        if found[1] not in EXAMPLES:
            return found[0]
        return f"[{found[0]}]({posixpath.relpath(EXAMPLES[found[1]], folder or '.')})"

    parts = re.split(r"(^```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else NAMED.sub(linked, part) for part in parts)


def _naming() -> dict[str, list[pathlib.Path]]:
    """The pages of the site that name each script."""
    naming: dict[str, list[pathlib.Path]] = {name: [] for name in EXAMPLES}
    for page in sorted(PAGES.rglob("*.md")):
        text = re.sub(
            r"^```.*?^```", "", show_recipes(page.read_text()), flags=re.MULTILINE | re.DOTALL
        )
        for name in {found[1] for found in NAMED.finditer(text)} & set(EXAMPLES):
            naming[name].append(page)
    return naming


def _index_of(readme: pathlib.Path) -> str:
    """The page of a folder: its README, whose links lead to scripts and into the docs."""
    text = readme.read_text().replace("README.md", "index.md").replace("docs/pages/", "")
    return re.sub(r"\]\((\w+)\.py\)", r"](\1.md)", text)


def _page_of(script: pathlib.Path, pages: list[pathlib.Path]) -> str:
    """The description of a script, the pages that name it, and its lines."""
    source = script.read_text()
    description = ast.get_docstring(ast.parse(source)) or ""
    folder = script.relative_to(ROOT).parent.as_posix()
    links = [
        f"[{page.read_text().splitlines()[0].removeprefix('# ')}]"
        f"({posixpath.relpath(page.relative_to(PAGES).as_posix(), folder)})"
        for page in pages
    ]
    named = f"Named on: {', '.join(links)}.\n\n" if links else ""
    body = source.split('"""', 2)[2].lstrip("\n") if description else source
    name = script.relative_to(ROOT).as_posix()
    return f"# {script.name}\n\n{description}\n\n{named}`{name}`:\n\n```python\n{body}```\n"
