"""A trained model as a folder: parts, weights, labels and where it came from. Data, no code."""

import os
import pathlib
import platform
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssltok import __version__
from ssltok._shared.describe import PartError, build_described, describe
from ssltok._shared.storage import (
    ArtifactError,
    load_tensors,
    parse_json,
    read_folder,
    to_json,
    write_folder,
)
from ssltok.data import label_index
from ssltok.pipelines._folders._artifact_checks import (
    check_classes,
    check_finite,
    check_origin,
    check_savable,
    check_training,
    pop_conditions,
    pop_per_channel,
    pop_usual,
    within_weights,
)
from ssltok.pipelines._generate import Decoding
from ssltok.pipelines._prior import Prior
from ssltok.pipelines._protocols import check_prior
from ssltok.pipelines._stage_two._causal_prior import conditions_of
from ssltok.pipelines._stage_two._conditions import ConditionScale
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._words._build import build_decoding, build_prior, build_tokenizer
from ssltok.pipelines._words._config import Config
from ssltok.pipelines._words._values import config_from_dict, config_to_dict

__all__ = ["Artifact", "load_artifact", "save_artifact"]

FORMAT = 2  # 1 had no parts: its config says them all
FILES = {"config.json", "model.safetensors", "labels.json", "provenance.json"}
LARGEST = 2**20  # the longest series, and the most channels, classes and cases, that we believe
PLACES = ("tokenizer", "prior", "decoding")
RULES = ("schedule", "orders", "sample", "guidance", "settle")


class Artifact(NamedTuple):
    """A trained model and what is needed to use it.

    Attributes:
        config: What it was trained with.
        tokenizer: Stage 1.
        prior: Stage 2.
        decoding: How it draws new tokens.
        classes: Which label stands for number i; empty without labels.
        lengths: Those of the training series, int64 `(cases,)`, from which the lengths of new
            series are drawn.
        labels: Likewise their labels, as numbers.
        provenance: Versions, seed, hash of the data, and more of where it came from.
        conditions: The scale of those that the prior was told in training; None where it was told
            none.
        usual: Quantiles of the anomaly scores of training series, at levels evenly spaced from 0 to
            1; None where an older version trained the model.
    """

    config: Config
    tokenizer: Tokenizer
    prior: Prior
    decoding: Decoding
    classes: tuple[Hashable, ...]
    lengths: Tensor
    labels: Tensor
    provenance: dict[str, Any]
    conditions: ConditionScale | None = None
    usual: Tensor | None = None

    def numbers(self, labels: Sequence[Hashable], who: str) -> Tensor:
        """Numbers of labels; None, NaN and NA are -1, any class."""
        labels = list(labels)
        return label_index(labels, len(labels), classes=self.classes, who=who)[0]

    def draw_lengths(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """A length for each new series, drawn from those of the training series of its label."""
        sizes = torch.empty(len(labels), dtype=torch.int64)
        for label in sorted(set(labels.tolist())):
            rows = labels == label
            pool = self.lengths[self.labels == label] if label >= 0 else self.lengths
            chosen = torch.randint(len(pool), (int(rows.sum()),), generator=generator)
            sizes[rows] = pool[chosen]
        return sizes


def save_artifact(artifact: Artifact, folder: str | os.PathLike[str]) -> pathlib.Path:
    """Write a model as a new folder, whole or not at all.

    Each part is written as its public name and plain options. What is somebody else's is written
    as its name, and must be handed to `load_artifact` again.

    Args:
        artifact: The model.
        folder: Where; it must not exist.

    Returns:
        The folder's path.

    Raises:
        FileExistsError: If the folder exists.
        TypeError: If a label cannot be written as JSON (texts, finite numbers, booleans can).

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from ssltok.pipelines import Config, PriorConfig, SSLTokenizer, TokenizerConfig
        >>> from ssltok.pipelines import load_artifact, save_artifact, shorten
        >>> config = Config(
        ...     tokenizer=TokenizerConfig(dim=4, blocks=0, codebook_size=3, projector_dim=8),
        ...     prior=PriorConfig(dim=8, depth=1),
        ... )
        >>> X, y = np.random.rand(6, 1, 32), list("ababab")
        >>> model = SSLTokenizer(shorten(config, steps=1)).fit(X, y)
        >>> folder = save_artifact(model.artifact_, f"{tempfile.mkdtemp()}/model")
        >>> load_artifact(folder).classes
        ('a', 'b')
    """
    from safetensors.torch import save

    check_savable("save_artifact", artifact.classes)
    tokenizer, decoding = artifact.tokenizer, artifact.decoding
    plain = {
        "format": FORMAT,
        "channels": tokenizer.channels,
        "length": tokenizer.length,
        "classes": len(artifact.classes),
        "config": config_to_dict(artifact.config),
        "tokenizer": describe(tokenizer, at="tokenizer"),
        "prior": describe(artifact.prior, at="prior"),
        "decoding": {
            "steps": decoding.steps,
            **{k: describe(getattr(decoding, k), at=f"decoding.{k}") for k in RULES},
        },
    }
    tensors = {
        **_named("tokenizer", tokenizer),
        **_named("prior", artifact.prior),
        "training.lengths": artifact.lengths,
        "training.labels": artifact.labels,
    }
    if bool(tokenizer.offset.any()):
        tensors["training.offset"] = tokenizer.offset
    if bool(tokenizer.constant.any()):
        tensors["training.constant"] = tokenizer.constant
    if artifact.conditions is not None:
        for name, scale in artifact.conditions._asdict().items():
            tensors[f"training.conditions.{name}"] = scale
    if artifact.usual is not None:
        tensors["training.usual"] = artifact.usual
    return write_folder(
        folder,
        {
            "config.json": to_json(plain, allow_nan=False),
            # Copies: weights that two parts share are written twice, and loaded into both.
            "model.safetensors": save(
                {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
            ),
            "labels.json": to_json(list(artifact.classes), allow_nan=False),
            "provenance.json": to_json({**provenance(), **artifact.provenance}, allow_nan=False),
        },
    )


def load_artifact(
    folder: str | os.PathLike[str], *, parts: Mapping[str, Any] | None = None
) -> Artifact:
    """Read a model; nothing in the folder is executed, and nothing is used before it is checked.

    Args:
        folder: A folder written by `save_artifact`, by this version or by 0.1.
        parts: Parts that are not ssltok's own, by their place, such as
            `{"tokenizer.branches.0.encoder": MyEncoder()}`; the error says which are missing.
            Modules are changed: they take the saved weights.

    Returns:
        The model, in evaluation mode, on the CPU.

    Raises:
        ArtifactError: If the folder is missing, damaged, foreign, or of another format, or a part
            must be handed over.
        PartError: If a part is handed over that nothing asks for.
        ValueError: If the prior does not fit the tokenizer.
        TypeError: If a part that is handed over is no module, or lacks what its place asks.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from ssltok.pipelines import Config, PriorConfig, SSLTokenizer, TokenizerConfig
        >>> from ssltok.pipelines import load_artifact, save_artifact, shorten
        >>> config = Config(
        ...     tokenizer=TokenizerConfig(dim=4, blocks=0, codebook_size=3, projector_dim=8),
        ...     prior=PriorConfig(dim=8, depth=1),
        ... )
        >>> X, y = np.random.rand(6, 1, 32), list("ababab")
        >>> model = SSLTokenizer(shorten(config, steps=1)).fit(X, y)
        >>> folder = save_artifact(model.artifact_, f"{tempfile.mkdtemp()}/model")
        >>> artifact = load_artifact(folder)
        >>> artifact.classes, artifact.tokenizer.codebook_size
        (('a', 'b'), 3)
    """
    for place in parts or {}:
        if place.split(".")[0] not in PLACES:
            raise PartError(
                f"load_artifact: parts must stand at places that begin with "
                f"{', '.join(PLACES)}; got {place!r}"
            )
    files = read_folder(folder)
    if set(files) != FILES:
        raise ArtifactError(folder, f"the files {sorted(files)}, not {sorted(FILES)}")
    plain = parse_json(folder, "config.json", files["config.json"])
    classes = parse_json(folder, "labels.json", files["labels.json"])
    origin = parse_json(folder, "provenance.json", files["provenance.json"])
    config = _checked(folder, plain)
    check_classes(folder, classes, plain["classes"])
    check_origin(folder, origin)
    tensors = load_tensors(folder, "model.safetensors", files["model.safetensors"])
    training = []
    for name in ("training.lengths", "training.labels"):
        tensor = tensors.pop(name, None)
        if tensor is None or tensor.ndim != 1 or tensor.dtype != torch.int64 or not len(tensor):
            raise ArtifactError(folder, f"model.safetensors without {name}")
        training.append(tensor)
    units = {
        name: pop_per_channel(folder, tensors, f"training.{name}", plain["channels"], dtype)
        for name, dtype in (("offset", torch.float64), ("constant", torch.bool))
    }
    conditions, usual = pop_conditions(folder, tensors), pop_usual(folder, tensors)
    check_training(folder, training, length=plain["length"], classes=plain["classes"])
    check_finite(folder, tensors)
    # Sizes first, on the meta device: a config that asks for too much costs nothing.
    for device in ("cpu",) if parts else ("meta", "cpu"):
        with within_weights(folder, tensors), torch.device(device):
            modules = _build(folder, plain, config, dict(parts or {}))
        _check_tensors(folder, modules, tensors)
    for name, module in modules.items():
        prefix = f"{name}."
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        module.load_state_dict(state)
        module.requires_grad_(False).eval()
    tokenizer: Any = modules["tokenizer"]
    prior: Any = modules["prior"]
    if not isinstance(tokenizer, Tokenizer):
        raise ArtifactError(folder, "parts of another kind")
    tokenizer.offset, tokenizer.constant = units["offset"], units["constant"]
    try:
        check_prior("load_artifact", prior, tokenizer, plain["classes"])
    except (TypeError, ValueError) as error:
        raise ArtifactError(folder, str(error)) from error
    if (tokenizer.channels, tokenizer.length) != (plain["channels"], plain["length"]):
        raise ArtifactError(folder, "a tokenizer of other channels or another length")
    sizes = (0, 0) if conditions is None else conditions.sizes
    if sizes != conditions_of(prior):
        raise ArtifactError(folder, f"conditions {sizes}, which are not those of its prior")
    decoding = _rules(folder, plain, config, tokenizer, dict(parts or {}))
    lengths, labels = training
    return Artifact(
        config, tokenizer, prior, decoding, tuple(classes), lengths, labels, origin, conditions,
        usual,
    )  # fmt: skip


def provenance() -> dict[str, Any]:
    """The versions that made an artefact."""
    return {
        "ssltok": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def _checked(folder: str | os.PathLike[str], plain: Any) -> Config:
    keys = {"format", "channels", "length", "classes", "config"}
    formats = {1: keys, FORMAT: keys | {"tokenizer", "prior", "decoding"}}
    if not isinstance(plain, Mapping) or "format" not in plain:
        raise ArtifactError(folder, "a config.json of another form")
    if plain["format"] not in (1, FORMAT) or type(plain["format"]) is not int:
        raise ArtifactError(
            folder, f"format {plain['format']!r}, where this version reads 1 and {FORMAT}"
        )
    if set(plain) != formats[plain["format"]]:
        raise ArtifactError(folder, "a config.json of another form")
    for key in ("channels", "length", "classes"):
        if type(plain[key]) is not int or not 0 <= plain[key] <= LARGEST:
            raise ArtifactError(folder, f"{key} {plain[key]!r} in config.json")
    try:
        config = config_from_dict(Config, plain["config"])
    except (ValueError, TypeError) as error:
        raise ArtifactError(folder, f"a config.json that this version refuses ({error})") from error
    if plain["channels"] < 1 or plain["length"] < 1:
        raise ArtifactError(folder, "no channels or no length in config.json")
    return config


def _build(
    folder: str | os.PathLike[str], plain: Any, config: Config, parts: Mapping[str, Any]
) -> dict[str, nn.Module]:
    """Tokenizer and prior with new weights, as the folder describes them."""
    if plain["format"] == 1:
        if parts:
            raise PartError(
                f"load_artifact: parts must be none where the folder is of 0.1, which knew no "
                f"parts of somebody else's; got {sorted(parts)}"
            )
        tokenizer = build_tokenizer(
            config.tokenizer, channels=plain["channels"], length=plain["length"]
        )
        prior = build_prior(config.prior, tokenizer, classes=plain["classes"])
        return {"tokenizer": tokenizer, "prior": prior}
    modules = {
        name: _described(folder, plain[name], name, parts) for name in ("tokenizer", "prior")
    }
    scaler = getattr(modules["tokenizer"], "scaler", None)
    if scaler is not None and hasattr(scaler, "fit"):
        scaler.fit(torch.zeros(1, plain["channels"], 1))
    return modules


def _described(
    folder: str | os.PathLike[str], description: Any, name: str, parts: Mapping[str, Any]
) -> Any:
    try:
        return build_described(description, parts=parts, at=name)
    except PartError as error:
        raise ArtifactError(folder, str(error)) from error


def _rules(
    folder: str | os.PathLike[str],
    plain: Any,
    config: Config,
    tokenizer: Tokenizer,
    parts: Mapping[str, Any],
) -> Decoding:
    if plain["format"] == 1:
        return build_decoding(config.decoding, tokenizer)
    rules = plain["decoding"]
    if isinstance(rules, Mapping):
        rules = {"settle": None, **rules}  # an older artefact has none
    if not isinstance(rules, Mapping) or set(rules) != {"steps", *RULES}:
        raise ArtifactError(folder, "decoding rules of another form")
    built = {name: _described(folder, rules[name], f"decoding.{name}", parts) for name in RULES}
    if type(rules["steps"]) is not int or not 1 <= rules["steps"] <= LARGEST:
        raise ArtifactError(folder, f"{rules['steps']!r} decoding steps")
    if not isinstance(built["orders"], tuple) or len(built["orders"]) != len(tokenizer.sizes):
        raise ArtifactError(folder, "orders that are not as many as branches")
    return Decoding(steps=rules["steps"], **built)


def _check_tensors(
    folder: str | os.PathLike[str], modules: dict[str, nn.Module], tensors: Mapping[str, Tensor]
) -> None:
    wanted = {k: v for part, m in modules.items() for k, v in _named(part, m).items()}
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


def _named(part: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor for name, tensor in module.state_dict().items()}
