"""While the site is built formulas become MathML, and a picture a link to itself.

No script, no font, no network in the reader; on a phone a picture opens in its full size.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)

PICTURE = re.compile(r'(<a\b[^>]*>\s*)?(<img\b[^>]*?\bsrc="([^"]+)"[^>]*>)')
CALL = re.compile(r"(<td[^>]*><code>\w+\()(?!\))")
"""A call in a table: a narrow column breaks it before its arguments, not within its name."""


def on_page_content(html_text: str, **_: Any) -> str:
    """Replace each formula of a rendered page by its MathML."""
    text = BLOCK.sub(lambda found: _mathml(found[1], "block"), html_text)
    text = INLINE.sub(lambda found: _mathml(found[1], "inline"), text)
    if 'class="arithmatex"' in text:
        raise ValueError("docs: every formula must become MathML; one was left over")
    text = CALL.sub(r"\1<wbr>", text)
    return PICTURE.sub(lambda found: found[0] if found[1] else _linked(*found.group(2, 3)), text)


def _linked(picture: str, address: str) -> str:
    return f'<a class="picture" href="{address}">{picture}</a>'


def _mathml(latex: str, display: str) -> str:
    return str(convert(html.unescape(latex).strip(), display=display))
