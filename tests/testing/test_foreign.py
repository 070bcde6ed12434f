"""Parts that are not of this library: they keep the contracts and go through the whole line."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssltok.nn import average_max_pool
from ssltok.pipelines import (
    ArtifactError,
    Parts,
    SSLTokenizer,
    TokenFeatures,
    TokenizerConfig,
    build_tokenizer,
    shorten,
)
from ssltok.testing import (
    check_augmentation,
    check_coder,
    check_loss,
    check_mask,
    check_objective,
    check_prior,
    check_quantizer,
    check_transform,
)
from tests.pipelines.small import series, small
from tests.testing.foreign import (
    Bands,
    Cells,
    Likeness,
    PlainPrior,
    StripDecoder,
    StripEncoder,
    alternate_mask,
    inside_out,
    square_loss,
    wobble,
)

LENGTH = 33


def tokenizer() -> Any:
    torch.manual_seed(0)
    parts = Parts(bands=Bands, encoder=StripEncoder, quantizer=Cells, decoder=StripDecoder)
    config = TokenizerConfig(dim=6, channelwise=False)
    return build_tokenizer(config, channels=2, length=LENGTH, parts=parts)


def test_transform() -> None:
    check_transform(Bands(LENGTH))


def test_coder() -> None:
    def build() -> Any:
        return StripEncoder(2, 6, LENGTH), StripDecoder(2, 6, LENGTH)

    check_coder(build, (2, LENGTH))


@pytest.mark.parametrize("channel_dim", [-1, 1])
def test_quantizer(channel_dim: int) -> None:
    check_quantizer(lambda: Cells(4, channel_dim))


def test_objective() -> None:
    encoder = TokenFeatures(tokenizer(), pool=average_max_pool)
    check_objective(Likeness, encoder, channels=2, length=LENGTH)


@pytest.mark.parametrize("classes", [0, 2])
def test_prior(classes: int) -> None:
    check_prior(lambda: PlainPrior(tokenizer(), classes))


def test_functions() -> None:
    check_augmentation(wobble)
    check_mask(alternate_mask)
    z = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
    check_loss(square_loss, list(z))


def estimator(**options: Any) -> SSLTokenizer:
    parts: dict[str, Any] = {
        "bands": Bands, "encoder": StripEncoder, "decoder": StripDecoder,
        "quantizer": partial(Cells, channel_dim=1), "objective": Likeness, "augment": wobble,
        "mask": alternate_mask, "prior": PlainPrior, "order": inside_out,
    }  # fmt: skip
    return SSLTokenizer(small(dim=6), **parts, cpu=True, **options)


def ragged() -> list[Any]:
    x = series(10, channels=2, length=LENGTH)
    return [x[i, :, : LENGTH - 2 * i] for i in range(10)]


LABELS = list("aababbabab")
HANDED = {
    "tokenizer.transform", "tokenizer.branches.0.encoder", "tokenizer.branches.0.quantizer",
    "tokenizer.branches.0.decoder", "tokenizer.branches.1.encoder",
    "tokenizer.branches.1.quantizer", "tokenizer.branches.1.decoder", "prior",
    "decoding.orders.0", "decoding.orders.1",
}  # fmt: skip


def parts_of(places: set[str]) -> dict[str, Any]:
    whole = tokenizer()
    parts: dict[str, Any] = {
        "tokenizer.transform": Bands(LENGTH),
        "prior": PlainPrior(whole, 2),
        "decoding.orders.0": inside_out,
        "decoding.orders.1": inside_out,
    }
    for i in (0, 1):
        front = f"tokenizer.branches.{i}"
        parts[f"{front}.encoder"] = StripEncoder(2, 6, LENGTH)
        parts[f"{front}.decoder"] = StripDecoder(2, 6, LENGTH)
        parts[f"{front}.quantizer"] = Cells(6, 1, seed=5)
    return {place: parts[place] for place in places}


def test_they_go_through_the_whole_line(tmp_path: Path) -> None:
    x = ragged()
    model = estimator().fit(x, LABELS)
    assert model.encode(x).shape == (10, 18, 2)
    drawn = model.sample(4, label="b", seed=3)
    assert drawn.shape == (4, 2, LENGTH)
    folder = model.save(tmp_path / "model")
    loaded = SSLTokenizer.load(folder, parts=parts_of(HANDED))
    np.testing.assert_array_equal(loaded.encode(x), model.encode(x))
    np.testing.assert_array_equal(loaded.sample(4, label="b", seed=3), drawn)
    np.testing.assert_array_equal(loaded.reconstruct(x), model.reconstruct(x))
    np.testing.assert_array_equal(loaded.impute(x, seed=1), model.impute(x, seed=1))


def test_what_must_be_handed_over_is_named_place_by_place(tmp_path: Path) -> None:
    folder = estimator().fit(ragged(), LABELS).save(tmp_path / "model")
    handed: set[str] = set()
    while True:
        try:
            SSLTokenizer.load(folder, parts=parts_of(handed))
            break
        except ArtifactError as error:
            message = str(error)
        assert "is no part of ssltok and must be handed over" in message
        assert "tests.testing.foreign." in message
        (place,) = [place for place in HANDED - handed if f"{place!r}" in message]
        handed.add(place)
    assert handed == HANDED


def test_they_resume_after_a_kill(tmp_path: Path) -> None:
    x = ragged()
    model = estimator(checkpoints=tmp_path / "run").fit(x, LABELS)
    for stage in ("tokenizer", "prior"):
        cut = tmp_path / f"cut {stage}"
        shutil.copytree(tmp_path / "run", cut)
        shutil.rmtree(cut / stage / "step_00000003")
        if stage == "tokenizer":
            shutil.rmtree(cut / "prior")
        again = estimator(checkpoints=cut).fit(x, LABELS)
        for one, other in (
            (model.artifact_.tokenizer, again.artifact_.tokenizer),
            (model.artifact_.prior, again.artifact_.prior),
        ):
            state = other.state_dict()
            assert all(torch.equal(v, state[k]) for k, v in one.state_dict().items())
        np.testing.assert_array_equal(again.sample(3, seed=2), model.sample(3, seed=2))


def test_they_train() -> None:
    """Each of them, and none of the caller's own."""
    torch.manual_seed(0)
    encoder = StripEncoder(2, 6, LENGTH)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    model = estimator().set_params(encoder=encoder, preset=small(8, dim=6)).fit(ragged(), LABELS)
    untrained = estimator(seed=0).set_params(encoder=encoder, preset=shorten(small(dim=6), steps=1))
    first = untrained.fit(ragged(), LABELS)
    for part in ("tokenizer", "prior"):
        start = getattr(first.artifact_, part).state_dict()
        trained = getattr(model.artifact_, part).state_dict()
        still = [k for k, v in start.items() if torch.equal(v, trained[k]) and "scaler" not in k]
        assert not still
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


class Wordless(PlainPrior):
    """A prior that cannot say what it reads of the branch before."""

    context: Any = property()


class OfOtherTokens(PlainPrior):
    def __init__(self, tokenizer: Any, classes: int) -> None:
        super().__init__(tokenizer, classes)
        self.sizes = (1, *self.sizes[1:])


def no_order(grid: Any) -> Any:
    raise ValueError("no_order: there must be an order; got none")


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"prior": Wordless}, TypeError, "build_prior: prior must have .*; got Wordless without"),
        ({"prior": OfOtherTokens}, ValueError, r"must agree in sizes, \[9, 9\]; got \[1, 9\]"),
        ({"order": partial(no_order)}, ValueError, "no_order: there must be an order"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(
    parts: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    model = estimator(checkpoints=tmp_path / "run").set_params(**parts)
    with pytest.raises(error, match=message):
        model.fit(ragged(), LABELS)
    assert not (tmp_path / "run").exists()
