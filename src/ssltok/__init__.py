"""ssltok: self-supervised, vector-quantised tokens of time series, and masked generation.

A subpackage is the address of a thing: `from ssltok.losses import barlow_twins_loss`, or
`import ssltok` and `ssltok.losses.barlow_twins_loss`; a subpackage is imported when it is asked
for.
"""

import importlib
from typing import Any

__all__ = ["__version__"]

__version__ = "0.2.0"

SUBPACKAGES = (
    "augment", "cli", "data", "decoding", "distributed", "evaluation", "losses", "masking",
    "metrics", "nn", "optim", "pipelines", "plots", "quantizers", "signal", "state", "testing",
    "training",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in SUBPACKAGES:
        return importlib.import_module(f"ssltok.{name}")
    raise AttributeError(f"module 'ssltok' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *SUBPACKAGES])
