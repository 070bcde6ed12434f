"""How `run`, `fit`, `encode` and `evaluate` read their data; the options are those of `Reading`."""

from typing import Annotated

import tyro

from ssltok.cli._say import say
from ssltok.data import Dataset, Reading, load_dataset

__all__ = ["ReadingOptions", "read"]

ReadingOptions = Annotated[Reading, tyro.conf.arg(name="")]
"""A command's field of this type takes `--layout`, `--time`, `--label`, ... without a prefix."""


def read(data: str, reading: Reading) -> Dataset:
    """Load a data set and say in one line what was read."""
    loaded = load_dataset(data, reading=reading)
    say(f"{data}: {loaded.about}")
    return loaded
