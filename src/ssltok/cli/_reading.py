"""How the commands read their data; the options are those of `Reading`."""

from typing import Annotated

import tyro

from ssltok.cli._say import say
from ssltok.data import Dataset, Reading, load_dataset, load_source, resample_dataset, wants_source

__all__ = ["ReadingOptions", "read"]

ReadingOptions = Annotated[Reading, tyro.conf.arg(name="")]
"""A command's field of this type takes `--layout`, `--time`, `--label`, ... without a prefix."""


def read(
    data: str, reading: Reading, *, resample: str | None = None, source: bool | None = False
) -> Dataset:
    """Load a data set, at regular times where they are asked for, and say in one line what it is.

    Args:
        data: A name or a file.
        reading: What the file does not say.
        resample: The step to bring irregular times to; None leaves times as they are.
        source: Whether rows stay in the file until they are needed; None does so with a large one.

    Returns:
        The data set.
    """
    if source is None:
        source = resample is None and wants_source(data, reading=reading)
    if source and resample is not None:
        raise ValueError(f"resample must be left out where rows stay in the file; got {resample!r}")
    loaded = (load_source if source else load_dataset)(data, reading=reading)
    if resample is not None:
        loaded = resample_dataset(loaded, resample)
    say(f"{data}: {loaded.about}")
    return loaded
