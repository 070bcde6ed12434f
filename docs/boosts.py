"""Pages that teach stand before pages that list, where both hold the words of a search."""

from typing import Any

BOOSTS = {"learn": 4.0, "guides": 4.0, "choose": 4.0, "api": 0.5, "examples": 0.5, "results": 0.5}
"""By folder, in the units of `search: boost:` in a page's front matter, which goes before it."""


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Give a page the boost of its folder."""
    boost = BOOSTS.get(page.file.src_uri.split("/")[0], 1.0)
    page.meta.setdefault("search", {}).setdefault("boost", boost)
    return markdown
