"""What tells one part from another: more than a description, which names others' parts alone."""

import functools
import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from ssltok._shared.describe import describe
from ssltok._shared.described import description_of

__all__ = ["identity_of"]

PLAIN = (bool, int, float, str, type(None))


def identity_of(part: Any) -> Any:
    """Say what two parts must share to do the same, as far as it can be read.

    The options of partials and rules, whoever's they are; the weights of modules; the plain
    attributes of others' objects; the defaults and plain closures of functions.

    Args:
        part: The part, built or as a `functools.partial`.

    Returns:
        What `json` can write.
    """
    if isinstance(part, functools.partial):
        options = {name: identity_of(value) for name, value in part.keywords.items()}
        return [identity_of(part.func), [identity_of(item) for item in part.args], options]
    if isinstance(part, Tensor):
        return _digest({"": part})
    if isinstance(part, list | tuple | nn.ModuleList):
        return [identity_of(item) for item in part]
    made_by = description_of(part)
    if made_by is not None:
        options = {name: identity_of(value) for name, value in made_by.arguments.items()}
        return [describe(made_by.factory), options]
    if isinstance(part, type):
        return describe(part)
    if isinstance(part, nn.Module):
        return [describe(part), _plain(vars(part)), _digest(part.state_dict())]
    if hasattr(part, "__code__"):
        cells = dict(enumerate(cell.cell_contents for cell in part.__closure__ or ()))
        defaults = dict(enumerate(part.__defaults__ or ())) | (part.__kwdefaults__ or {})
        return [describe(part), _plain(cells), _plain(defaults)]
    return [describe(part), _plain(getattr(part, "__dict__", {}))]


def _plain(values: Any) -> dict[str, Any]:
    return {str(k): v for k, v in values.items() if isinstance(v, PLAIN) and k != "training"}


def _digest(state: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, value in state.items():
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
