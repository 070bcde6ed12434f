"""Draw the pictures of the lessons: run the code of their pages, and keep what it draws.

    python docs/figures/lessons.py           # writes docs/pages/assets/learn/*.png
    python docs/figures/lessons.py 3 5       # of some lessons

A lesson is one file, the page. Its notebook is made of it when the site is built (docs/hooks.py).
"""

import os
import pathlib
import re
import shutil
import sys
import tempfile
import time

import matplotlib as mpl
from small import shrink

mpl.use("Agg")

PAGES = pathlib.Path(__file__).parents[1] / "pages"
ASSETS = PAGES / "assets" / "learn"


def draw(page: pathlib.Path) -> None:
    """Run a page in a folder of its own, and copy the pictures that it shows."""
    text = page.read_text()
    start, here = time.process_time(), os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        names: dict[str, object] = {"__name__": page.stem}
        for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            exec(compile(block, page.name, "exec"), names)  # noqa: S102
        os.chdir(here)
        for name in re.findall(r"\(\.\./assets/learn/(\w+\.png)\)", text):
            shutil.copy(pathlib.Path(folder) / name, ASSETS / name)
            shrink(ASSETS / name)
    print(f"{page.name}: {time.process_time() - start:.0f} s of CPU", flush=True)


def main() -> None:
    ASSETS.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:]
    for page in sorted((PAGES / "learn").glob("[0-9]_*.md")):
        if not wanted or page.name[0] in wanted:
            draw(page)


if __name__ == "__main__":
    main()
