"""Arms of the study: a name is read as a recipe, and gives a config and the parts it replaces.

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
from typing import Any, NamedTuple

import ssltok.pipelines
from ssltok.pipelines import Config, DecodingConfig, PriorConfig, nc_vqvae
from ssltok.training import TrainingConfig

__all__ = ["CHANGES", "MAIN", "SIZES", "Arm", "Parts", "build_arm"]

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
OTHER_LOSSES = ("nt_xent",)
SAMPLING = ("guidance=", "order=", "decoding.")
Change = Callable[["Arm", str], "Arm"]


class Parts(NamedTuple):
    """What an ablation replaces by code of this harness; None (or the default) is the library's."""

    mask: str = "cosine"
    """Schedule of the training masks: `cosine`, or `inverted`."""
    paid: str = "masked"
    """Tokens in the prior's loss: `masked`, or `all`."""
    tied: bool = False
    """Whether the prior's head is its token embedding."""
    start: str = "codebook"
    """What the prior's token embedding starts from: `codebook`, or `noise`."""
    quantizer: str = "config"
    """`config`, or `fsq`, or `residual` (sums of two codes)."""
    attach: str = "config"
    """What the SSL loss compares: `config`, `quantized`, `continuous`."""
    views: int = 1
    """Augmented views in the SSL loss: with 1, the other is the series itself."""
    ssl_loss: str = "config"
    """A loss of `ssltok.losses` beside the config's three."""
    order: str = "confidence"
    """Decoding order: `confidence`, `random`, `halton`."""


class Arm(NamedTuple):
    """A recipe: its name, config, replaced parts, and the share of the budget for stage 1."""

    name: str
    config: Config
    parts: Parts
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
    if kind in ("one", "two"):
        arm = Arm(name, _shared_config(kind, ssl, size), Parts())
        if ssl and ssl[0] in OTHER_LOSSES:
            arm = arm._replace(parts=Parts(ssl_loss=ssl[0]))
    elif kind in ssltok.pipelines.__all__ and not ssl:
        preset = getattr(ssltok.pipelines, kind)()
        if not isinstance(preset, Config):
            raise ValueError(f"build_arm: {kind} must be a preset; got {type(preset).__name__}")
        arm = Arm(name, preset, Parts())
    else:
        raise ValueError(f"build_arm: an arm begins with one, two or a preset; got {name!r}")
    for change in filter(None, changes.split(",")):
        key, _, value = change.partition("=")
        arm = CHANGES[key](arm, value) if key in CHANGES else _set_field(arm, key, value)
    return arm


def _shared_config(kind: str, ssl: list[str], size: str) -> Config:
    if len(ssl) not in (0, 2):
        raise ValueError(f"build_arm: an SSL arm names a loss and an augmentation; got {ssl}")
    if size not in SIZES:
        raise ValueError(f"build_arm: size must be one of {sorted(SIZES)}; got {size!r}")
    sizes = SIZES[size]
    loss: Any = ssl[0] if ssl else "none"
    if loss in OTHER_LOSSES:
        loss = "barlow_twins"  # gives the projector and the view; the loss itself is replaced
    augmentation: Any = ssl[1] if ssl else "warp"
    tokenizer = dataclasses.replace(nc_vqvae(loss, augmentation).tokenizer, **sizes["tokenizer"])
    if augmentation not in ("warp", "slice", "gauss"):
        raise ValueError(f"build_arm: the view is warp, slice or gauss; got {augmentation!r}")
    if kind == "two":
        tokenizer = dataclasses.replace(tokenizer, widths=(8, 32), decay=0.8)
    training = TrainingConfig(warmup_ratio=0.05, **sizes["training"])
    return Config(
        tokenizer=tokenizer,
        prior=PriorConfig(**sizes["prior"]),
        tokenizer_training=training,
        prior_training=training,
        decoding=DecodingConfig(),
    )


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


def _part(field: str, *allowed: str) -> Change:
    def change(arm: Arm, value: str) -> Arm:
        if value not in allowed:
            raise ValueError(f"build_arm: {field} must be one of {allowed}; got {value!r}")
        old = getattr(arm.parts, field)
        new: Any = value == "tied" if isinstance(old, bool) else type(old)(value)
        changes: dict[str, Any] = {field: new}
        return arm._replace(parts=arm.parts._replace(**changes))

    return change


def _set_quantizer(arm: Arm, value: str) -> Arm:
    if value in ("ema", "gradient"):
        return _set_field(arm, "tokenizer.quantizer", value)
    arm = _part("quantizer", "fsq", "residual")(arm, value)
    # A fixed grid has nothing to start by k-means, and a pair of codes cannot be put elsewhere.
    arm = _set_field(arm, "tokenizer.revival_ratio", "0")
    return _set_field(arm, "tokenizer.kmeans", str(value == "residual"))


def _field(path: str) -> Change:
    return lambda arm, value: _set_field(arm, path, value)


CHANGES: dict[str, Change] = {
    "mask": _part("mask", "cosine", "inverted"),
    "paid": _part("paid", "masked", "all"),
    "head": _part("tied", "tied", "untied"),
    "start": _part("start", "codebook", "noise"),
    "quantizer": lambda arm, value: _set_quantizer(arm, value),
    "attach": _part("attach", "quantized", "continuous"),
    "views": _part("views", "1", "2"),
    "order": _part("order", "confidence", "random", "halton"),
    "codes": _field("tokenizer.codebook_size"),
    "n_fft": _field("tokenizer.n_fft"),
    "guidance": _field("decoding.guidance"),
    "share": lambda arm, value: arm._replace(share=float(value)),
}
