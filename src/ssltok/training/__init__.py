"""One engine for every stage: keyed randomness, checkpoints, ranks, precision, progress."""

from ssltok.training._checkpoints import History
from ssltok.training._config import TrainingConfig
from ssltok.training._engine import Stage, build_accelerator, train_stage
from ssltok.training._randomness import keyed_generator, keyed_seed, ordered_batch

__all__ = [
    "History",
    "Stage",
    "TrainingConfig",
    "build_accelerator",
    "keyed_generator",
    "keyed_seed",
    "ordered_batch",
    "train_stage",
]
