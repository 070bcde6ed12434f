"""Folders that are whole or not there: JSON and safetensors under a manifest of SHA-256 digests.

A folder is written beside its final name and renamed into place, so a half-written one never
appears under that name. Reading executes nothing: no pickle, no import path, no symbolic link.
The manifest detects damage; it is no signature (whoever can write the folder can write it too).
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssltok._shared.extras import need
from ssltok._shared.outputs import LITTER, new_folder

__all__ = ["ArtifactError", "pack_state", "read_folder", "remove_litter", "unpack_state"]

MANIFEST = "manifest.json"
FORMAT = 1


class ArtifactError(ValueError):
    """A folder on disk is missing, damaged, foreign or unsafe; nothing was loaded from it."""

    def __init__(self, path: str | os.PathLike[str], fact: str) -> None:
        super().__init__(f"{os.fspath(path)}: must be a whole ssltok folder; got {fact}")


def write_folder(path: str | os.PathLike[str], files: Mapping[str, bytes]) -> pathlib.Path:
    """Write `files` as the folder `path`, all of them or nothing.

    Args:
        path: The folder to make; it must not exist.
        files: Contents by plain file name.

    Returns:
        The folder's path.

    Raises:
        FileExistsError: If `path` exists.
    """
    final = pathlib.Path(path).absolute()
    if os.path.lexists(final):
        raise FileExistsError(f"write_folder: the folder must not exist; got {final}")
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    manifest: dict[str, Any] = {"format": FORMAT, "files": digests}
    manifest["digest"] = _digest(manifest)
    with new_folder(final) as temporary:
        for name, data in {**files, MANIFEST: json.dumps(manifest, indent=1).encode()}.items():
            with open(temporary / name, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        _sync_folder(temporary)
    _sync_folder(final.parent)
    return final


def read_folder(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """Read a folder written by `write_folder`, checking every byte of it first.

    Args:
        path: The folder.

    Returns:
        Contents by file name, without the manifest.

    Raises:
        ArtifactError: If anything is missing, changed, added, or not a plain file.
    """
    folder = pathlib.Path(path)
    if not folder.is_dir():
        raise ArtifactError(path, "no such folder")
    names = set()
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink() or not entry.is_file():
            raise ArtifactError(path, f"{entry.name}, which is no plain file")
        names.add(entry.name)
    if MANIFEST not in names:
        raise ArtifactError(path, f"no {MANIFEST}")
    if (folder / MANIFEST).stat().st_size > 2**20:
        raise ArtifactError(path, f"a {MANIFEST} of more than 1 MiB")
    manifest = parse_json(path, MANIFEST, (folder / MANIFEST).read_bytes())
    digests = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(digests, dict) or set(manifest) != {"format", "files", "digest"}:
        raise ArtifactError(path, f"a {MANIFEST} of another form")
    if manifest["format"] != FORMAT:
        raise ArtifactError(
            path, f"format {manifest['format']!r}, where this version reads {FORMAT}"
        )
    if manifest["digest"] != _digest({"format": FORMAT, "files": digests}):
        raise ArtifactError(path, f"a {MANIFEST} that was changed")
    if set(digests) != names - {MANIFEST}:
        odd = sorted(set(digests) ^ (names - {MANIFEST}))
        raise ArtifactError(path, f"files missing or added: {', '.join(odd)}")
    files = {}
    for name, digest in digests.items():
        data = (folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise ArtifactError(path, f"{name}, which is truncated or changed")
        files[name] = data
    return files


def remove_litter(parent: str | os.PathLike[str], *, names: str = ".+") -> None:
    """Remove what killed runs left half-written in `parent`, and nothing else.

    Args:
        parent: A folder that is ours.
        names: A pattern of the final names.
    """
    folder = pathlib.Path(parent)
    for entry in folder.iterdir() if folder.is_dir() else ():
        final = entry.name[len(".tmp-") : -33]
        if not LITTER.fullmatch(entry.name) or not re.fullmatch(names, final):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def pack_state(tree: object) -> dict[str, bytes]:
    """Turn nested dictionaries, lists, numbers, texts and tensors into two files.

    Args:
        tree: The state; dictionary keys may be texts or integers.

    Returns:
        `state.json` (the tree, tensors by name) and `state.safetensors`.
    """
    need("pack_state", "safetensors")
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    text = json.dumps(_flatten(tree, tensors), allow_nan=True)
    return {"state.json": text.encode(), "state.safetensors": save(tensors)}


def unpack_state(path: str | os.PathLike[str], files: Mapping[str, bytes]) -> Any:
    """Invert `pack_state`; `path` is named in the error's text."""
    tree = parse_json(path, "state.json", files.get("state.json", b""))
    tensors = load_tensors(path, "state.safetensors", files.get("state.safetensors", b""))
    try:
        return _restore(tree, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(path, f"a state.json of another form ({error})") from error


def load_tensors(path: str | os.PathLike[str], name: str, data: bytes) -> dict[str, Tensor]:
    """Read safetensors, with an error that names the folder and the file."""
    need("load_tensors", "safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, OverflowError) as error:
        raise ArtifactError(path, f"{name}, which is no safetensors file ({error})") from error


def parse_json(path: str | os.PathLike[str], name: str, data: bytes) -> Any:
    """Read JSON, with an error that names the folder and the file."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(path, f"{name}, which is no JSON ({error})") from error


def _digest(manifest: Mapping[str, Any]) -> str:
    text = json.dumps({key: manifest[key] for key in ("format", "files")}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sync_folder(folder: pathlib.Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flatten(tree: object, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = tree.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(tree, Mapping):
        for key in tree:
            if type(key) not in (str, int):
                raise TypeError(f"pack_state: keys must be texts or integers; got {key!r}")
        return {"pairs": [[key, _flatten(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        kind = "tuple" if isinstance(tree, tuple) else "list"
        return {kind: [_flatten(value, tensors) for value in tree]}
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    raise TypeError(f"pack_state: values must be plain; got {type(tree).__name__}")


def _restore(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    (kind, value), *rest = tree.items()
    if rest:
        raise ValueError(f"{sorted(tree)} in one node")
    if kind == "tensor":
        return tensors[value]
    if kind == "pairs":
        return {key: _restore(item, tensors) for key, item in value}
    items = [_restore(item, tensors) for item in value]
    return {"list": items, "tuple": tuple(items)}[kind]


def to_json(value: object, *, allow_nan: bool = True) -> bytes:
    """Readable JSON, as bytes; for other readers without NaN, which JSON does not know."""
    return (json.dumps(value, indent=2, default=_plain, allow_nan=allow_nan) + "\n").encode()


def _plain(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"to_json: values must be plain; got {type(value).__name__}")
