"""What can be chosen, as frozen dataclasses of plain numbers; they stop at the pipeline's door."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ssltok._shared.checks import check_at_least, check_positive, check_ratio
from ssltok.training import TrainingConfig

__all__ = [
    "AutoConfig",
    "Config",
    "DecodingConfig",
    "PriorConfig",
    "TokenizerConfig",
]

LIMIT = 65_536  # no size of a part may exceed it: a config may come from a stranger's file

Coder = Literal["spectrogram", "snake", "conv", "patch", "transformer"]
Quantizer = Literal[
    "ema", "gradient", "cosine", "projected", "fsq", "lfq", "bsq", "simvq", "gumbel",
    "random_projection", "grouped", "residual", "affine", "diveq", "nsvq", "symmetric_fsq", "fsp",
    "growing", "multi_scale",
]  # fmt: skip
SSL = Literal[
    "none", "barlow_twins", "vicreg", "vibcreg", "sigreg", "w_mse", "nt_xent", "byol", "simsiam",
    "moco", "swav", "dino", "ts2vec", "supcon", "mae", "beit", "data2vec", "ibot", "lejepa",
    "visreg", "frossl", "mmcr", "emp_ssl", "simdino", "tico", "nepa", "lenepa", "capi",
    "dcl", "nnclr", "ressl", "vicregl", "multi_similarity", "labelled_nt_xent",
]  # fmt: skip
Count = Literal[
    "schedule", "entropy_bound", "confidence_threshold", "confidence_factor", "stable_prediction"
]
Architecture = Literal["masked", "causal"]
Augmentation = Literal["warp", "slice", "gauss"]


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Stage 1: transform, coder, quantizer, and what is learned from views, in plain words.

    Raises:
        ValueError: If a field is outside its range, or a word is none of those allowed.
        TypeError: If a number is not one.
    """

    coder: Coder = "spectrogram"
    """Encoder and decoder: of spectrograms (spectrogram, snake), or of the series itself (conv,
    patch, transformer)."""
    channelwise: bool = False
    """Tokens channel by channel, instead of one token for all channels."""
    n_fft: int = 8
    """Samples in one STFT frame; even."""
    hop: int = 2
    """Samples between two frames; divides n_fft."""
    widths: tuple[int, ...] = (8,)
    """Token frames aimed at: one number for a single branch, two for low and high frequencies."""
    edge: int = 1
    """First frequency bin of the high branch (two branches only)."""
    dim: int = 64
    """Channels of the latent vectors and of the codes."""
    blocks: int = 4
    """Residual blocks in each encoder and decoder."""
    codebook_size: int = 32
    """Codes in each branch's codebook."""
    quantizer: Quantizer = "ema"
    """How vectors become codes: a codebook of moving averages (ema, affine, growing), one that
    learns by gradient (gradient, cosine, projected, simvq, gumbel, diveq, nsvq), a fixed one (fsq,
    symmetric_fsq, fsp, lfq, bsq, random_projection), or several (grouped, residual,
    multi_scale)."""
    codes_per_token: int = 1
    """Codes of a token: levels of a residual or multi-scale, groups of a grouped quantizer."""
    decay: float = 0.9
    """Memory of the moving averages (ema only)."""
    commitment_weight: float = 1.0
    """Weight of the pull of latents towards their codes."""
    kmeans: bool = True
    """Start the codebook from k-means of the first latents (the authors start from noise)."""
    revival_ratio: float = 0.0
    """A code used less than this share of the uniform count is put back among the data; 0 = off."""
    ssl: SSL = "none"
    """What is learned from the series and its view beside its reconstruction: an objective."""
    ssl_weight: float = 1.0
    """Weight of that objective."""
    augmentation: Augmentation = "warp"
    """How the second view is made: warp + resize, slice + shuffle, or gaussian noise."""
    quantize_view: bool = False
    """Quantise the augmented view too (the authors keep it continuous)."""
    view_weight: float = 0.1
    """Weight of the augmented view's reconstruction; 0 spares rebuilding it."""
    projector_dim: int = 4096
    """Width of the projector that the objective looks through."""
    stretches: int = 1
    """Stretches of time over which `transform` averages code vectors, see
    [`stretch_pool`][ssltok.nn.stretch_pool]; `auto` takes 8."""
    gaps: float = 0.0
    """Largest share of a training series that is hidden from the encoder, which then learns to read
    partly observed series; 0 = none. `impute` is better for it."""
    fill: bool = False
    """Whether gaps are completed by what is expected of the rest that tokens leave, given it where
    a series is observed: `GaussianFill`, straight lines above 1,024 values a series. With `gaps` it
    always is. `impute` and `forecast` are better for it, and tokens are as without."""
    texture: bool = False
    """Whether new series get the grain that tokens cannot say, drawn from what they left over of
    training series with the same codes (`PatchTexture`), as much as a measurement says; without
    effect where tokens are no patches of time. Tokens and what is rebuilt are as without."""

    def __post_init__(self) -> None:
        """Check every word and number."""
        who = "TokenizerConfig"
        check_words(self, who)
        check_sizes(self, who, "n_fft", "hop", "edge", "dim", "codebook_size", "projector_dim",
                    "stretches")  # fmt: skip
        check_at_least(who, "n_fft", self.n_fft, 2)
        check_at_least(who, "blocks", self.blocks, 0)
        if self.n_fft % 2 or self.n_fft % self.hop:
            raise ValueError(
                f"{who}: n_fft must be even and a multiple of hop; "
                f"got n_fft {self.n_fft}, hop {self.hop}"
            )
        if len(self.widths) not in (1, 2) or not all(1 <= w <= LIMIT for w in self.widths):
            raise ValueError(f"{who}: widths must be one or two numbers >= 1; got {self.widths}")
        if len(self.widths) > 1 and self.coder not in ("spectrogram", "snake"):
            raise ValueError(f"{who}: two widths need a coder of spectrograms; got {self.coder}")
        several = self.quantizer in ("grouped", "residual", "multi_scale")
        if not 1 <= self.codes_per_token <= 64 or (self.codes_per_token > 1 and not several):
            raise ValueError(
                f"{who}: codes_per_token must lie in [1, 64], and be 1 but for grouped, residual "
                f"and multi_scale quantizers; got {self.codes_per_token} for {self.quantizer}"
            )
        if not 1 <= self.edge <= self.n_fft // 2:
            raise ValueError(f"{who}: edge must lie in [1, n_fft / 2]; got {self.edge}")
        check_ratio(who, "decay", self.decay)
        check_ratio(who, "revival_ratio", self.revival_ratio)
        check_ratio(who, "gaps", self.gaps)
        for name in ("commitment_weight", "ssl_weight", "view_weight"):
            check_at_least(who, name, getattr(self, name), 0)


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """Stage 2: the transformer that guesses hidden tokens from visible ones.

    Raises:
        ValueError: If a field is outside its range, or a word is none of those allowed.
        TypeError: If a number is not one.
    """

    architecture: Architecture = "masked"
    """What a guess reads: all visible tokens (masked), or those before it in time (causal), which
    draws and forecasts one token after the other, but does not impute; one model then reads all
    branches, and the sizes of the high one are of no matter."""
    dim: int = 256
    """Channels of the transformer of the low (or only) branch."""
    depth: int = 4
    """Its layers."""
    heads: int = 2
    """Its attention heads."""
    high_dim: int = 256
    """Channels of the high-frequency prior (two branches only)."""
    high_depth: int = 4
    """Its layers."""
    high_heads: int = 2
    """Its attention heads."""
    mlp_ratio: float = 1.0
    """Hidden channels of the transformers' MLPs, over their channels."""
    dropout: float = 0.0
    """Share of activations dropped in training."""
    label_dropout: float = 0.2
    """Share of labels hidden in training, so that guidance is possible."""
    label_smoothing: float = 0.0
    """Probability mass spread over all codes in the loss."""
    tied: bool = False
    """Whether the head's last weights are the token embedding's own."""
    start: Literal["codebook", "noise"] = "codebook"
    """What the token embedding starts from."""
    variants: int = 0
    """Mildly warped copies of each training series whose tokens are learned beside its own: a cure
    for few series."""
    variant_std: float = 0.1
    """Standard deviation of the pace and of the magnitude in those copies."""

    def __post_init__(self) -> None:
        """Check every word and number."""
        who = "PriorConfig"
        check_words(self, who)
        check_sizes(self, who, "dim", "depth", "heads", "high_dim", "high_depth", "high_heads")
        for dim, heads in (("dim", "heads"), ("high_dim", "high_heads")):
            if getattr(self, dim) % getattr(self, heads):
                raise ValueError(
                    f"{who}: {dim} must be a multiple of {heads}; "
                    f"got {getattr(self, dim)} and {getattr(self, heads)}"
                )
        if not 0 < self.mlp_ratio <= 64:
            raise ValueError(f"{who}: mlp_ratio must lie in (0, 64]; got {self.mlp_ratio}")
        for name in ("dropout", "label_dropout", "label_smoothing"):
            check_ratio(who, name, getattr(self, name))
        for name in ("variants", "variant_std"):
            check_at_least(who, name, getattr(self, name), 0)
        if self.variants > LIMIT:
            raise ValueError(f"{who}: variants must be at most {LIMIT}; got {self.variants}")


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How new tokens are drawn: steps, randomness of the order and of the tokens, guidance.

    Raises:
        ValueError: If a field is outside its range, or a word is none of those allowed.
        TypeError: If a number is not one.
    """

    steps: int = 10
    """Forward passes from all tokens hidden to none; the most of them where the model says how many
    tokens stay."""
    count: Count = "schedule"
    """How many tokens stay after a pass: a fixed schedule, or as many as the model is sure of."""
    bound: float = 0.5
    """How sure: the entropy bound in nats, the threshold of a probability, the confidence factor,
    or the divergence below which a prediction is stable; of no matter for a schedule."""
    order_temperature: float = 4.0
    """Noise in the choice of which tokens to keep; falls to 0 over the steps."""
    high_order_temperature: float = 4.0
    """The same for the high branch."""
    temperature: float = 1.0
    """Temperature of the tokens' distribution; 0 = the most probable token."""
    guidance: float = 1.0
    """Classifier-free guidance: 1 = none, more = closer to the label."""

    def __post_init__(self) -> None:
        """Check every word and number."""
        who = "DecodingConfig"
        check_words(self, who)
        check_at_least(who, "steps", self.steps, 1)
        numbers = (
            "order_temperature",
            "high_order_temperature",
            "temperature",
            "guidance",
            "bound",
        )
        for name in numbers:
            check_at_least(who, name, getattr(self, name), 0)
        if self.count == "confidence_threshold":
            check_ratio(who, "bound", self.bound)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a run can be told, apart from its data.

    Raises:
        ValueError: If a field is outside its range, or a word is none of those allowed.
        TypeError: If a number is not one.
    """

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """Stage 1."""
    prior: PriorConfig = field(default_factory=PriorConfig)
    """Stage 2."""
    tokenizer_training: TrainingConfig = field(default_factory=TrainingConfig)
    """How stage 1 is trained."""
    prior_training: TrainingConfig = field(default_factory=lambda: TrainingConfig(batch=256))
    """How stage 2 is trained."""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """How new series are drawn."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision of training."""
    workers: int = 0
    """Processes that prepare batches; the result does not depend on it."""

    def __post_init__(self) -> None:
        """Check every word and number."""
        check_words(self, "Config")
        if self.prior.architecture == "causal" and self.decoding.count != "schedule":
            raise ValueError(
                f"Config: decoding.count must be schedule with a causal prior, of whose tokens one "
                f"comes a step; got {self.decoding.count}"
            )
        check_at_least("Config", "workers", self.workers, 0)


@dataclass(frozen=True, kw_only=True)
class AutoConfig:
    """What the preset that reads the data first can be told: `auto` makes a `Config` of it.

    Raises:
        ValueError: If a number is outside its range.
        TypeError: If a number is not one.
    """

    minutes: float = 3.0
    """What a whole run may take on two cores; turned into steps by counted operations."""
    explained: float = 0.92
    """Share of the variance that the tokens shall explain; more means more tokens."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """What is given and not chosen, by its path, such as `{"tokenizer__quantizer": "fsq"}`."""

    def __post_init__(self) -> None:
        """Check both numbers."""
        check_positive("AutoConfig", "minutes", self.minutes)
        if not 0 < self.explained < 1:
            raise ValueError(f"AutoConfig: explained must lie in (0, 1); got {self.explained}")


def check_words(config: object, who: str) -> None:
    """Ask that each word is one of those that its field takes; name near ones."""
    for name, hint in get_type_hints(type(config)).items():
        if get_origin(hint) is not Literal:
            continue
        value, words = getattr(config, name), get_args(hint)
        if value not in words:
            near = difflib.get_close_matches(str(value), words, n=2)
            mean = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise ValueError(
                f"{who}: {name} must be one of {', '.join(words)}; got {value!r}{mean}"
            )


def check_sizes(config: object, who: str, *names: str) -> None:
    """Ask that each named size is at least 1 and at most `LIMIT`."""
    for name in names:
        value = getattr(config, name)
        if not 1 <= value <= LIMIT:
            raise ValueError(f"{who}: {name} must lie in [1, {LIMIT}]; got {value}")
