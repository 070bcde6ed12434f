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
td:nth-child(2), td:nth-child(3) { font-variant-numeric: tabular-nums; }
img { max-width: 100%; } p, td:last-child { color: #555; } code { background: #f3f3f3; }
"""


def build_page(
    title: str,
    intro: str,
    rows: Sequence[tuple[str, str, str, str]],
    figures: Mapping[str, tuple[str, bytes]],
) -> str:
    """Write the page.

    Args:
        title: Its heading.
        intro: A sentence or two.
        rows: Name, figure, reference and meaning of each number.
        figures: Heading to (sentence, PNG bytes).

    Returns:
        HTML that needs no other file and no network.
    """
    said = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(intro)}</p>"]
    said.append("<table><tr><th>measure</th><th>value</th><th>real data</th><th></th></tr>")
    said.extend(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    said.append("</table>")
    for heading, (sentence, image) in figures.items():
        data = base64.b64encode(image).decode()
        said.append(f"<h2>{html.escape(heading)}</h2><p>{html.escape(sentence)}</p>")
        said.append(f'<img alt="{html.escape(heading)}" src="data:image/png;base64,{data}">')
    body = "\n".join(said)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
