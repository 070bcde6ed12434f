"""Corners that foreign parts may stand in: shared weights, late options, other runs, late faults."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssltok.pipelines import Branch, Parts, SSLTokenizer, TokenizerConfig, build_tokenizer
from ssltok.quantizers import ResidualQuantizer, VectorQuantizer
from tests.pipelines.small import series, small
from tests.testing.foreign import Bands, Cells, Likeness, PlainPrior, StripDecoder, StripEncoder

LENGTH = 33
LABELS = list("aababbabab")
X: Any = series(10, channels=2, length=LENGTH)


def fitted(**options: Any) -> SSLTokenizer:
    return SSLTokenizer(small(), cpu=True, **options).fit(X, LABELS)


# Shared weights --------------------------------------------------------------------------------


class TiedPrior(PlainPrior):
    """Its embeddings of places stand in two places, as tied heads do."""

    def __init__(self, tokenizer: Any, classes: int) -> None:
        super().__init__(tokenizer, classes)
        self.again = self.places


def test_a_prior_with_tied_weights_is_saved_and_stays_tied(tmp_path: Path) -> None:
    model = fitted(prior=TiedPrior)
    folder = model.save(tmp_path / "model")
    handed = {"prior": TiedPrior(model.artifact_.tokenizer, 2)}
    loaded = SSLTokenizer.load(folder, parts=handed)
    np.testing.assert_array_equal(loaded.sample(3, seed=1), model.sample(3, seed=1))
    prior: Any = loaded.artifact_.prior
    assert prior.again[0] is prior.places[0]


def test_one_quantizer_on_two_levels_is_saved_as_one(tmp_path: Path) -> None:
    level = VectorQuantizer(8, 6)
    model = fitted(quantizer=ResidualQuantizer([level, level], channel_dim=1))
    loaded = SSLTokenizer.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.encode(X), model.encode(X))
    first, second = loaded.artifact_.tokenizer.parts[0].quantizer.quantizers
    assert first is second


def test_branches_that_share_an_encoder_go_on_sharing_it() -> None:
    encoder = StripEncoder(2, 6, LENGTH)
    branches = [
        Branch(encoder, Cells(6, 1, seed), StripDecoder(2, 6, LENGTH)) for seed in range(2)
    ]
    parts = Parts(bands=Bands(LENGTH), branches=branches)
    tokenizer = build_tokenizer(TokenizerConfig(dim=6), channels=2, length=LENGTH, parts=parts)
    one, two = (branch.encoder for branch in tokenizer.parts)
    assert one is two
    assert one is not encoder  # the caller's stays untrained


# What a class does not know ---------------------------------------------------------------------


class LateFlag(nn.Module):
    """It knows what it reads once it is built."""

    views = 2
    draw, update = Likeness.draw, Likeness.update

    def __init__(self, encoder: Any, by_token: bool = False) -> None:
        super().__init__()
        self.by_token = by_token
        self.map = nn.Linear(encoder.dim, 3)
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, encoder: nn.Module, batch: Any) -> Any:
        assert batch.features[0].ndim == (3 if self.by_token else 2)
        flat = tuple(part.flatten(0, -2) for part in batch.features)
        weight = batch.draws[0].repeat_interleave(len(flat[0]) // len(batch.draws[0]))
        return Likeness.forward(
            self,  # type: ignore[arg-type]
            encoder,
            batch._replace(features=flat, draws=(weight,)),
        )


def make_likeness(encoder: Any) -> Likeness:
    return Likeness(encoder)


@pytest.mark.parametrize(
    "objective",
    [LateFlag, partial(LateFlag, by_token=True), partial(make_likeness)],
    ids=["of series", "of tokens", "from a function"],
)
def test_an_objective_may_know_what_it_reads_once_it_is_built(objective: Any) -> None:
    model = fitted(objective=objective)
    assert model.histories_["tokenizer"].rows.isfinite().all()
