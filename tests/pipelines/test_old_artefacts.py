"""Folders written by 0.1 (commit 8935227) load, and give what they gave there."""

import pathlib

import numpy as np
import pytest

from ssltok.pipelines import PartError, SSLTokenizer
from ssltok.quantizers import FSQ

FOLDER = pathlib.Path(__file__).parents[1] / "data" / "artefacts"
NAMES = ("compact", "demo", "nc_vqvae", "timevqvae")
ROUNDING = 1e-5  # the bits are equal on the machine that wrote them; others sum in other orders


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_what_it_gave(name: str, tmp_path: pathlib.Path) -> None:
    model = SSLTokenizer.load(FOLDER / name)
    with np.load(FOLDER / f"{name}.npz") as then:
        expected = {key: then[key] for key in then.files}
    again = SSLTokenizer.load(model.save(tmp_path / "now"))  # in today's format
    for loaded in (model, again):
        x = expected["X"]
        np.testing.assert_array_equal(loaded.encode(x), expected["codes"])
        found = {
            "embeddings": loaded.transform(x),
            "rebuilt": loaded.reconstruct(x),
            "samples": loaded.generate([0, 1, 2, None, 1], seed=5).series.numpy(),
        }
        for key, values in found.items():
            np.testing.assert_allclose(values, expected[key], rtol=0, atol=ROUNDING, err_msg=key)
    assert again.config_ == model.config_
    assert again.classes_ == model.classes_ == [0, 1, 2]


def test_a_part_that_nothing_asks_for_is_refused() -> None:
    said = r"^load_artifact: parts must be none where the folder is of 0.1, .*got \['tokenizer.x'\]"
    with pytest.raises(PartError, match=said):
        SSLTokenizer.load(FOLDER / "demo", parts={"tokenizer.x": FSQ([3])})
    said = r"^load_artifact: parts must stand at places that begin with tokenizer, prior, deco.*'x'"
    with pytest.raises(PartError, match=said):
        SSLTokenizer.load(FOLDER / "demo", parts={"x": FSQ([3])})
