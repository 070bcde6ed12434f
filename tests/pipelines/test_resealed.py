"""Artefacts whose seals are whole and whose numbers are not: refused at once, by name."""

import json
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from ssltok._shared.storage import read_folder, write_folder
from ssltok.pipelines import ArtifactError, SSLTokenizer
from tests.pipelines.small import series, small

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    model = SSLTokenizer(small(1)).fit(series(), ["a", "b"] * 5)
    return model.save(tmp_path_factory.mktemp("models") / "model")


def text(name: str, change: Callable[[Any], Any]) -> Callable[[Files], None]:
    def harm(files: Files) -> None:
        files[name] = json.dumps(change(json.loads(files[name]))).encode()

    return harm


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Files], None]:
    def harm(files: Files) -> None:
        tensors = load(files["model.safetensors"])
        first = next(k for k in sorted(tensors) if name in k)
        tensors[first] = change(tensors[first])
        files["model.safetensors"] = save(tensors)

    return harm


def everywhere(plain: Any, key: str, value: Any) -> Any:
    """The same with this value at every key of this name."""
    if isinstance(plain, dict):
        return {k: value if k == key else everywhere(v, key, value) for k, v in plain.items()}
    return [everywhere(v, key, value) for v in plain] if isinstance(plain, list) else plain


def config(key: str, value: Any) -> Callable[[Files], None]:
    return text("config.json", lambda plain: everywhere(plain, key, value))


def first_nan(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x.view(-1)[0] = torch.nan
    return x


HARMS: dict[str, Callable[[Files], None]] = {
    "blocks 1e9": config("blocks", 10**9),
    "blocks 1e9 as a float": config("blocks", 1e9),
    "blocks just allowed": config("blocks", 2**20),
    "depth just allowed": config("depth", 2**20),
    "dim just allowed": config("dim", 2**20),
    "dim too small": config("dim", 4),
    "codebook just allowed": config("codebook_size", 2**20),
    "negative blocks": config("blocks", -1),
    "length 0": config("length", 0),
    "infinite length": config("length", float("inf")),
    "seed Infinity": text("provenance.json", lambda p: {**p, "seed": float("inf")}),
    "seed NaN": text("provenance.json", lambda p: {**p, "seed": float("nan")}),
    "seed a text": text("provenance.json", lambda p: {**p, "seed": "1"}),
    "seed a list": text("provenance.json", lambda p: {**p, "seed": [1]}),
    "seed too large": text("provenance.json", lambda p: {**p, "seed": 10**30}),
    "provenance a list": text("provenance.json", lambda p: [p]),
    "lengths -3": tensor("training.lengths", lambda x: x - x - 3),
    "lengths 0": tensor("training.lengths", lambda x: x * 0),
    "lengths beyond the model": tensor("training.lengths", lambda x: x + 1),
    "lengths as floats": tensor("training.lengths", lambda x: x.float()),
    "lengths of another count": tensor("training.lengths", lambda x: x[:-1].clone()),
    "labels of another count": tensor("training.labels", lambda x: torch.cat([x, x])),
    "labels of no class": tensor("training.labels", lambda x: x + 2),
    "labels of one class alone": tensor("training.labels", lambda x: x * 0),
    "labels below -1": tensor("training.labels", lambda x: x - 3),
    "no labels": tensor("training.labels", lambda x: x[:0].clone()),
    "a class more": text("labels.json", lambda p: [*p, "c"]),
    "equal classes": text("labels.json", lambda p: [p[0], p[0]]),
    "a class that is a list": text("labels.json", lambda p: [p[0], [1]]),
    "a class that is NaN": text("labels.json", lambda p: [p[0], float("nan")]),
    "NaN weights of the tokenizer": tensor("weight", first_nan),
    "infinite weights": tensor("bias", lambda x: x / 0.0),
    "a NaN scale": tensor("scaler.", first_nan),
    "weights of another shape": tensor("weight", lambda x: x[:1].clone()),
    "weights of another type": tensor("weight", lambda x: x.double()),
}


@pytest.mark.parametrize("name", HARMS)
def test_a_resealed_artefact_is_refused_at_once(
    sealed: pathlib.Path, tmp_path: pathlib.Path, name: str
) -> None:
    files = read_folder(sealed)
    HARMS[name](files)
    write_folder(tmp_path / "model", files)
    began = time.process_time()
    with pytest.raises(ArtifactError) as said:
        SSLTokenizer.load(tmp_path / "model")
    assert time.process_time() - began < 5
    assert str(said.value).startswith(str(tmp_path / "model"))
    assert "\n" not in str(said.value)


def test_what_is_whole_is_read(sealed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shutil.copytree(sealed, tmp_path / "model")
    state = torch.random.get_rng_state()
    one = SSLTokenizer.load(sealed)
    torch.random.set_rng_state(state)
    other = SSLTokenizer.load(tmp_path / "model")
    assert (one.sample(2, "a") == other.sample(2, "a")).all()
