"""On a page too long to read in one sitting, the largest tables are folded while the site is built.

A folded table has its columns and its number of rows as its heading. Tables are folded from the
largest on, no more of them than it takes; reference pages are looked up, not read, and stay open.
"""

import html
import re
from typing import Any

WORDS = 2_000
"""Words that a page may show before anything is unfolded."""
ROWS = 6
"""A table of fewer rows stays open: its heading would be most of it."""
TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
DETAILS = re.compile(r"<details(?![^>]*\bopen\b).*?</details>", re.DOTALL)
CODE = re.compile(r"<pre\b.*?</pre>", re.DOTALL)
TAG = re.compile(r"<[^>]*>")


def on_page_content(html_text: str, page: Any, **_: Any) -> str:
    """Fold what is too long, on every page but those of the reference."""
    return html_text if page.file.src_uri.startswith("api/") else folded(html_text)


def words(html_text: str) -> int:
    """How many words a page shows before anything is unfolded: headings of folds, but no code."""
    shown = DETAILS.sub(lambda found: "".join(_headings(found[0])), html_text)
    return len(TAG.sub(" ", CODE.sub("", shown)).split())


def folded(html_text: str) -> str:
    """Fold the largest tables until the page shows `WORDS` words, or no large table is left."""
    open_tables = TABLE.findall(DETAILS.sub("", html_text))
    for table in sorted(open_tables, key=words, reverse=True):
        if words(html_text) <= WORDS:
            break
        rows = table.count("<tr>") - 1
        if rows >= ROWS:
            heading = f"{rows} rows: {_columns(table)}"
            fold = f'<details class="quote"><summary>{heading}</summary>{table}</details>'
            html_text = html_text.replace(table, fold, 1)
    return html_text


def _headings(details: str) -> list[str]:
    return re.findall(r"<summary>.*?</summary>", details, re.DOTALL)[:1]


def _columns(table: str) -> str:
    """The names of a table's columns, as the heading of its fold."""
    cells = (TAG.sub("", cell) for cell in re.findall(r"<th\b.*?</th>", table, re.DOTALL))
    names = dict.fromkeys(html.unescape(cell).strip() for cell in cells)
    return html.escape(", ".join(name for name in names if name), quote=False)
