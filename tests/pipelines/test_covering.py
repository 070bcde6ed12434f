"""The line composes: every pair of parts trains, saves, loads, encodes, samples and resumes.

`make test` runs a fifteenth of the rows, `make test-all` (SSLTOK_ALL=1) all of them.
"""

import dataclasses
import shutil
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from torch import Tensor

from ssltok.decoding import (
    confidence_order,
    entropy_order,
    fixed_order,
    halton_places,
    margin_order,
    random_order,
)
from ssltok.nn import average_max_pool, mean_pool
from ssltok.pipelines import Config, PriorConfig, SSLTokenizer, TokenizerConfig
from tests.pipelines.covering import covering_rows, pairs_of, tenth
from tests.pipelines.small import series, small, varied

LENGTH, CHANNELS, CASES = 32, 2, 12
WORDS = get_type_hints(TokenizerConfig)
IN_TIME = ("conv", "patch", "transformer")
BY_TOKEN = ("ts2vec", "mae", "beit", "data2vec", "ibot", "nepa", "lenepa", "capi", "vicregl")
ONE_VIEW = ("none", "ts2vec", "mae", "beit", "data2vec", "nepa", "lenepa", "capi")


LABELLED = ("supcon", "multi_similarity", "labelled_nt_xent")


def halton_order(grid: tuple[int, ...]) -> Any:
    """Tokens spread over the grid."""
    return fixed_order(halton_places(grid))


SEVERAL = ("grouped", "residual", "multi_scale")
ORDERS: dict[str, Any] = {
    "confidence": partial(confidence_order, temperature=2.0),
    "random": random_order(),
    "halton": partial(halton_order),
    "margin": margin_order(),
    "entropy": entropy_order(),
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "ssl": get_args(WORDS["ssl"]),
    "quantizer": get_args(WORDS["quantizer"]),
    "coder": get_args(WORDS["coder"]),
    "order": tuple(ORDERS),
    "prior": get_args(get_type_hints(PriorConfig)["architecture"]),
    "channels": ("joint", "by channel"),
    "compared": ("series and views", "views"),
    "pool": ("pooled", "mean", "tokens"),
    "quantized": ("first", "all", "none"),
    "bands": (1, 2),
    "ends": ("whole", "ragged"),
    "labels": ("labels", "none"),
}


def allowed(row: dict[str, Any]) -> bool:
    """What cannot be: two bands of a series in time; pooled tokens for what needs each of them."""
    if row.get("bands") == 2 and row.get("coder") in IN_TIME:
        return False
    return not (row.get("ssl") in BY_TOKEN and row.get("pool") in ("pooled", "mean"))


ROWS = {" ".join(map(str, row.values())): row for row in covering_rows(CHOICES, allowed)}


def test_every_pair_is_covered() -> None:
    wanted = set(pairs_of(CHOICES, allowed))
    covered = {
        pair
        for row in ROWS.values()
        for pair in pairs_of({k: (v,) for k, v in row.items()}, allowed)
    }
    assert covered == wanted
    assert all(allowed(row) for row in ROWS.values())
    assert len(wanted) == 2455
    most = len(CHOICES["ssl"]) * len(CHOICES["quantizer"])  # no array has fewer rows than this
    assert most <= len(ROWS) <= 1.25 * most
    assert [*ROWS] == [" ".join(map(str, row.values())) for row in covering_rows(CHOICES, allowed)]
    assert tenth([*ROWS])


def config_of(row: dict[str, Any]) -> Config:
    several = row["quantizer"] in SEVERAL
    config = small(
        batch=8,
        coder=row["coder"],
        channelwise=row["channels"] == "by channel",
        quantizer=row["quantizer"],
        codes_per_token=2 if several else 1,
        ssl=row["ssl"],
        codebook_size=8,
        widths=(4,) * row["bands"],
        projector_dim=8,
    )
    return varied(config, prior=dataclasses.replace(config.prior, architecture=row["prior"]))


def parts_of(row: dict[str, Any]) -> dict[str, Any]:
    views = 1 if row["ssl"] in ONE_VIEW else 2
    start = 0 if row["compared"] == "series and views" else 1
    flags = {"first": (True, *[False] * (views - 1)), "all": (True,) * views}
    pools: dict[str, Any] = {"pooled": average_max_pool, "mean": mean_pool, "tokens": "tokens"}
    return {
        "compared": tuple(range(start, start + views)),
        "quantized": flags.get(row["quantized"], (False,) * views),
        "pool": pools[row["pool"]],
        "order": ORDERS[row["order"]],
    }


def data_of(row: dict[str, Any]) -> tuple[Any, Any]:
    x: Any = series(CASES, channels=CHANNELS, length=LENGTH)
    if row["ends"] == "ragged":
        x = [one[:, : LENGTH - 2 * (i % 5)] for i, one in enumerate(x)]
    labelled = row["labels"] == "labels" or row["ssl"] in LABELLED  # which are nothing without any
    return x, list("abcb" * (CASES // 4)) if labelled else None


def fitted(row: dict[str, Any], folder: Path) -> SSLTokenizer:
    x, y = data_of(row)
    model = SSLTokenizer(config_of(row), checkpoints=folder, cpu=True, **parts_of(row))
    return model.fit(x, y)


def state_of(model: SSLTokenizer) -> dict[str, Tensor]:
    artifact = model.artifact_
    tokenizer, prior = artifact.tokenizer.state_dict(), artifact.prior.state_dict()
    return {**tokenizer, **{f"prior.{k}": v for k, v in prior.items()}}


def same(one: SSLTokenizer, other: SSLTokenizer) -> bool:
    a, b = state_of(one), state_of(other)
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


@pytest.mark.filterwarnings("ignore:fit. k-means needs:UserWarning")
@pytest.mark.parametrize("name", tenth([*ROWS], of=15))
def test_a_row_goes_through_the_line(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    x, y = data_of(row)
    model = fitted(row, tmp_path / "run")
    codes, label = model.encode(x), None if y is None else "b"
    several = (2,) if row["quantizer"] in SEVERAL else ()
    assert codes.shape == (CASES, model.tokens_, *several)
    assert codes.min() >= (-1 if row["ends"] == "ragged" else 0)
    assert codes.max() < 8
    drawn = model.sample(3, label=label, seed=1)
    assert drawn.shape == (3, CHANNELS, LENGTH)
    assert np.isfinite(drawn[..., : LENGTH - 8]).all()
    for history in model.histories_.values():
        assert len(history.rows) == 3
        assert history.rows.isfinite().all()

    loaded = SSLTokenizer.load(model.save(tmp_path / "model"))
    assert same(loaded, model)
    np.testing.assert_array_equal(loaded.encode(x), codes)
    np.testing.assert_array_equal(loaded.sample(3, label=label, seed=1), drawn)

    for stage in ("tokenizer", "prior"):  # killed in both: it goes on from the second step
        shutil.rmtree(tmp_path / "run" / stage / "step_00000003")
    resumed = fitted(row, tmp_path / "run")
    assert same(resumed, model)
    np.testing.assert_array_equal(resumed.sample(3, label=label, seed=1), drawn)
