"""Every pair of parts at least once: three steps, saved, loaded, encoded, sampled, resumed."""

import dataclasses
import itertools
import os
import pathlib
import shutil
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

import numpy as np
import pytest

from ssltok.decoding import entropy_order, fixed_order, halton_places, margin_order, random_order
from ssltok.pipelines import Parts, SSLTokenizer
from ssltok.pipelines._words._config import SSL, Coder, Quantizer
from tests.pipelines.small import series, small


def halton(grid: tuple[int, int]) -> Any:
    """A Halton order of a grid, for `order=partial(halton)`."""
    return fixed_order(halton_places(grid))


FACTORS: dict[str, tuple[Any, ...]] = {
    "coder": get_args(Coder),
    "channelwise": (False, True),
    "quantizer": get_args(Quantizer),
    "ssl": get_args(SSL),
    "views": ("series and view", "two views"),
    "quantized": ("config", "both", "neither"),
    "order": ("confidence", "random", "halton", "entropy", "margin"),
}
ORDERS = {
    "confidence": None, "random": random_order(), "halton": partial(halton),
    "entropy": entropy_order(), "margin": margin_order(),
}  # fmt: skip
TENTH = 10
Row = dict[str, Any]


def covering() -> Iterator[Row]:
    """Rows that hold every pair of values of two factors; greedy, the same each time."""
    names = list(FACTORS)
    missing = {
        (a, x, b, y)
        for a, b in itertools.combinations(names, 2)
        for x in FACTORS[a]
        for y in FACTORS[b]
    }
    while missing:
        seed = min(missing, key=repr)
        row: Row = {seed[0]: seed[1], seed[2]: seed[3]}
        for name in names:
            if name not in row:
                row[name] = max(
                    FACTORS[name],
                    key=lambda value: (len(pairs({**row, name: value}) & missing), repr(value)),
                )
        missing -= pairs(row)
        yield {name: row[name] for name in names}


def pairs(row: Row) -> set[tuple[Any, ...]]:
    names = [name for name in FACTORS if name in row]
    return {(a, row[a], b, row[b]) for a, b in itertools.combinations(names, 2)}


ROWS = list(covering())
CHOSEN = [
    row for row in ROWS
    if os.environ.get("SSLTOK_ALL") or zlib.crc32(repr(row).encode()) % TENTH == 0
]  # fmt: skip
"""A tenth of the rows, chosen by their hash; all of them with SSLTOK_ALL=1 (`make test-all`)."""


def test_the_array_covers_every_pair() -> None:
    wanted = sum(len(FACTORS[a]) * len(FACTORS[b]) for a, b in itertools.combinations(FACTORS, 2))
    assert len(set().union(*map(pairs, ROWS))) == wanted
    assert CHOSEN


def train(row: Row, checkpoints: pathlib.Path, x: Any, y: list[str]) -> SSLTokenizer:
    """A model that has gone through both stages with a row's parts."""
    several = {"codes_per_token": 2} if row["quantizer"] in ("grouped", "residual") else {}
    config = small(
        coder=row["coder"], channelwise=row["channelwise"], quantizer=row["quantizer"],
        ssl=row["ssl"], codebook_size=16, **several,
    )  # fmt: skip
    parts = Parts(order=ORDERS[row["order"]])
    masked = row["ssl"] in ("none", "ts2vec", "mae", "beit", "data2vec")
    if not masked:
        compared = (2, 1) if row["views"] == "two views" else None
        both = {"config": None, "both": (True, True), "neither": (False, False)}
        parts = dataclasses.replace(parts, compared=compared, quantized=both[row["quantized"]])
    model = SSLTokenizer(config, seed=1, cpu=True, checkpoints=checkpoints, parts=parts)
    return model.fit(x, y)


@pytest.mark.filterwarnings("ignore:fit. k-means needs")
@pytest.mark.parametrize("row", CHOSEN, ids=lambda row: "-".join(map(str, row.values())))
def test_a_row_goes_the_whole_line(row: Row, tmp_path: pathlib.Path) -> None:
    x, y = series(10, channels=2), list("ab" * 5)
    model = train(row, tmp_path / "kept", x, y)
    codes, drawn = model.encode(x), model.sample(3, "b", seed=2)
    assert np.isfinite(drawn).all()
    assert np.isfinite(model.reconstruct(x)).all()
    model.save(tmp_path / "model")
    again = SSLTokenizer.load(tmp_path / "model")
    np.testing.assert_array_equal(again.encode(x), codes)
    np.testing.assert_array_equal(again.sample(3, "b", seed=2), drawn)

    # Killed after the second step of the tokenizer: what came later is not there.
    shutil.rmtree(tmp_path / "kept" / "prior")
    shutil.rmtree(tmp_path / "kept" / "tokenizer" / "step_00000003")
    resumed = train(row, tmp_path / "kept", x, y)
    states = [m.artifact_.tokenizer.state_dict() | m.artifact_.prior.state_dict()
              for m in (model, resumed)]  # fmt: skip
    assert all(np.array_equal(v, states[1][k]) for k, v in states[0].items())
    np.testing.assert_array_equal(resumed.sample(3, "b", seed=2), drawn)
