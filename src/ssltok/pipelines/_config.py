"""What can be chosen, as frozen dataclasses of plain numbers; they stop at the pipeline's door."""

from dataclasses import dataclass, field
from typing import Literal

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.training import TrainingConfig

__all__ = [
    "Config",
    "DecodingConfig",
    "PriorConfig",
    "TokenizerConfig",
]

LIMIT = 65_536  # no size of a part may exceed it: a config may come from a stranger's file

SSL = Literal["none", "barlow_twins", "vicreg", "vibcreg"]
Augmentation = Literal["warp", "slice", "gauss"]


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Stage 1: STFT, encoder, quantizer, decoder, and the self-supervised loss on the tokens."""

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
    quantizer: Literal["ema", "gradient"] = "ema"
    """How the codebook learns: moving averages, or the codebook term of the VQ-VAE loss."""
    decay: float = 0.9
    """Memory of the moving averages (ema only)."""
    commitment_weight: float = 1.0
    """Weight of the pull of latents towards their codes."""
    kmeans: bool = True
    """Start the codebook from k-means of the first latents (the authors start from noise)."""
    revival_ratio: float = 0.0
    """A code used less than this share of the uniform count is put back among the data; 0 = off."""
    ssl: SSL = "none"
    """The self-supervised loss between the series and its augmented view."""
    ssl_weight: float = 1.0
    """Weight of the self-supervised loss."""
    augmentation: Augmentation = "warp"
    """How the second view is made: warp + resize, slice + shuffle, or gaussian noise."""
    quantize_view: bool = False
    """Quantise the augmented view too (the authors keep it continuous)."""
    view_weight: float = 0.1
    """Weight of the augmented view's reconstruction; 0 spares rebuilding it."""
    projector_dim: int = 4096
    """Width of the projector that the self-supervised loss looks through."""

    def __post_init__(self) -> None:
        """Check every number."""
        who = "TokenizerConfig"
        check_sizes(self, who, "n_fft", "hop", "edge", "dim", "codebook_size", "projector_dim")
        check_at_least(who, "n_fft", self.n_fft, 2)
        check_at_least(who, "blocks", self.blocks, 0)
        if self.n_fft % 2 or self.n_fft % self.hop:
            raise ValueError(
                f"{who}: n_fft must be even and a multiple of hop; "
                f"got n_fft {self.n_fft}, hop {self.hop}"
            )
        if len(self.widths) not in (1, 2) or not all(1 <= w <= LIMIT for w in self.widths):
            raise ValueError(f"{who}: widths must be one or two numbers >= 1; got {self.widths}")
        if not 1 <= self.edge <= self.n_fft // 2:
            raise ValueError(f"{who}: edge must lie in [1, n_fft / 2]; got {self.edge}")
        check_ratio(who, "decay", self.decay)
        check_ratio(who, "revival_ratio", self.revival_ratio)
        for name in ("commitment_weight", "ssl_weight", "view_weight"):
            check_at_least(who, name, getattr(self, name), 0)


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """Stage 2: the bidirectional transformer that guesses hidden tokens from visible ones."""

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

    def __post_init__(self) -> None:
        """Check every number."""
        who = "PriorConfig"
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


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How new tokens are drawn: steps, randomness of the order and of the tokens, guidance."""

    steps: int = 10
    """Forward passes from all tokens hidden to none."""
    order_temperature: float = 4.0
    """Noise in the choice of which tokens to keep; falls to 0 over the steps."""
    high_order_temperature: float = 4.0
    """The same for the high branch."""
    temperature: float = 1.0
    """Temperature of the tokens' distribution; 0 = the most probable token."""
    guidance: float = 1.0
    """Classifier-free guidance: 1 = none, more = closer to the label."""

    def __post_init__(self) -> None:
        """Check every number."""
        who = "DecodingConfig"
        check_at_least(who, "steps", self.steps, 1)
        for name in ("order_temperature", "high_order_temperature", "temperature", "guidance"):
            check_at_least(who, name, getattr(self, name), 0)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a run can be told, apart from its data."""

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
        """Check every number."""
        check_at_least("Config", "workers", self.workers, 0)


def check_sizes(config: object, who: str, *names: str) -> None:
    """Ask that each named size is at least 1 and at most `LIMIT`."""
    for name in names:
        value = getattr(config, name)
        if not 1 <= value <= LIMIT:
            raise ValueError(f"{who}: {name} must lie in [1, {LIMIT}]; got {value}")
