"""`SSLTokenizer`: every kind of data works or is refused before training; artefacts are safe."""

import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch.nn.functional import adaptive_avg_pool1d

from ssltok._shared.storage import read_folder, to_json, write_folder
from ssltok.pipelines import ArtifactError, SSLTokenizer, TokenizerConfig, nc_vqvae
from tests.pipelines.small import series, small

LABELS = ["a", "b"] * 5


@pytest.fixture(scope="module")
def model() -> SSLTokenizer:
    return SSLTokenizer(small(), seed=1).fit(series(), LABELS)


@pytest.fixture(scope="module")
def saved(model: SSLTokenizer, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return model.save(tmp_path_factory.mktemp("saved") / "model")


def test_shapes_and_units(model: SSLTokenizer) -> None:
    x = series(4, seed=9)
    codes = model.encode(x)
    assert codes.shape == (4, model.tokens_)
    assert codes.dtype == np.int64
    assert codes.min() >= 0
    assert codes.max() < 6
    assert model.transform(x).shape == (4, 8)
    rebuilt = model.reconstruct(x)
    assert rebuilt.shape == x.shape
    assert abs(rebuilt.mean() - 5.0) < 2.0, "original units: the series have mean 5"
    np.testing.assert_array_equal(model.decode(codes), rebuilt)
    assert model.sample(3, label="a").shape == (3, 1, 33)


def test_embeddings_are_mean_code_vectors(model: SSLTokenizer) -> None:
    x = series(3, seed=2)
    tokenizer = model.artifact_.tokenizer
    book = tokenizer.parts[0].quantizer.codebook.detach()
    expected = torch.stack([book[torch.from_numpy(row)].mean(0) for row in model.encode(x)])
    torch.testing.assert_close(torch.from_numpy(model.transform(x)), expected)


def test_embeddings_of_stretches_say_when_and_come_back(tmp_path: pathlib.Path) -> None:
    x = series(6, seed=2)
    model = SSLTokenizer(small(stretches=3, steps=1)).fit(x)
    tokenizer = model.artifact_.tokenizer
    book = tokenizer.parts[0].quantizer.codebook.detach()
    vectors = book[torch.from_numpy(model.encode(x))].mT.unflatten(2, tokenizer.grids[0])
    expected = adaptive_avg_pool1d(vectors.mean(dim=2), 3).mT.flatten(1)
    torch.testing.assert_close(torch.from_numpy(model.transform(x)), expected)
    loaded = SSLTokenizer.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.transform(x), model.transform(x))
    assert model.set_output(transform="pandas").transform(x).shape == expected.shape


def test_token_vectors_are_the_codebook_at_the_codes(model: SSLTokenizer) -> None:
    x = series(3, seed=2)
    book = model.artifact_.tokenizer.parts[0].quantizer.codebook.detach().numpy()
    np.testing.assert_array_equal(model.token_vectors(x), book[model.encode(x)])


def test_use_changes_nothing(model: SSLTokenizer) -> None:
    parts = (model.artifact_.tokenizer, model.artifact_.prior)
    before = [{k: v.clone() for k, v in part.state_dict().items()} for part in parts]
    noise, modes = torch.get_rng_state(), [part.training for part in parts]
    model.encode(series()), model.transform(series()), model.reconstruct(series())
    model.sample(2, label="b"), model.sample(2)
    for part, state in zip(parts, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in part.state_dict().items())
    assert torch.equal(noise, torch.get_rng_state())
    assert modes == [part.training for part in parts] == [False, False]


def test_a_case_does_not_depend_on_its_batch(model: SSLTokenizer) -> None:
    x = series(7, seed=3)
    together = model.transform(x)
    apart = np.concatenate([model.transform(x[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_sampling_repeats(model: SSLTokenizer) -> None:
    np.testing.assert_array_equal(model.sample(2, seed=7), model.sample(2, seed=7))
    assert (model.sample(2, seed=7) != model.sample(2, seed=8)).any()
    with pytest.raises(ValueError, match=r"SSLTokenizer.sample: y must hold known labels"):
        model.sample(1, label="c")
    with pytest.raises(ValueError, match=r"n must be >= 1; got 0"):
        model.sample(0)


def test_habits_of_scikit_learn(model: SSLTokenizer) -> None:
    fresh = clone(model)
    assert fresh.get_params()["seed"] == 1
    with pytest.raises(NotFittedError, match=r"must be fitted or loaded first"):
        fresh.encode(series())
    line = make_pipeline(SSLTokenizer(small(steps=1)), LogisticRegression())
    assert line.fit(series(), LABELS).predict(series(3)).shape == (3,)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (series(6, length=8), None),
        (series(6, channels=3), [0, 1, 2] * 2),
        (np.ones((4, 1, 20), dtype=np.float32), None),
        (series(6), ["only"] * 6),
        (series(6), [3, "b", None] * 2),
        ([*series(3, length=40), *series(3, length=25, seed=1)], [True, False] * 3),
        (torch.from_numpy(series(6)[:, 0]), torch.tensor([3, 5] * 3)),
    ],
    ids=["short", "channels", "constant", "one class", "mixed labels", "unequal", "tensor"],
)
@pytest.mark.parametrize("widths", [(4,), (2, 4)])
def test_every_kind_of_data_works(x: Any, y: Any, widths: tuple[int, ...]) -> None:
    model = SSLTokenizer(small(steps=1, widths=widths)).fit(x, y)
    drawn = model.sample(2, label=None if y is None else model.classes_[0])
    assert drawn.shape == (2, *model.reconstruct(x).shape[1:])
    assert np.isfinite(drawn[~np.isnan(drawn)]).all()


def test_one_series_trains_without_ssl_and_is_refused_with_it() -> None:
    assert SSLTokenizer(small(steps=1, ssl="none")).fit(series(1)).tokens_ > 0
    with pytest.raises(ValueError, match=r"the SSL loss needs at least 2 series; got 1"):
        SSLTokenizer(small()).fit(series(1))


def test_ten_thousand_points() -> None:
    model = SSLTokenizer(small(steps=1, ssl="none", blocks=0)).fit(series(2, length=10_000))
    assert model.artifact_.tokenizer.grids[0][1] <= 12
    assert model.sample(1).shape == (1, 1, 10_000)


def test_missing_values_are_not_learned() -> None:
    x = series(10)
    holes = x.copy()
    holes[::2, 0, 5:9] = np.nan
    filled = np.stack([np.interp(np.arange(33), np.flatnonzero(~np.isnan(r)), r[~np.isnan(r)])
                       for r in holes[:, 0]])[:, None]  # fmt: skip
    model = SSLTokenizer(small()).fit(holes)
    np.testing.assert_array_equal(model.encode(holes), model.encode(filled.astype(np.float32)))
    assert not np.isnan(model.reconstruct(holes)).any()


def test_unequal_lengths_come_back_with_their_own_ends() -> None:
    x = [*series(4, length=40), *series(4, length=20, seed=1)]
    model = SSLTokenizer(small()).fit(x, ["long"] * 4 + ["short"] * 4)
    ends = np.isnan(model.reconstruct(x)[:, 0]).sum(axis=1)
    assert ends.tolist() == [0] * 4 + [20] * 4
    assert (model.encode(x)[4:] == -1).any(axis=1).all()
    assert np.isnan(model.sample(2, label="short")[:, 0]).sum(axis=1).tolist() == [20, 20]
    assert np.isnan(model.sample(1, lengths=[33])[0, 0]).sum() == 7


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (series(4, length=7), None, r"at least 8 samples; got 7"),
        (np.full((2, 1, 9), np.inf), None, r"values must be finite; got infinity"),
        (series(4), ["a"] * 3, r"one label for each series; got 3 for 4"),
        ([], None, r"at least one series; got none"),
    ],
)
def test_refused_before_training(x: Any, y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^SSLTokenizer.fit: .*{said}"):
        SSLTokenizer(small()).fit(x, y)


def test_unknown_preset() -> None:
    with pytest.raises(ValueError, match=r"preset must be one of .* or a Config; got 'big'"):
        SSLTokenizer("big").fit(series())


def test_saved_and_loaded_it_is_the_same(model: SSLTokenizer, saved: pathlib.Path) -> None:
    twin = SSLTokenizer.load(saved)
    np.testing.assert_array_equal(twin.encode(series()), model.encode(series()))
    np.testing.assert_array_equal(twin.sample(2, "b", seed=3), model.sample(2, "b", seed=3))
    assert twin.classes_ == ["a", "b"]
    assert twin.provenance_["seed"] == 1
    with pytest.raises(FileExistsError, match=r"the folder must not exist"):
        model.save(saved)


@pytest.mark.parametrize("label", [("a", 1), b"a", np.datetime64("2020-01-01"), float("inf")])
def test_labels_that_cannot_be_saved_are_refused_before_training(label: Any) -> None:
    with pytest.raises(TypeError, match=r"^SSLTokenizer.fit: labels must be texts, .*to be saved"):
        SSLTokenizer(small(steps=10**6)).fit(series(4), [label, "b"] * 2)


def _changed(saved: pathlib.Path, folder: pathlib.Path, **changes: Any) -> pathlib.Path:
    """A folder that is whole, but says something else."""
    files = read_folder(saved)
    config = json.loads(files["config.json"])
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = config
        for parent in parents:
            place = place[int(parent) if parent.isdecimal() else parent]
        place[last] = value
    shutil.rmtree(folder, ignore_errors=True)
    return write_folder(folder, {**files, "config.json": to_json(config)})


ENCODER = "tokenizer__options__branches__0__options__encoder"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 3}, r"format 3, where this version reads 1 and 2"),
        ({"format": 1}, r"a config.json of another form"),
        ({"length": -1}, r"length -1 in config.json"),
        ({"channels": 10**12}, r"channels 1000000000000 in config.json"),
        ({"classes": 5}, r"a labels.json of another form"),
        ({f"{ENCODER}__options__bins": 9}, r"(refuses its options|of shape)"),
        ({f"{ENCODER}__options__dim": 60000}, r"asks for more than"),
        ({f"{ENCODER}__options__blocks": 2}, r"tensors missing or added"),
        ({f"{ENCODER}__options__blocks": 10**9}, r"numbers must be at most"),
        ({f"{ENCODER}__options__blocks": 1e999}, r"numbers must be at most"),
        ({f"{ENCODER}__options__depth": 1}, r"must have its own options; got \['depth'\]"),
        ({f"{ENCODER}__module": "os.system"}, r"must be public in ssltok; got 'os.system'"),
        ({f"{ENCODER}__module": "ssltok.data.load_dataset"}, r"must be public in ssltok"),
        ({f"{ENCODER}__module": "ssltok.losses.vicreg_loss"}, r"must be a module's class"),
        ({"decoding__sample__call": "ssltok.nn.mean_pool"}, r"a function that makes rules"),
        ({"decoding__steps": -1}, r"-1 decoding steps"),
        ({"decoding__orders": {"tuple": []}}, r"orders that are not as many as branches"),
        ({"config__tokenizer__quantizer": "os.system"}, r"config.tokenizer.quantizer: must be one"),
        ({"config__prior__depht": 3}, r"got 'depht' \(did you mean depth\?\)"),
        ({"extra": 1}, r"a config.json of another form"),
    ],
)
def test_a_lying_config_is_refused(
    saved: pathlib.Path, tmp_path: pathlib.Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ArtifactError, match=said):
        SSLTokenizer.load(_changed(saved, tmp_path / "liar", **changes))


def test_foreign_and_truncated_folders_are_refused(
    saved: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shutil.copytree(saved, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"model.safetensors, which is truncated or changed"):
        SSLTokenizer.load(tmp_path / "cut")
    write_folder(tmp_path / "foreign", {"config.json": b"{}"})
    with pytest.raises(ArtifactError, match=r"the files \['config.json'\], not"):
        SSLTokenizer.load(tmp_path / "foreign")
    with pytest.raises(ArtifactError, match=r"no such folder"):
        SSLTokenizer.load(tmp_path / "nothing")


def test_presets_are_built_from_their_numbers() -> None:
    assert nc_vqvae("none").tokenizer == TokenizerConfig(
        ssl="none", ssl_weight=0.0, augmentation="slice"
    )
