"""A labelled set with both parts, and a model of it, made by the command."""

import numpy as np
import pytest

from ssltok.cli import main
from ssltok.evaluation import series_measures
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


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs with one group of measures and one figure: what is asked here is not the report."""
    from ssltok.evaluation import _report_figures
    from ssltok.pipelines import _run

    drawn = _report_figures._pictures
    monkeypatch.setattr(
        _report_figures, "_pictures", lambda sets: dict(list(drawn(sets).items())[:1])
    )
    monkeypatch.setattr(_run, "standard_measures", (series_measures,))
    monkeypatch.setattr(_run, "tokenizer_measures", lambda model: lambda sets: [])
    monkeypatch.setattr("ssltok.cli._commands.HEADLINES", ())
