"""Where a model of that name is: in the package, in a folder, or on the hub."""

import os
import pathlib
import tempfile

from ssltok.pipelines._general._files import General, read_general, shipped
from ssltok.pipelines._general._hub import download

__all__ = ["find", "load_general"]


def load_general(model: str | os.PathLike[str]) -> General:
    """The model of a name, a folder, or a repository of the hub; see `load_pretrained`."""
    with tempfile.TemporaryDirectory(prefix="ssltok-") as place:
        return read_general(find(model, into=pathlib.Path(place)))


def find(model: str | os.PathLike[str], *, into: pathlib.Path) -> pathlib.Path:
    """The folder of a model: one that ships, one on disk, or one of the hub, copied `into`."""
    inside = shipped(model) if isinstance(model, str) else None
    if inside is not None:
        return inside
    if os.fspath(model) and pathlib.Path(model).exists():
        return pathlib.Path(model)
    words = str(model).split("@")[0].split("/")
    if not isinstance(model, str) or len(words) != 2 or not all(words) or words[0][0] in ".~":
        raise ValueError(
            f"from_pretrained: model must be general, general-1, a folder, or owner/name on the "
            f"hub (owner/name@revision); got {os.fspath(model)!r}"
        )
    repository, _, revision = model.partition("@")
    return download(repository, revision=revision or None, into=into)
