"""The model card: what a general tokenizer is, learned from, can do and cannot."""

from collections.abc import Mapping
from typing import Any

from ssltok.pipelines._general._codec import PATCHES, GeneralCodec

__all__ = ["card_of"]

HEAD = """---
license: mit
library_name: ssltok
tags:
- time-series
- tokenizer
- vector-quantization
- self-supervised
---
"""


def card_of(codec: GeneralCodec, about: Mapping[str, Any]) -> str:
    """Write the card of a model, Markdown with the Hub's heading.

    Args:
        codec: The network.
        about: `name`, `licence`, `data` (lists of texts), `training` (numbers by name), `metrics`
            (numbers by name) and `limits` (a list of texts); what is missing is left out.
    """
    name = about.get("name", "general tokenizer")
    numbers = sum(p.numel() for p in codec.parameters()) + sum(b.numel() for b in codec.buffers())
    lines = [
        HEAD + f"# {name}",
        "",
        "Turns any time series into a few discrete tokens, and tokens into the series: any length, "
        "any number of channels (each by itself, through one codebook), any scale, with missing "
        "values.",
        "",
        "```python",
        "from ssltok.pipelines import SSLTokenizer",
        "",
        f'tokenizer = SSLTokenizer.from_pretrained("{name}")',
        "codes = tokenizer.encode(X)  # (cases, tokens, 3)",
        "```",
        "",
        f"- **Numbers**: {numbers:,}, in half precision.",
        f"- **Tokens**: a frame of up to 512 samples of a channel has 1 token for its level and "
        f"size and up to {PATCHES} for its patches; a token has {codec.levels} codes of "
        f"{codec.codebook_size}, coarse first: with only the first, or the first two, codes of the "
        "patches it still decodes.",
    ]
    if "licence" in about:
        lines += [f"- **Licence**: {about['licence']}."]
    for title in ("data", "training", "metrics", "limits"):
        content = about.get(title)
        if isinstance(content, Mapping) and content:
            rows = [f"| {key} | {value} |" for key, value in content.items()]
            lines += ["", f"## {title.capitalize()}", "", "| what | value |", "|---|---|", *rows]
        elif isinstance(content, list) and content:
            lines += ["", f"## {title.capitalize()}", "", *(f"- {line}" for line in content)]
    return "\n".join([*lines, ""])
