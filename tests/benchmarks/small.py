"""A data set and settings that cost little."""

import numpy as np

from ssltok.data import Dataset
from tests.pipelines.small import series

__all__ = ["BARLOW", "toy"]

BARLOW = "one+barlow_twins+warp"


def toy(cases: int = 12, test: int = 16) -> Dataset:
    """Waves of two classes; every second series is of class 0."""
    return Dataset(
        "toy",
        series(cases), (np.arange(cases) % 2).tolist(),
        series(test, seed=1), (np.arange(test) % 2).tolist(),
    )  # fmt: skip
