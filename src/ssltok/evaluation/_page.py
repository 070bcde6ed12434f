"""One self-contained HTML page: a table of numbers, then figures with a sentence each."""

import base64
import html
from collections.abc import Mapping, Sequence

__all__ = ["build_page"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 58rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } td, th { padding: .25rem .9rem .25rem 0; text-align: left;
       border-bottom: 1px solid #ddd; vertical-align: top; }
td { font-variant-numeric: tabular-nums; }
td:not(:first-child):not(:last-child) { white-space: nowrap; }
th { font-size: .85rem; color: #555; } th.group { font-size: 1rem; color: #222; padding-top: 1rem; }
img { max-width: 100%; } p, td:last-child { color: #555; } code { background: #f3f3f3; }
"""


def build_page(
    title: str,
    intro: str,
    rows: Sequence[tuple[str, ...]],
    figures: Mapping[str, tuple[str, bytes]],
    *,
    head: tuple[str, ...] = ("measure", "value", "real data", ""),
) -> str:
    """Write the page.

    Args:
        title: Its heading.
        intro: A sentence or two.
        rows: Cells under `head`; a row of one cell is the heading of those below it.
        figures: Heading to (sentence, PNG bytes); without bytes the sentence stands alone.
        head: Names of the columns.

    Returns:
        HTML that needs no other file and no network.
    """
    lines = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(intro)}</p>"]
    lines.append(f"<table><tr>{''.join(f'<th>{html.escape(name)}</th>' for name in head)}</tr>")
    for row in rows:
        if len(row) == 1:
            lines.append(
                f'<tr><th class="group" colspan="{len(head)}">{html.escape(row[0])}</th></tr>'
            )
        else:
            lines.append(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>")
    lines.append("</table>")
    for heading, (sentence, image) in figures.items():
        lines.append(f"<h2>{html.escape(heading)}</h2><p>{html.escape(sentence)}</p>")
        if not image:
            continue
        data = base64.b64encode(image).decode()
        lines.append(f'<img alt="{html.escape(heading)}" src="data:image/png;base64,{data}">')
    body = "\n".join(lines)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
