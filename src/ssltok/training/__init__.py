"""One engine for every stage, and objectives: what is learned from views."""

from ssltok.training._checkpoints import History
from ssltok.training._config import TrainingConfig
from ssltok.training._engine import Stage, build_accelerator, train_stage
from ssltok.training._objectives._barlow_twins import BarlowTwins
from ssltok.training._objectives._protocol import Objective, ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._vibcreg import VIbCReg
from ssltok.training._objectives._vicreg import VICReg
from ssltok.training._randomness import keyed_generator, keyed_seed, ordered_batch, seeded

__all__ = [
    "BarlowTwins",
    "History",
    "Objective",
    "ObjectiveBatch",
    "ObjectiveOutput",
    "Stage",
    "TrainingConfig",
    "VICReg",
    "VIbCReg",
    "build_accelerator",
    "keyed_generator",
    "keyed_seed",
    "ordered_batch",
    "seeded",
    "train_stage",
]
