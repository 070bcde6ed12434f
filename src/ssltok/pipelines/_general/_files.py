"""The general tokenizer as a folder: weights in half precision, options, a card. Data, no code."""

import os
import pathlib
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssltok._shared.storage import (
    ArtifactError,
    load_tensors,
    parse_json,
    read_folder,
    to_json,
    write_folder,
)
from ssltok.pipelines._general._card import card_of
from ssltok.pipelines._general._codec import GeneralCodec

__all__ = ["FILES", "General", "is_general", "read_general", "shipped", "write_general"]

KIND, FORMAT = "general tokenizer", 1
FILES = ("README.md", "config.json", "manifest.json", "model.safetensors")
SHIPPED = {
    "general-1": "c5d5a7aa50e78caceb42bab56711f11bf29681c5bfc60cb28860beaeb015b13b",
}
"""Models in the package, and the digest of each one's weights (SHA-256 of model.safetensors)."""
NEWEST = "general-1"
LARGEST = 4096  # of any number in the options


class General(NamedTuple):
    """A general tokenizer: its network, and what is known of it: data, metrics, licence."""

    codec: GeneralCodec
    about: dict[str, Any]


def shipped(name: str) -> pathlib.Path | None:
    """The folder of a model in the package, or None; `general` is the newest."""
    name = NEWEST if name == "general" else name
    return pathlib.Path(__file__).parent / name if name in SHIPPED else None


def write_general(general: General, folder: str | os.PathLike[str]) -> pathlib.Path:
    """Write a new folder, whole or not at all; floats as float16, if nothing leaves its range."""
    from safetensors.torch import save

    tensors = {}
    for name, tensor in general.codec.state_dict().items():
        tensor = tensor.detach().to("cpu", copy=True).contiguous()
        half = tensor.half() if tensor.is_floating_point() else tensor
        tensors[name] = half if bool(half.isfinite().all()) else tensor
    plain = {"kind": KIND, "format": FORMAT, "options": general.codec.options}
    return write_folder(
        folder,
        {
            "config.json": to_json({**plain, "about": general.about}, allow_nan=False),
            "model.safetensors": save(tensors),
            "README.md": card_of(general.codec, general.about).encode(),
        },
    )


def is_general(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder says that it is one; nothing else is checked."""
    try:
        text = (pathlib.Path(folder) / "config.json").read_bytes()
    except OSError:
        return False
    return f'"kind": "{KIND}"'.encode() in text


def read_general(folder: str | os.PathLike[str]) -> General:
    """Read a folder; nothing in it is executed, and nothing is used before it is checked.

    Raises:
        ArtifactError: If the folder is missing, damaged, foreign or of another format, or is a
            model of the package with other weights than it came with.
    """
    files = read_folder(folder)
    if set(files) | {"manifest.json"} != set(FILES):
        raise ArtifactError(folder, f"the files {sorted(files)}, not {sorted(FILES)}")
    plain = parse_json(folder, "config.json", files["config.json"])
    keys = {"kind", "format", "options", "about"}
    if not isinstance(plain, Mapping) or set(plain) != keys or plain["kind"] != KIND:
        raise ArtifactError(folder, "a config.json of another form")
    if plain["format"] != FORMAT or type(plain["format"]) is not int:
        raise ArtifactError(
            folder, f"format {plain['format']!r}, where this version reads {FORMAT}"
        )
    if not isinstance(plain["about"], Mapping):
        raise ArtifactError(folder, "a config.json of another form")
    options = _options(folder, plain["options"])
    pinned = SHIPPED.get(pathlib.Path(folder).name) if _inside(folder) else None
    if pinned is not None and pinned != sha256(files["model.safetensors"]).hexdigest():
        raise ArtifactError(folder, "other weights than this version of ssltok came with")
    tensors = load_tensors(folder, "model.safetensors", files["model.safetensors"])
    with torch.device("meta"):
        _check_tensors(folder, GeneralCodec(**options), tensors)
    codec = GeneralCodec(**options)
    codec.load_state_dict({name: _full(tensor) for name, tensor in tensors.items()})
    codec.requires_grad_(False).eval()
    return General(codec, dict(plain["about"]))


def _inside(folder: str | os.PathLike[str]) -> bool:
    """Whether it is a folder of the package."""
    return pathlib.Path(folder).parent == pathlib.Path(__file__).parent


def _options(folder: str | os.PathLike[str], options: Any) -> dict[str, Any]:
    known = {"dim", "levels", "codebook_size", "hidden_dim", "decoder_dim", "widths", "dropout"}
    if not isinstance(options, Mapping) or set(options) != known:
        raise ArtifactError(folder, "options of another form in config.json")
    widths = options["widths"]
    if not isinstance(widths, list) or not 2 <= len(widths) <= 8:
        raise ArtifactError(folder, f"widths {widths!r} in config.json")
    sizes = {k: v for k, v in options.items() if k not in ("widths", "dropout")}
    for name, size in [*sizes.items(), *(("widths", width) for width in widths)]:
        if type(size) is not int or not 1 <= size <= LARGEST:
            raise ArtifactError(folder, f"{name} {size!r} in config.json")
    if options["levels"] != 3 or options["codebook_size"] != 1024:
        raise ArtifactError(folder, "codes of another form than those of three times 1024")
    if type(options["dropout"]) is not float or not 0 <= options["dropout"] <= 1:
        raise ArtifactError(folder, f"dropout {options['dropout']!r} in config.json")
    return {**options, "widths": tuple(widths)}


def _check_tensors(
    folder: str | os.PathLike[str], codec: GeneralCodec, tensors: Mapping[str, Tensor]
) -> None:
    wanted = codec.state_dict()
    if set(wanted) != set(tensors):
        odd = sorted(set(wanted) ^ set(tensors))
        raise ArtifactError(folder, f"tensors missing or added: {', '.join(odd[:3])}")
    for name, tensor in tensors.items():
        whole = not wanted[name].is_floating_point()
        kinds = (wanted[name].dtype,) if whole else (torch.float16, torch.float32)
        if tensor.shape != wanted[name].shape or tensor.dtype not in kinds:
            raise ArtifactError(
                folder,
                f"{name} of shape {tuple(tensor.shape)} and {tensor.dtype}, where the options "
                f"ask for {tuple(wanted[name].shape)} in {' or '.join(map(str, kinds))}",
            )
        if not bool(tensor.isfinite().all()):
            raise ArtifactError(folder, f"{name} with a value that is not finite")


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
