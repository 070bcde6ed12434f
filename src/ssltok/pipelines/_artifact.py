"""A trained model as a folder: config, weights, labels and where it came from. Data, no code."""

import os
import pathlib
import platform
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssltok import __version__
from ssltok._shared.storage import (
    ArtifactError,
    load_tensors,
    parse_json,
    read_folder,
    to_json,
    write_folder,
)
from ssltok.pipelines._config import Config
from ssltok.pipelines._config_json import config_from_dict, config_to_dict
from ssltok.pipelines._prior import Prior
from ssltok.pipelines._tokenizer import Tokenizer

__all__ = ["Artifact", "load_artifact", "save_artifact"]

FORMAT = 1
FILES = {"config.json", "model.safetensors", "labels.json", "provenance.json"}
LARGEST = 2**20  # the longest series, and the most channels, classes and cases, that we believe


class Artifact(NamedTuple):
    """A trained model and what is needed to use it.

    `lengths` and `labels` are those of the training series, int64 `(cases,)`, from which the
    lengths and labels of new series are drawn; `classes` says what label stands for number i.
    """

    config: Config
    tokenizer: Tokenizer
    prior: Prior
    classes: tuple[Hashable, ...]
    lengths: Tensor
    labels: Tensor
    provenance: dict[str, Any]


def save_artifact(artifact: Artifact, folder: str | os.PathLike[str]) -> pathlib.Path:
    """Write a model as a new folder, whole or not at all.

    Args:
        artifact: The model.
        folder: Where; it must not exist.

    Returns:
        The folder's path.

    Raises:
        FileExistsError: If the folder exists.
        TypeError: If a label cannot be written as JSON (texts, numbers, booleans, None can).
    """
    from safetensors.torch import save

    for label in artifact.classes:
        if type(label) not in (str, int, float, bool, type(None)):
            raise TypeError(
                f"save_artifact: labels must be texts, numbers, booleans or None to be saved; "
                f"got {label!r}"
            )
    tokenizer = artifact.tokenizer
    config = {
        "format": FORMAT,
        "channels": tokenizer.channels,
        "length": tokenizer.length,
        "classes": len(artifact.classes),
        "config": config_to_dict(artifact.config),
    }
    tensors = {
        **_named("tokenizer", tokenizer),
        **_named("prior", artifact.prior),
        "training.lengths": artifact.lengths,
        "training.labels": artifact.labels,
    }
    return write_folder(
        folder,
        {
            "config.json": to_json(config),
            "model.safetensors": save({k: v.cpu().contiguous() for k, v in tensors.items()}),
            "labels.json": to_json(list(artifact.classes)),
            "provenance.json": to_json({**provenance(), **artifact.provenance}),
        },
    )


def load_artifact(folder: str | os.PathLike[str]) -> Artifact:
    """Read a model; nothing in the folder is executed, and nothing is used before it is checked.

    Args:
        folder: A folder written by `save_artifact`.

    Returns:
        The model, in evaluation mode, on the CPU.

    Raises:
        ArtifactError: If the folder is missing, damaged, foreign, or of another format.
    """
    files = read_folder(folder)
    if set(files) != FILES:
        raise ArtifactError(folder, f"the files {sorted(files)}, not {sorted(FILES)}")
    said = parse_json(folder, "config.json", files["config.json"])
    classes = parse_json(folder, "labels.json", files["labels.json"])
    origin = parse_json(folder, "provenance.json", files["provenance.json"])
    channels, length, config = _checked(folder, said)
    if not isinstance(classes, list) or len(classes) != said["classes"]:
        raise ArtifactError(folder, "a labels.json of another form")
    if not isinstance(origin, dict):
        raise ArtifactError(folder, "a provenance.json of another form")
    tensors = load_tensors(folder, "model.safetensors", files["model.safetensors"])
    training = []
    for name in ("training.lengths", "training.labels"):
        tensor = tensors.pop(name, None)
        if tensor is None or tensor.ndim != 1 or tensor.dtype != torch.int64 or not len(tensor):
            raise ArtifactError(folder, f"model.safetensors without {name}")
        training.append(tensor)
    # Sizes first, on the meta device: a config that asks for too much costs nothing.
    with torch.device("meta"):
        sketch = _build(config, channels, length, len(classes))
    wanted = {k: v for part, m in sketch.items() for k, v in _named(part, m).items()}
    if set(wanted) != set(tensors):
        odd = sorted(set(wanted) ^ set(tensors))
        raise ArtifactError(folder, f"tensors missing or added: {', '.join(odd[:3])}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise ArtifactError(
                folder,
                f"{name} of shape {tuple(tensor.shape)} and {tensor.dtype}, where the config "
                f"asks for {tuple(wanted[name].shape)} and {wanted[name].dtype}",
            )
    parts = _build(config, channels, length, len(classes))
    for name, module in parts.items():
        prefix = f"{name}."
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        module.load_state_dict(own)
        module.eval()
    tokenizer, prior = parts["tokenizer"], parts["prior"]
    if not isinstance(tokenizer, Tokenizer) or not isinstance(prior, Prior):
        raise ArtifactError(folder, "parts of another kind")
    lengths, labels = training
    return Artifact(config, tokenizer, prior, tuple(classes), lengths, labels, origin)


def provenance() -> dict[str, Any]:
    """The versions that made an artefact."""
    return {
        "ssltok": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def _checked(folder: str | os.PathLike[str], said: Any) -> tuple[int, int, Config]:
    keys = {"format", "channels", "length", "classes", "config"}
    if not isinstance(said, Mapping) or set(said) != keys:
        raise ArtifactError(folder, "a config.json of another form")
    if said["format"] != FORMAT:
        raise ArtifactError(folder, f"format {said['format']!r}, where this version reads {FORMAT}")
    for key in ("channels", "length", "classes"):
        if type(said[key]) is not int or not 0 <= said[key] <= LARGEST:
            raise ArtifactError(folder, f"{key} {said[key]!r} in config.json")
    try:
        config = config_from_dict(Config, said["config"])
    except (ValueError, TypeError) as error:
        raise ArtifactError(folder, f"a config.json that this version refuses ({error})") from error
    if said["channels"] < 1 or said["length"] < 1:
        raise ArtifactError(folder, "no channels or no length in config.json")
    return said["channels"], said["length"], config


def _build(config: Config, channels: int, length: int, classes: int) -> dict[str, nn.Module]:
    tokenizer = Tokenizer(config.tokenizer, channels=channels, length=length)
    return {"tokenizer": tokenizer, "prior": Prior(config.prior, tokenizer, classes=classes)}


def _named(part: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor for name, tensor in module.state_dict().items()}
