"""A lesson as a notebook: made of its page, which is the one source.

python docs/notebooks.py folder   # writes folder/1_series_and_tokens.ipynb and the others
"""

import pathlib
import re
import sys

import jupytext

LESSONS = sorted((pathlib.Path(__file__).parent / "pages" / "learn").glob("[0-9]_*.md"))
IMAGE = re.compile(r"^!\[[^\]]*\]\(\.\./assets/[^)]*\)\n", re.MULTILINE)
LINK = re.compile(r"\[((?:[^\[\]]|\n)*)\](?:\((?!https?:)[^)]*\)|\[ssltok[^\]]*\])")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook_of(page: str) -> str:
    """Turn the Markdown of a page into the JSON of a notebook.

    The cells draw the pictures themselves, so the page's are left out; so are links to other pages,
    which a notebook has not beside it.
    """
    notebook = jupytext.reads(LINK.sub(r"\1", IMAGE.sub("", page)), fmt="md")
    notebook.metadata = {"kernelspec": KERNEL}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # random ones would make a new site of the same pages
    return str(jupytext.writes(notebook, fmt="ipynb"))


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for page in LESSONS:
        (folder / f"{page.stem}.ipynb").write_text(notebook_of(page.read_text()))


if __name__ == "__main__":
    main()
