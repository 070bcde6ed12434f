"""How one stage is trained, as a frozen dataclass of plain numbers."""

from dataclasses import dataclass

from ssltok._shared.checks import check_at_least, check_positive, check_ratio

__all__ = ["TrainingConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One stage of training: AdamW, linear warm-up, cosine to zero, clipping, early stop.

    Raises:
        ValueError: If a field is outside its range.
        TypeError: If a number is not one.
    """

    epochs: int = 1000
    """Passes over the training data (unless `steps` is given)."""
    steps: int = 0
    """Optimizer steps; 0 = as many as the epochs need."""
    batch: int = 128
    """Series in one step, over all processes and accumulation rounds."""
    accumulation: int = 1
    """Rounds of backward that make one step."""
    learning_rate: float = 1e-3
    """Highest learning rate."""
    weight_decay: float = 1e-3
    """AdamW's decoupled weight decay."""
    warmup_ratio: float = 0.0
    """Share of the steps in which the learning rate rises linearly."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 = no clipping."""
    holdout_ratio: float = 0.0
    """Share of the training series held out to decide the early stop."""
    validate_every: int = 50
    """Steps between two looks at the held-out series."""
    patience: int = 0
    """Looks without improvement before training stops; 0 = never."""
    checkpoint_every: int = 200
    """Steps between two checkpoints (kept only while the run lasts)."""

    def __post_init__(self) -> None:
        """Check every number."""
        who = "TrainingConfig"
        for name in ("epochs", "batch", "accumulation", "validate_every", "checkpoint_every"):
            check_at_least(who, name, getattr(self, name), 1)
        for name in ("steps", "patience", "clip", "weight_decay"):
            check_at_least(who, name, getattr(self, name), 0)
        check_positive(who, "learning_rate", self.learning_rate)
        check_ratio(who, "warmup_ratio", self.warmup_ratio)
        if not 0 <= self.holdout_ratio < 1:
            raise ValueError(f"{who}: holdout_ratio must lie in [0, 1); got {self.holdout_ratio}")
        if self.batch % self.accumulation:
            raise ValueError(
                f"{who}: batch must be a multiple of accumulation; "
                f"got {self.batch} and {self.accumulation}"
            )
        if self.patience and not self.holdout_ratio:
            raise ValueError(f"{who}: patience needs held-out series; got holdout_ratio 0")
