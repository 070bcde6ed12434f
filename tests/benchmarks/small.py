"""A data set and settings that cost little."""

import pathlib

import numpy as np

from ssltok.data import Dataset
from tests.pipelines.small import series

__all__ = ["BARLOW", "saved", "toy"]

BARLOW = "one+barlow_twins+warp"


def toy(cases: int = 12, test: int = 16) -> Dataset:
    """Waves of two classes; every second series is of class 0."""
    return Dataset(
        "toy",
        series(cases), (np.arange(cases) % 2).tolist(),
        series(test, seed=1), (np.arange(test) % 2).tolist(),
    )  # fmt: skip


def saved(folder: pathlib.Path, data: Dataset) -> None:
    """Write a set as the studies read it, under its name."""
    np.savez(
        folder / f"{data.name}.npz", X_train=data.train, y_train=np.asarray(data.train_labels),
        X_test=data.test, y_test=np.asarray(data.test_labels),
    )  # fmt: skip
