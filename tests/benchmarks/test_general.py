"""The training of the general tokenizer and its study, on next to nothing."""

import json
import pathlib
from typing import Any

import benchmarks.general.__main__ as training
import numpy as np
import pytest
import torch
from benchmarks.general._pool import FAMILIES, shipped_pool, synthetic_pool
from benchmarks.general._views import draw_views, mixed_sources
from benchmarks.studies import general as study

from ssltok.pipelines import SSLTokenizer
from ssltok.pipelines._general._codec import GeneralCodec
from tests.pipelines import general_model


def small_codec() -> GeneralCodec:
    return GeneralCodec(hidden_dim=8, decoder_dim=8, widths=(4, 4), codebook_size=1024)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BATCH", 4)
    monkeypatch.setattr(training, "EVERY", 1)
    monkeypatch.setattr(training, "GeneralCodec", small_codec)
    monkeypatch.setattr(training, "shipped_pool", lambda: synthetic_pool(7, 0.003))


def train(monkeypatch: pytest.MonkeyPatch, out: pathlib.Path, *words: str) -> dict[str, Any]:
    words = ("--out", str(out), "--share", "0.003", *words)
    monkeypatch.setattr("sys.argv", ["general", *words])
    threads = torch.get_num_threads()
    try:
        training.main()
    finally:
        torch.set_num_threads(threads)
    state: dict[str, Any] = torch.load(out / "checkpoint.pt", weights_only=True)
    return state


@pytest.mark.usefixtures("quick")
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(monkeypatch, tmp_path / "whole", "--steps", "4")
    assert train(monkeypatch, tmp_path / "parts", "--steps", "4", "--stop", "2")["step"] == 2
    parts = train(
        monkeypatch, tmp_path / "parts", "--steps", "4", "--export", str(tmp_path / "model")
    )
    assert parts["step"] == 4
    for name, value in whole["learner"].items():
        assert torch.equal(value, parts["learner"][name]), name
    rows = [json.loads(line) for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(np.isfinite(row["error"]) for row in rows)
    model = SSLTokenizer.from_pretrained(tmp_path / "model")
    assert model.about_["training"]["steps of 64 pairs of frames"] == 4
    with pytest.raises(SystemExit, match="another seed or share"):
        train(monkeypatch, tmp_path / "parts", "--seed", "1")


def test_the_rate_rises_stays_and_falls_over_the_last_quarter() -> None:
    rates = [training.learning_rate(step, 4000) for step in (0, 99, 199, 2999, 3500, 3999)]
    np.testing.assert_allclose(rates, [5e-6, 5e-4, 1e-3, 1e-3, 5e-4, 1e-5])
    assert training.learning_rate(1000, 4000) == training.learning_rate(1000, 9000)


def test_what_it_learns_from() -> None:
    synthetic = synthetic_pool(0, 0.005)
    assert synthetic.shape[1] == 512
    assert len(synthetic) == sum(int(0.005 * count) for _, count, _ in FAMILIES.values())
    torch.testing.assert_close(synthetic.mean(1), torch.zeros(len(synthetic)), atol=1e-4, rtol=0)
    assert torch.equal(synthetic, synthetic_pool(0, 0.005))
    assert not torch.equal(synthetic, synthetic_pool(1, 0.005))


def test_the_training_parts_that_sktime_ships() -> None:
    pytest.importorskip("sktime")
    shipped = shipped_pool()
    assert shipped.shape[1] == 512
    assert 3000 < len(shipped) < 8000
    assert bool(shipped.isfinite().all())


def test_views_are_scaled_where_they_are_observed() -> None:
    generator = torch.Generator().manual_seed(0)
    pool = synthetic_pool(0, 0.005)
    gaps = 0
    for _ in range(12):
        sources = mixed_sources(pool, pool, cases=5, generator=generator)
        views = draw_views(sources, generator=generator)
        series, observed, patch = views
        assert series.shape[0] == 10
        assert series.shape[1] % patch == 0
        assert 8 <= patch <= 32
        count = observed.sum(1)
        known = torch.where(observed, series, 0.0)
        torch.testing.assert_close(known.sum(1) / count, torch.zeros(10), atol=1e-4, rtol=0)
        torch.testing.assert_close(known.square().sum(1) / count, torch.ones(10), atol=1e-2, rtol=0)
        gaps += not bool(observed.all())
    assert 0 < gaps < 12


def test_labels_are_a_share_with_every_class() -> None:
    y = np.array([0] * 90 + [1] * 8 + [2] * 2)
    assert study.some_labels(y, 1.0, 0).tolist() == list(range(100))
    for share, wanted in ((0.1, 10), (0.01, 3)):
        chosen = study.some_labels(y, share, 1)
        assert len(chosen) == len(set(chosen.tolist())) == wanted
        assert set(y[chosen]) == {0, 1, 2}
    assert study.some_labels(y, 0.1, 1).tolist() != study.some_labels(y, 0.1, 2).tolist()


def test_peers_by_hand() -> None:
    part = np.array([[1.0, -1.0, 3.0, 1.0]])
    np.testing.assert_allclose(study.cosines(part, part, 4, 20), part, atol=1e-4)
    np.testing.assert_allclose(study.cosines(part, part, 1, 20), np.ones((1, 4)), atol=1e-4)
    np.testing.assert_allclose(study.pieces(part, part, 2, 20), [[0, 0, 2, 2]], atol=1e-4)
    numbers = np.array([[-1.0, -0.4, 0.4, 0.99, 5.0]])
    np.testing.assert_allclose(study.uniform(numbers, np.ones(5), 1), [[-0.5, -0.5, 0.5, 0.5, 0.5]])
    known = np.array([[0.0, 2.0, np.nan]])
    assert study.explained(known, np.array([[0.0, 1.0, 9.0]])) == 0.5


def test_the_study_runs_and_goes_on(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    random, model = np.random.default_rng(0), general_model.folder(tmp_path)
    y = np.arange(12) % 2
    X = np.sin(np.arange(40) * (1 + y[:, None]) / 3) + 0.1 * random.standard_normal((12, 40))
    X = X[:, None].astype(np.float32)
    X[0, 0, 30:] = np.nan
    np.savez(tmp_path / "waves.npz", X_train=X, X_test=X[::-1], y_train=y, y_test=y[::-1])
    monkeypatch.setattr(study, "catch22", study.raw)  # aeon is no part of the project
    monkeypatch.setattr(study, "speed", lambda model: [{"length": 100, "encode": 7}])
    monkeypatch.setattr(study, "RATES", [(16, 2)])
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--sets", "waves"]
    words += ["--model", str(model), "--untrained", str(model), "--minutes", "0.001"]
    threads = torch.get_num_threads()
    for times in range(2):
        monkeypatch.setattr("sys.argv", ["general", *words])
        study.main()
        torch.set_num_threads(threads)
        shown = capsys.readouterr().out
        assert ("waves tokens" in shown) == (times == 0)
        assert "| waves | " in shown
    rows = study.read(tmp_path / "out" / "probe.csv")
    assert len(rows) == 5 * 3
    rates = study.read(tmp_path / "out" / "rate.csv")
    assert [row["patch"] for row in rates] == ["default", "16"]
    assert float(rates[1]["bits"]) == pytest.approx(
        30 + 3 * 2 * 10 - 20 / 12
    )  # one series has two patches
