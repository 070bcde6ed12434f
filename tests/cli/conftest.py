"""A labelled set with both parts, and a model of it, made by the command."""

import numpy as np
import pytest

from ssltok.cli import main
from tests.cli.words import SMALL
from tests.pipelines.small import series


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "waves.npz"
    y = np.array(["low", "high"] * 6)
    np.savez(path, X_train=series(12), y_train=y, X_test=series(12, seed=1), y_test=y)
    return str(path)


@pytest.fixture(scope="module")
def model(data: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("fit") / "model"
    main(["fit", "--data", data, "--out", str(out), *SMALL])
    return str(out)
