"""Corners that foreign parts stand in: shared weights, late options, other runs, late faults."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssltok.augment import compose
from ssltok.decoding import temperature_sample
from ssltok.pipelines import (
    Branch,
    Parts,
    SSLTokenizer,
    TokenizerConfig,
    build_tokenizer,
    random_masks,
)
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
    branches = [Branch(encoder, Cells(6, 1, seed), StripDecoder(2, 6, LENGTH)) for seed in range(2)]
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


# Other runs -------------------------------------------------------------------------------------


def jitter(series: Tensor, *, valid: Any = None, generator: Any = None, std: float = 0.1) -> Tensor:
    return series + std * torch.randn(series.shape, generator=generator)


class Jitter:
    def __init__(self, std: float) -> None:
        self.std = std

    def __call__(self, series: Tensor, *, valid: Any = None, generator: Any = None) -> Tensor:
        return jitter(series, generator=generator, std=self.std)


def jittering(std: float) -> Any:
    def augment(series: Tensor, *, valid: Any = None, generator: Any = None) -> Tensor:
        return jitter(series, generator=generator, std=std)

    return augment


def sampled(temperature: float) -> Any:
    return temperature_sample(temperature=temperature)


def started(seed: int) -> VectorQuantizer:
    return VectorQuantizer(8, 6, channel_dim=1, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"augment": partial(jitter, std=0.1)}, {"augment": partial(jitter, std=0.2)}),
        ({"augment": Jitter(0.1)}, {"augment": Jitter(0.2)}),
        ({"augment": jittering(0.1)}, {"augment": jittering(0.2)}),
        ({"augment": compose(jittering(0.1))}, {"augment": compose(jittering(0.2))}),
        ({"sampling": sampled(1.0)}, {"sampling": sampled(2.0)}),
        ({"quantizer": started(0)}, {"quantizer": started(1)}),
        ({"compared": (0, 1)}, {"compared": (1, 2)}),
    ],
    ids=["partial", "object", "closure", "composed", "rule", "weights", "numbers"],
)
def test_another_part_is_another_run(one: Any, other: Any, tmp_path: Path) -> None:
    first = fitted(**one, checkpoints=tmp_path / "run")
    again = fitted(**one, checkpoints=tmp_path / "run")
    np.testing.assert_array_equal(again.sample(2, seed=1), first.sample(2, seed=1))
    with pytest.raises(ValueError, match="checkpoints must belong to this run"):
        fitted(**other, checkpoints=tmp_path / "run")


# Late faults ------------------------------------------------------------------------------------


class Bookless(nn.Module):
    """Two codes of one size, without the table that a prior's embeddings start from."""

    code_shape, codes_per_token, codebook_size, codebook_sizes = (1,), 1, 3, (3,)
    dim, channel_dim, learns_by_vectors, idle = 8, 1, False, True
    encode = decode = update = initialize = revive = None


def mask_of_shape(shape: Any) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


def loss_of_two(logits: Tensor, codes: Tensor) -> Tensor:
    return logits.sum()


def order_of_two(state: Any, other: Any) -> Any:
    return state


def sample_of_one(logits: Tensor) -> Tensor:
    return logits


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"quantizer": Bookless()}, "got Bookless without codebook"),
        ({"mask": mask_of_shape}, "mask_of_shape"),
        ({"token_loss": loss_of_two}, "loss_of_two"),
        ({"order": order_of_two}, "order_of_two"),
        ({"sampling": sample_of_one}, "sample_of_one"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_run_fails_before_the_first_step(
    parts: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=message):
        fitted(**parts, checkpoints=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_rehearsal_leaves_no_trace() -> None:
    """A part that does what the default does gives the same bits."""
    before = torch.get_rng_state()
    plain, handed = fitted(), fitted(mask=random_masks)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(plain.sample(3, seed=1), handed.sample(3, seed=1))
    one, other = (model.artifact_.prior.state_dict() for model in (plain, handed))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
