"""Each quantizer and each objective on two processes: what one process records, up to rounding.

Losses are compared, not weights: Adam turns a gradient that is 0 up to rounding (of a bias before
a norm) into a whole step. `make test` runs a tenth of these, `make test-all` all of them.
"""

import os
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from ssltok.data import label_index, read_series
from ssltok.pipelines import TokenizerConfig, encode_series, fit
from tests.pipelines.covering import tenth
from tests.pipelines.small import series, small
from tests.ranks import Ranks

WORDS = get_type_hints(TokenizerConfig)
NAMES = [f"{field} {word}" for field in ("quantizer", "ssl") for word in get_args(WORDS[field])]
UNLIKE = {
    **dict.fromkeys(
        [f"quantizer {word}" for word in ("gumbel", "diveq", "nsvq", "fsp")],
        "each process has noise of its own",
    ),
    "ssl vibcreg": "groups of its whitening are sized by the batch of one process",
    "ssl w_mse": "its projector is sized by the batch of one process",
}
"""What is not one process's, with the reason; it runs, and its processes agree."""
ALWAYS = (
    "quantizer residual",
    "ssl swav",
)  # in every tenth: heads unused in a step
CASES, LENGTH = 12, 32


def recorded(name: str, ranks: int) -> dict[str, Tensor]:
    """Losses of both stages by step, and the codes of the data."""
    field, word = name.split(" ")
    choices: dict[str, Any] = {"ssl": "barlow_twins", "quantizer": "ema", field: word}
    several = choices["quantizer"] in ("grouped", "residual")  # multi_scale: a single level
    config = small(
        batch=8, coder="patch", widths=(4,), codebook_size=8, projector_dim=8, blocks=1,
        codes_per_token=2 if several else 1, **choices,
    )  # fmt: skip
    x = series(CASES, channels=2, length=LENGTH)
    data = read_series([one[:, : LENGTH - 2 * (i % 5)] for i, one in enumerate(x)])
    labels, classes = label_index(list("abcb" * (CASES // 4)), CASES)
    torch.manual_seed(0)
    fitted = fit(data, labels, config, classes=len(classes), seed=1, cpu=True)
    scaled = data._replace(values=fitted.tokenizer.scale(data.values, data.valid))
    assert torch.distributed.is_initialized() is (ranks > 1)
    terms = fitted.histories["tokenizer"]
    return {
        **{name: terms.rows[:, place] for place, name in enumerate(terms.names)},
        "prior": fitted.histories["prior"].rows[:, 0],
        "codes": encode_series(fitted.tokenizer, scaled),
    }


def on_a_rank(name: str) -> dict[str, Tensor]:
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "localhost"}
    before = dict(os.environ)
    os.environ |= {key: str(value) for key, value in launched.items()} | {"MASTER_PORT": "29511"}
    try:
        return recorded(name, world)
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.filterwarnings("ignore:fit. k-means needs:UserWarning")
@pytest.mark.parametrize("name", dict.fromkeys([*ALWAYS, *tenth(NAMES)]))
def test_two_processes_are_one(name: str, two_ranks: Ranks) -> None:
    one = recorded(name, 1)
    first, second = two_ranks.run(on_a_rank, (name,), (name,))
    assert torch.equal(first["codes"], second["codes"])
    if name in UNLIKE:
        return
    for key in ("time", "agreement", "prior"):
        torch.testing.assert_close(first[key], one[key], rtol=2e-3, atol=1e-4)
        torch.testing.assert_close(second[key], first[key])
    for key in ("loss", "quantization"):  # each process records its own codes' cost
        both = (first[key] + second[key]) / 2
        torch.testing.assert_close(both, one[key], rtol=2e-2, atol=1e-3)
    assert (first["codes"] == one["codes"]).float().mean() > 0.95
