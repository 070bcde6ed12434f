"""Arms of the study: a name is read as a recipe, and gives a config and the parts in its place.

    one                                single branch, no SSL loss: the naive arm
    one+barlow_twins+warp              single branch, SSL loss, second view
    two+vibcreg+slice                  low and high branch, each with its prior
    demo, nc_vqvae, timevqvae          a preset of the library, at its own sizes
    one+barlow_twins+warp:mask=inverted,codes=64,tokenizer.n_fft=4

After the colon stand changes, taken from left to right: those of `CHANGES`, or any field of the
config by its path. All arms but the presets share the sizes of `SIZES`.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from benchmarks.studies.ssl_tokens.parts import (
    contrast,
    halton_order,
    inverted_mask,
    joined_codes,
    projected_fsq,
)
from torch import nn

import ssltok.pipelines
from ssltok.decoding import random_order
from ssltok.nn import average_max_pool
from ssltok.pipelines import Config, DecodingConfig, Parts, PriorConfig, TokenizerConfig, nc_vqvae
from ssltok.training import TrainingConfig

__all__ = ["CHANGES", "MAIN", "SIZES", "Arm", "build_arm"]

MAIN = (
    "one",
    "one+barlow_twins+warp", "one+barlow_twins+slice", "one+barlow_twins+gauss",
    "one+vibcreg+warp", "one+vicreg+warp",
    "two", "two+barlow_twins+warp",
)  # fmt: skip
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {  # as in NC-VQVAE, but for its projector of 4096, which is 34 million weights
        "tokenizer": {"projector_dim": 1024},
        "prior": {},
        "training": {"batch": 64},
    },
    "small": {  # a few seconds on one core
        "tokenizer": {"dim": 32, "blocks": 2, "projector_dim": 256},
        "prior": {
            "dim": 64, "depth": 2, "heads": 2, "mlp_ratio": 2.0,
            "high_dim": 64, "high_depth": 2, "high_heads": 2,
        },
        "training": {"batch": 32},
    },
    "tiny": {  # for tests, and a look at the harness
        "tokenizer": {"dim": 8, "blocks": 1, "projector_dim": 16, "codebook_size": 8},
        "prior": {"dim": 16, "depth": 1, "high_dim": 16, "high_depth": 1},
        "training": {"batch": 8},
    },
}  # fmt: skip
OLD_NAMES = {"ssltok": "compact"}
SAMPLING = ("guidance=", "order=", "decoding.")
Change = Callable[["Arm", str], "Arm"]


class Arm(NamedTuple):
    """A recipe.

    Attributes:
        name: As it was read.
        config: What the library builds and trains.
        parts: Parts in the place of the config's.
        quantizer: From the config to a quantizer that takes the place of a finished branch's.
        changes: What an ablation changes beside the config, in words, for the record.
        share: Share of the budget for stage 1.
    """

    name: str
    config: Config
    parts: Parts = Parts()
    quantizer: Callable[[TokenizerConfig], nn.Module] | None = None
    changes: tuple[tuple[str, str], ...] = ()
    share: float = 0.5

    @property
    def training(self) -> str:
        """The name without the changes that only concern how series are drawn."""
        base, colon, changes = self.name.partition(":")
        kept = [c for c in changes.split(",") if not c.startswith(SAMPLING)]
        return base + (colon + ",".join(kept) if any(kept) else "")


def build_arm(name: str, *, size: str = "small") -> Arm:
    """Read an arm's name.

    Raises:
        ValueError: If a part of the name is unknown.
    """
    base, _, changes = name.partition(":")
    kind, *ssl = base.split("+")
    kind = OLD_NAMES.get(kind, kind)
    if kind in ("one", "two"):
        arm = _shared_arm(name, kind, ssl, size)
    elif kind in ssltok.pipelines.__all__ and not ssl:
        preset = getattr(ssltok.pipelines, kind)()
        if not isinstance(preset, Config):
            raise ValueError(f"build_arm: {kind} must be a preset; got {type(preset).__name__}")
        arm = Arm(name, preset)
    else:
        raise ValueError(f"build_arm: an arm begins with one, two or a preset; got {name!r}")
    for change in filter(None, changes.split(",")):
        key, _, value = change.partition("=")
        arm = CHANGES[key](arm, value) if key in CHANGES else _set_field(arm, key, value)
    return arm


def _shared_arm(name: str, kind: str, ssl: list[str], size: str) -> Arm:
    if len(ssl) not in (0, 2):
        raise ValueError(f"build_arm: an SSL arm names a loss and an augmentation; got {ssl}")
    if size not in SIZES:
        raise ValueError(f"build_arm: size must be one of {sorted(SIZES)}; got {size!r}")
    sizes = SIZES[size]
    loss: Any = ssl[0] if ssl else "none"
    augmentation: Any = ssl[1] if ssl else "warp"
    word: Any = "barlow_twins" if loss == "nt_xent" else loss  # that objective comes as a part
    tokenizer = dataclasses.replace(nc_vqvae(word, augmentation).tokenizer, **sizes["tokenizer"])
    if kind == "two":
        tokenizer = dataclasses.replace(tokenizer, widths=(8, 32), decay=0.8)
    training = TrainingConfig(warmup_ratio=0.05, **sizes["training"])
    config = Config(
        tokenizer=tokenizer,
        prior=PriorConfig(**sizes["prior"]),
        tokenizer_training=training,
        prior_training=training,
        decoding=DecodingConfig(),
    )
    if loss != "nt_xent":
        return Arm(name, config)
    objective = partial(contrast, projector_dim=tokenizer.projector_dim)
    return Arm(name, config, Parts(objective=objective, pool=average_max_pool))


def _set_field(arm: Arm, path: str, value: str) -> Arm:
    """Set a field of the config by its path, such as `prior.dropout`, to a plain number."""
    group, _, field = path.partition(".")
    part = getattr(arm.config, group, None)
    if not field or part is None or not hasattr(part, field):
        raise ValueError(f"build_arm: a change is a field or one of {sorted(CHANGES)}; got {path}")
    old = getattr(part, field)
    new: Any
    if isinstance(old, tuple):
        new = tuple(int(v) for v in value.split("/"))
    elif isinstance(old, bool):
        new = value == "True"
    else:
        new = type(old)(value)
    changed = dataclasses.replace(part, **{field: new})
    return arm._replace(config=dataclasses.replace(arm.config, **{group: changed}))


def _words(key: str, table: dict[str, Callable[[Arm], Arm]]) -> Change:
    """A change that is one of a few words."""

    def change(arm: Arm, value: str) -> Arm:
        if value not in table:
            raise ValueError(f"build_arm: {key} must be one of {tuple(table)}; got {value!r}")
        arm = table[value](arm)
        return arm._replace(changes=(*arm.changes, (key, value)))

    return change


def _parts(**changes: Any) -> Callable[[Arm], Arm]:
    return lambda arm: arm._replace(parts=dataclasses.replace(arm.parts, **changes))


def _set(path: str, value: str) -> Callable[[Arm], Arm]:
    return lambda arm: _set_field(arm, path, value)


def _replaced(build: Callable[[TokenizerConfig], nn.Module], *, kmeans: bool) -> Any:
    """Another quantizer than the config can name, which never has codes to revive."""

    def change(arm: Arm) -> Arm:
        arm = _set_field(arm, "tokenizer.revival_ratio", "0")
        return _set_field(arm, "tokenizer.kmeans", str(kmeans))._replace(quantizer=build)

    return change


def _field(path: str) -> Change:
    return lambda arm, value: _set_field(arm, path, value)


CHANGES: dict[str, Change] = {
    "mask": _words("mask", {"cosine": _parts(mask=None), "inverted": _parts(mask=inverted_mask)}),
    "paid": _words("paid", {"masked": _parts(everywhere=None), "all": _parts(everywhere=True)}),
    "head": _words(
        "head", {"tied": _set("prior.tied", "True"), "untied": _set("prior.tied", "False")}
    ),
    "start": _field("prior.start"),
    "quantizer": _words(
        "quantizer",
        {
            "ema": _set("tokenizer.quantizer", "ema"),
            "gradient": _set("tokenizer.quantizer", "gradient"),
            "fsq": _replaced(projected_fsq, kmeans=False),
            "residual": _replaced(joined_codes, kmeans=True),
        },
    ),
    "attach": _words(
        "attach",
        {
            "quantized": _parts(quantized=(True, True)),
            "continuous": _parts(quantized=(False, False)),
        },
    ),
    "views": _words("views", {"1": _parts(compared=None), "2": _parts(compared=(2, 1))}),
    "order": _words(
        "order",
        {
            "confidence": _parts(order=None),
            "random": _parts(order=partial(random_order)),
            "halton": _parts(order=partial(halton_order)),
        },
    ),
    "codes": _field("tokenizer.codebook_size"),
    "n_fft": _field("tokenizer.n_fft"),
    "guidance": _field("decoding.guidance"),
    "share": lambda arm, value: arm._replace(share=float(value)),
}
