"""Levels, constants, gaps and missing labels through the whole line: fit, save, load, use, run."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from ssltok._shared.storage import read_folder, write_folder
from ssltok.data import Dataset, read_series
from ssltok.evaluation import evaluate, standard_measures
from ssltok.pipelines import (
    ArtifactError,
    SSLTokenizer,
    TokenizerEncoder,
    run,
    tokenizer_measures,
    tokens_of,
)
from tests.pipelines.small import series, small

LEVELS = np.array([[1e8], [-3e6]])
LABELS = ["a", None, "b", np.nan, "a", "b", None, "b", "a", "b"]


def far() -> Any:
    return series(channels=2).astype(float) + LEVELS


def tiny(**options: Any) -> SSLTokenizer:
    return SSLTokenizer(small(steps=2, ssl="none"), progress=False, **options)


@pytest.fixture(scope="module")
def near_model() -> SSLTokenizer:
    return tiny().fit(series(channels=2), LABELS)


@pytest.fixture(scope="module")
def far_model() -> SSLTokenizer:
    return tiny().fit(far(), LABELS)


def outputs(model: SSLTokenizer, x: Any) -> dict[str, Any]:
    """Everything that has units, given series."""
    gap, short = x.copy(), x[..., :20]
    gap[:, 0, 4:9] = np.nan
    return {
        "reconstruct": model.reconstruct(x),
        "decode": model.decode(model.encode(x)),
        "sample": model.sample(3, "a", seed=1),
        "generate": model.generate(["b", None], seed=1).series.numpy(),
        "impute": model.impute(gap, samples=2),
        "forecast": model.forecast(short, horizon=7),
    }


def test_every_output_has_the_level_of_the_series(
    near_model: SSLTokenizer, far_model: SSLTokenizer
) -> None:
    near, moved = outputs(near_model, series(channels=2)), outputs(far_model, far())
    np.testing.assert_array_equal(near_model.encode(series(channels=2)), far_model.encode(far()))
    for name, x in near.items():
        assert x.dtype == np.float32, name
        assert moved[name].dtype == np.float64, name
        np.testing.assert_allclose(moved[name] - LEVELS, x, atol=1e-3, err_msg=name)
    assert far_model.score(far()) == pytest.approx(near_model.score(series(channels=2)), abs=1e-4)


def test_later_series_are_read_with_the_trained_offset(
    near_model: SSLTokenizer, far_model: SSLTokenizer
) -> None:
    one = series(3, channels=2, seed=5)[1:2]  # its own mean is another one
    for method in ("encode", "transform", "token_vectors"):
        expected = getattr(near_model, method)(one)
        np.testing.assert_allclose(
            getattr(far_model, method)(one.astype(float) + LEVELS), expected, atol=1e-5
        )
    encoder = TokenizerEncoder(far_model.artifact_.tokenizer)
    twin = TokenizerEncoder(near_model.artifact_.tokenizer)
    digests = {encoder.digest(), twin.digest()}
    twin.load_state_dict(encoder.state_dict())
    assert len({*digests, twin.digest()}) == 2
    x = torch.from_numpy(far())
    assert torch.equal(twin(x), encoder(x))
    np.testing.assert_allclose(encoder(x).numpy(), far_model.transform(x), atol=1e-5)


def test_the_offset_is_part_of_the_artefact(
    near_model: SSLTokenizer, far_model: SSLTokenizer, tmp_path: pathlib.Path
) -> None:
    twin = SSLTokenizer.load(far_model.save(tmp_path / "far"))
    for name, x in outputs(far_model, far()).items():
        np.testing.assert_array_equal(outputs(twin, far())[name], x)
    near_model.save(tmp_path / "near")
    names = set(load(read_folder(tmp_path / "near")["model.safetensors"]))
    assert "training.offset" not in names, "without a level an artefact is what it was"
    assert "training.offset" in set(load(read_folder(tmp_path / "far")["model.safetensors"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("offset", torch.full((2,), torch.nan, dtype=torch.float64)),
        ("offset", torch.zeros(3, dtype=torch.float64)),
        ("offset", torch.zeros(2)),
        ("constant", torch.zeros(2)),
        ("constant", torch.zeros(1, 2, dtype=torch.bool)),
    ],
)
def test_a_lying_offset_is_refused(
    far_model: SSLTokenizer, tmp_path: pathlib.Path, name: str, value: torch.Tensor
) -> None:
    files = read_folder(far_model.save(tmp_path / "model"))
    tensors = {**load(files["model.safetensors"]), f"training.{name}": value}
    write_folder(tmp_path / "liar", {**files, "model.safetensors": save(tensors)})
    with pytest.raises(ArtifactError, match=rf"training.{name} of another form"):
        SSLTokenizer.load(tmp_path / "liar")


def test_a_sine_far_away_is_no_constant() -> None:
    x = np.sin(np.arange(40) / 3 + np.arange(8.0)[:, None])
    for level in (1e7, 1e8):
        model = tiny().fit(x + level)
        assert len(np.unique(model.encode(x + level))) > 1
        assert float(np.ptp(model.reconstruct(x + level))) > 1e-3
        assert abs(model.sample(2) - level).max() < 20


def test_a_constant_channel_gives_back_its_constant(tmp_path: pathlib.Path) -> None:
    x = series(channels=4).astype(float)
    levels = {1: 0.0, 2: 0.1, 3: -7e12}
    for channel, level in levels.items():
        x[:, channel] = level
    model = tiny().fit(x, LABELS)
    for which in (model, SSLTokenizer.load(model.save(tmp_path / "model"))):
        for name, y in outputs(which, x).items():
            for channel, level in levels.items():
                assert (y[..., channel, :] == level).all(), name
            assert np.isfinite(y[..., 0, :]).all()


def test_a_channel_that_was_never_measured() -> None:
    x = series(channels=2)
    x[:, 1] = np.nan
    with pytest.raises(ValueError, match=r"^SSLTokenizer.fit: .* only NaN in channel 1 of 2"):
        tiny().fit(x)


def test_a_silent_channel_of_a_later_series_stays_nan(near_model: SSLTokenizer) -> None:
    x = series(3, channels=2)
    x[1, 0] = np.nan
    x[2, 0, 3:6] = np.nan
    short = x[..., :20]
    assert np.isfinite(near_model.transform(x)).all()
    for y in (near_model.reconstruct(x), near_model.impute(x)[0],
              near_model.forecast(short, horizon=5)[0]):  # fmt: skip
        assert np.isnan(y[1, 0]).all()
        y[1, 0] = 0
        assert np.isfinite(y).all()
    assert np.isfinite(near_model.score(x))


def test_masked_values_are_not_read(near_model: SSLTokenizer) -> None:
    x = series(4, channels=2)
    holes = x.copy()
    holes[1, 0, 5:8] = np.nan
    hidden = np.ma.masked_array(np.where(np.isnan(holes), -999, holes), mask=np.isnan(holes))
    np.testing.assert_array_equal(near_model.encode(hidden), near_model.encode(holes))
    np.testing.assert_array_equal(near_model.impute(hidden), near_model.impute(holes))


@pytest.mark.parametrize("nothing", [None, float("nan"), np.datetime64("NaT")])
def test_no_label_is_any_class(near_model: SSLTokenizer, nothing: Any) -> None:
    assert near_model.classes_ == ["a", "b"]
    assert near_model.artifact_.labels.tolist() == [0, -1, 1, -1, 0, 1, -1, 1, 0, 1]
    expected = near_model.sample(2, seed=3)
    np.testing.assert_array_equal(near_model.sample(2, nothing, seed=3), expected)
    x = series(2, channels=2)
    x[:, 0, 3:6] = np.nan
    filled = near_model.impute(x, ["a", nothing])
    np.testing.assert_array_equal(filled, near_model.impute(x, ["a", None]))
    with pytest.raises(ValueError, match=r"known labels \['a', 'b'\]; got 'c'"):
        near_model.impute(x, ["c", nothing])


@pytest.mark.parametrize("ssl", ["supcon", "barlow_twins"])
def test_partly_labelled_series_train(ssl: str, tmp_path: pathlib.Path) -> None:
    model = SSLTokenizer(small(steps=2, ssl=ssl), progress=False).fit(series(), LABELS)
    assert bool(model.histories_["tokenizer"].rows.isfinite().all())
    twin = SSLTokenizer.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(twin.sample(2, "b"), model.sample(2, "b"))
    assert json.loads((tmp_path / "model" / "labels.json").read_text()) == ["a", "b"]
    unlabelled = SSLTokenizer(small(steps=1, ssl=ssl), progress=False)
    if ssl == "supcon":
        with pytest.raises(ValueError, match=r"SupCon must have labels, of some series at least"):
            unlabelled.fit(series(), [None] * 10)
        return
    assert unlabelled.fit(series(), [None] * 10).classes_ == []


def test_targets_are_refused_at_fit() -> None:
    with pytest.raises(ValueError, match=r"^SSLTokenizer.fit: y must hold classes; got 22 diff"):
        tiny().fit(series(22), np.random.default_rng(0).normal(size=22))


def test_n_is_reported_as_it_is(near_model: SSLTokenizer) -> None:
    with pytest.raises(ValueError, match=r"^SSLTokenizer.sample: n must be >= 1; got -5"):
        near_model.sample(-5)
    with pytest.raises(ValueError, match=r"generate: labels must be at least one; got none"):
        near_model.generate([])


def test_channels_last_is_the_same_model(near_model: SSLTokenizer) -> None:
    x = series(channels=2)
    last = tiny(layout="channels_last").fit(x.swapaxes(1, 2), LABELS)
    np.testing.assert_array_equal(last.encode(x.swapaxes(1, 2)), near_model.encode(x))
    np.testing.assert_array_equal(last.transform(x.swapaxes(1, 2)), near_model.transform(x))
    assert last.score(x.swapaxes(1, 2)) == near_model.score(x)
    turned = x.swapaxes(1, 2).copy()
    gap, turned_gap = x.copy(), turned.copy()
    gap[:, 0, 4:9] = turned_gap[:, 4:9, 0] = np.nan
    pairs = [
        (last.reconstruct(turned), near_model.reconstruct(x)),
        (last.decode(last.encode(turned)), near_model.decode(near_model.encode(x))),
        (last.sample(2, "a"), near_model.sample(2, "a")),
        (last.generate(["a"]).series.numpy(), near_model.generate(["a"]).series.numpy()),
        (last.impute(turned_gap, samples=2), near_model.impute(gap, samples=2)),
        (last.forecast(turned[:, :20], horizon=4), near_model.forecast(x[..., :20], horizon=4)),
    ]
    for mine, reference in pairs:
        np.testing.assert_array_equal(np.swapaxes(mine, -1, -2), reference)
    first_tokens, tokens = (
        tokens_of(model, train=x, test=x, generated=x).train for model in (last, near_model)
    )
    np.testing.assert_array_equal(first_tokens, tokens)
    first, second = (
        evaluate(x, x, x, measures=(tokenizer_measures(model),)) for model in (last, near_model)
    )
    assert first["reconstruction MSE"].value == second["reconstruction MSE"].value
    with pytest.raises(ValueError, match=r"layout must be one of channels_first, channels_last"):
        tiny(layout="last").fit(x)


def test_time_second_is_refused_before_training() -> None:
    x = np.random.default_rng(0).normal(size=(50, 24, 28)).cumsum(1)
    with pytest.raises(ValueError, match=r"^SSLTokenizer.fit: .*layout='channels_last' if so"):
        SSLTokenizer().fit(x)


def test_a_run_far_away_and_partly_labelled(tmp_path: pathlib.Path) -> None:
    x = far()[:, :1]
    y = ["a", None, "b", "b", "a", "b", "a", "b", "a", "b"]
    data = Dataset("far", x, y, x[::-1], y[::-1])
    report = run(
        data, small(steps=1, ssl="none"), tmp_path / "out", progress=False, evaluator_steps=0
    )
    assert report["reconstruction MSE"].value < 100, "in units of series of variance 5"
    assert report["linear probe on tokens"].cases == 9
    assert report["nearest neighbour, Euclidean"].value < 100
    with np.load(tmp_path / "out" / "samples.npz") as file:
        assert abs(file["X"] - 1e8).max() < 100
    model = SSLTokenizer.load(tmp_path / "out" / "model")
    rows = evaluate(
        x, x[::-1], model.sample(10), train_labels=y, test_labels=y[::-1],
        tokens=tokens_of(model, train=x, test=x[::-1], generated=x),
        measures=(*standard_measures, tokenizer_measures(model)),
    )  # fmt: skip
    assert rows["codes used"].value > 0


def test_a_tokenizer_scales_sets_of_any_offset(far_model: SSLTokenizer) -> None:
    tokenizer = far_model.artifact_.tokenizer
    one = series(3, channels=2, seed=5)[1:2].astype(float) + LEVELS
    own, trained = read_series(one), read_series(one, offset=tokenizer.offset)
    assert not torch.equal(own.offset, trained.offset)
    a, b = tokenizer.scaled(own), tokenizer.scaled(trained)
    assert torch.equal(a.offset, b.offset)
    torch.testing.assert_close(a.values, b.values, atol=1e-5, rtol=0)
