"""Parts that the caller passes: whole lines from fit to load, and the habits of scikit-learn."""

import copy
import dataclasses
import pathlib
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

from ssltok.augment import compose, gaussian_noise, shift
from ssltok.data import label_index, read_series
from ssltok.decoding import confidence_order, random_order, temperature_sample
from ssltok.losses import masked_token_loss
from ssltok.masking import linear_schedule, random_mask, schedule_mask
from ssltok.nn import mean_pool
from ssltok.pipelines import (
    Parts,
    SSLTokenizer,
    TokenizerConfig,
    build_tokenizer,
    compact,
    demo,
    fit,
)
from ssltok.quantizers import (
    FSQ,
    GroupedQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)
from ssltok.signal import Waveform
from ssltok.training import BYOL, ObjectiveOutput, VICReg
from tests.pipelines.small import series, small

LABELS = ["a", "b"] * 5


def sizes(quantizer: str, **options: Any) -> Any:
    return small(quantizer=quantizer, codes_per_token=2, **options)


def levels() -> ResidualQuantizer:
    """Levels of six and four codes."""
    return ResidualQuantizer([VectorQuantizer(8, 6), VectorQuantizer(8, 4)])


def check_line(model: SSLTokenizer, x: Any, folder: pathlib.Path, *, codes: int = 1) -> None:
    """Whatever the parts are: encode, decode, sample, fill and go on, saved and loaded alike."""
    tokenizer = model.artifact_.tokenizer
    found = model.encode(x)
    tokens, length = model.tokens_, x.shape[2]
    assert found.shape == ((len(x), tokens) if codes == 1 else (len(x), tokens, codes))
    assert tokenizer.codes_per_token == codes
    largest = np.concatenate(
        [
            np.broadcast_to(sizes, (count, codes))
            for sizes, count in zip(tokenizer.codebook_sizes, tokenizer.sizes, strict=True)
        ]
    )
    assert (found >= 0).all()
    assert (found.reshape(len(x), tokens, codes) < largest).all()
    np.testing.assert_array_equal(model.decode(found), model.reconstruct(x))
    drawn = model.generate(["a", "b", None], seed=4)
    assert drawn.series.shape == (3, x.shape[1], length)
    assert bool(drawn.series.isfinite().all())
    assert (drawn.codes.numpy().reshape(3, tokens, codes) < largest).all()
    assert int(drawn.codes.min()) >= 0
    holes = x.copy()
    holes[:, :, 10:15] = np.nan
    filled = model.impute(holes, samples=2, seed=1)
    assert filled.shape == (2, *x.shape)
    known = ~np.isnan(holes)
    np.testing.assert_array_equal(filled[:, known], np.stack([x[known]] * 2))
    future = model.forecast(x[:, :, :-6], horizon=6, seed=1)
    assert future.shape == (1, len(x), x.shape[1], 6)
    assert np.isfinite(future).all()
    again = SSLTokenizer.load(model.save(folder))
    np.testing.assert_array_equal(again.encode(x), found)
    np.testing.assert_array_equal(again.transform(x), model.transform(x))
    np.testing.assert_array_equal(again.impute(holes, samples=2, seed=1), filled)
    twin = again.generate(["a", "b", None], seed=4)
    assert torch.equal(twin.codes, drawn.codes)
    assert torch.equal(twin.series, drawn.series)


# Lines from end to end.


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (sizes("residual"), {}),
        (sizes("grouped"), {}),
        (sizes("residual", widths=(2, 4)), {}),
        (small(), {"quantizer": levels()}),
        (
            small(widths=(2, 4)),
            {"quantizer": GroupedQuantizer([VectorQuantizer(3, 3), VectorQuantizer(5, 7)])},
        ),
        (sizes("residual", channelwise=True), {}),
    ],
    ids=["residual", "grouped", "two branches", "sizes differ", "grouped differ", "channelwise"],
)
def test_several_codes_a_token(config: Any, parts: dict[str, Any], tmp_path: pathlib.Path) -> None:
    x = series(channels=2)
    model = SSLTokenizer(config, seed=3, **parts).fit(x, LABELS)
    check_line(model, x, tmp_path / "m", codes=2)


def test_ends_are_minus_one_in_all_codes_of_a_token() -> None:
    x = [*series(5, length=40), *series(5, length=20, seed=1)]
    model = SSLTokenizer(sizes("residual")).fit(x, LABELS)
    codes = model.encode(x)
    assert (codes[:5] >= 0).all()
    padding = codes[5:] == -1
    assert padding.any(axis=(1, 2)).all()
    assert not padding.all(axis=(1, 2)).any()
    np.testing.assert_array_equal(padding[..., 0], padding[..., 1])
    assert np.isnan(model.sample(1, lengths=[20])[0, 0]).sum() == 20


@pytest.mark.parametrize("coder", ["spectrogram", "patch"])
def test_channel_by_channel(coder: str, tmp_path: pathlib.Path) -> None:
    x = series(channels=3)
    model = SSLTokenizer(small(channelwise=True, coder=coder), seed=1).fit(x, LABELS)
    check_line(model, x, tmp_path / "m")
    tokenizer = model.artifact_.tokenizer
    assert all(grid[0] == 3 for grid in tokenizer.grids)
    joint = SSLTokenizer(small(steps=1, coder=coder)).fit(x)
    assert model.tokens_ == 3 * joint.tokens_
    # A channel's tokens are its own: another channel changes none of them.
    other = x.copy()
    other[:, 1] = x[::-1, 1]
    before, after = (model.encode(v).reshape(len(x), 3, -1) for v in (x, other))
    np.testing.assert_array_equal(before[:, [0, 2]], after[:, [0, 2]])
    np.testing.assert_array_equal(before[::-1, 1], after[:, 1])
    vectors = model.transform(x)
    assert vectors.shape == (10, 3 * 8)


def test_every_part_by_keyword(tmp_path: pathlib.Path) -> None:
    model = SSLTokenizer(
        small(ssl="none"),
        quantizer=partial(FSQ, [4, 4]),
        objective=partial(BYOL, projector_dim=8, hidden_dim=8, predictor_dim=8),
        augment=compose(shift, gaussian_noise),
        pool=mean_pool,
        mask=partial(schedule_mask, schedule=linear_schedule),
        token_loss=masked_token_loss,
        schedule=linear_schedule,
        order=partial(confidence_order, temperature=2.0),
        sampling=temperature_sample(temperature=0.5),
        seed=2,
    ).fit(series(), LABELS)
    check_line(model, series(), tmp_path / "m")
    decoding = model.artifact_.decoding
    assert decoding.schedule is linear_schedule
    assert model.artifact_.tokenizer.codebook_sizes == ((16,),)
    assert isinstance(model.artifact_.tokenizer.parts[0].quantizer, ProjectedQuantizer)


CHANGES = [
    {"objective": partial(VICReg, projector_dim=12)},
    {"augment": gaussian_noise},
    {"pool": mean_pool},
    {"mask": partial(schedule_mask, schedule=linear_schedule)},
    {"token_loss": partial(masked_token_loss, label_smoothing=0.5)},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: next(iter(c)))
def test_a_part_of_training_changes_what_is_learned(change: dict[str, Any]) -> None:
    plain, other = (
        SSLTokenizer(small(), seed=1, **options).fit(series(), LABELS).artifact_
        for options in ({}, change)
    )
    of_prior = next(iter(change)) in ("mask", "token_loss")
    states = [(a.tokenizer.state_dict(), a.prior.state_dict()) for a in (plain, other)]
    same = [all(torch.equal(v, b[k]) for k, v in a.items()) for a, b in zip(*states, strict=True)]
    assert same == [of_prior, False]


def test_rules_of_decoding_change_what_is_drawn_and_nothing_else() -> None:
    plain, other = (
        SSLTokenizer(small(), seed=1, order=order).fit(series(), LABELS)
        for order in (None, random_order())
    )
    np.testing.assert_array_equal(plain.encode(series()), other.encode(series()))
    drawn = [m.generate(["a"] * 8, seed=0).codes for m in (plain, other)]
    assert not torch.equal(*drawn)


def test_a_mask_that_is_no_mask_is_refused_before_training(tmp_path: pathlib.Path) -> None:
    for mask, fact in (
        (partial(random_mask, ratio=0.4), "RandomMask"),
        (lambda shape, **_: torch.zeros(shape), r"torch.float32 \(2, 40\)"),
        (lambda shape, **_: torch.zeros(2, 3, dtype=torch.bool), r"torch.bool \(2, 3\)"),
    ):
        model = SSLTokenizer(small(), mask=mask, checkpoints=tmp_path / "c")
        said = rf"^fit: mask must return a boolean tensor \(batch, tokens\); got {fact}"
        with pytest.raises(TypeError, match=said):
            model.fit(series(), LABELS)
        assert not (tmp_path / "c").exists()


# The caller's own parts stay as they are.


class Halves(nn.Module):
    """Two tokens: the halves of a series."""

    dim, grid = 8, (2,)

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(20, 8)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        latents: Tensor = self.norm(self.line(x.reshape(-1, 2, 20)).transpose(1, 2))
        return latents


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(8, 20)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        wave: Tensor = self.line(x.transpose(1, 2)).reshape(-1, 1, 40)
        return wave


class Spread(nn.Module):
    """An objective with weights and a buffer of its own."""

    views, by_token = 2, False
    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 4)  # mean and maximum of 8 channels
        self.register_buffer("steps", torch.zeros(()))

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return ()

    def forward(self, encoder: nn.Module, batch: Any) -> Any:
        a, b = (self.head(z) for z in batch.features)
        loss = (a - b).square().mean()
        return ObjectiveOutput(loss, {"spread": loss.detach()})

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        self.steps += 1


def test_fit_never_trains_the_callers_modules() -> None:
    parts: dict[str, Any] = {
        "bands": Waveform(40), "encoder": Halves(), "quantizer": levels(), "decoder": Joined(),
        "objective": Spread(),
    }  # fmt: skip
    for module in parts.values():
        module.train()
    before = {k: copy.deepcopy(m.state_dict()) for k, m in parts.items()}
    x = series(length=40)
    models = [SSLTokenizer(small(), seed=1, **parts).fit(x, LABELS) for _ in range(2)]
    for name, module in parts.items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, before[name][key]), (name, key)
        assert all(part.training for part in module.modules()), name
        assert all(p.requires_grad and p.grad is None for p in module.parameters()), name
    np.testing.assert_array_equal(models[0].encode(x), models[1].encode(x))
    branch = models[0].artifact_.tokenizer.parts[0]
    assert branch.encoder is not parts["encoder"]
    assert not torch.equal(branch.encoder.line.weight, parts["encoder"].line.weight)


def test_finished_branches_and_a_finished_prior_are_copied() -> None:
    config = small(ssl="none")
    tokenizer = build_tokenizer(config.tokenizer, channels=1, length=33)
    branches = tokenizer.parts
    before = copy.deepcopy(tokenizer.state_dict())
    parts = Parts(branches=branches, bands=tokenizer.transform)
    data, (labels, classes) = read_series(series()), label_index(LABELS, 10)
    fitted = fit(data, labels, config, classes=len(classes), parts=parts)
    prior = copy.deepcopy(fitted.prior).requires_grad_(True)
    start = copy.deepcopy(prior.state_dict())
    again = fit(
        data, labels, config, classes=len(classes),
        parts=dataclasses.replace(parts, prior=prior),
    )  # fmt: skip
    assert all(torch.equal(v, before[k]) for k, v in tokenizer.state_dict().items())
    assert all(torch.equal(v, start[k]) for k, v in prior.state_dict().items())
    assert all(p.requires_grad for p in [*tokenizer.parameters(), *prior.parameters()])
    for old, new in ((tokenizer, again.tokenizer), (prior, again.prior)):
        state = new.state_dict()
        assert any(not torch.equal(v, state[k]) for k, v in old.state_dict().items())


# Habits of scikit-learn.


def test_clone_takes_parts_along() -> None:
    given: dict[str, Any] = {
        "quantizer": partial(FSQ, [4, 4]),
        "augment": gaussian_noise,
        "encoder": Halves(),
    }
    model = SSLTokenizer(small(), seed=5, **given)
    twin = clone(model)
    assert twin is not model
    ours, theirs = model.get_params(deep=False), twin.get_params(deep=False)
    assert ours.keys() == theirs.keys()
    assert twin.quantizer.func is FSQ
    assert twin.quantizer.args == ([4, 4],)
    assert twin.augment is gaussian_noise
    assert isinstance(twin.encoder, Halves)
    assert twin.encoder is not model.encoder
    assert (twin.seed, twin.preset) == (5, small())
    del given["encoder"]
    drawn = [
        m.fit(series(), LABELS).sample(2, seed=1)
        for m in (SSLTokenizer(small(), **given), clone(SSLTokenizer(small(), **given)))
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])


def test_nested_parameters() -> None:
    model = SSLTokenizer("demo")
    model.set_params(preset__tokenizer__dim=16, preset__workers=2, seed=4)
    assert isinstance(model.preset, type(demo()))
    assert (model.preset.tokenizer.dim, model.preset.workers, model.seed) == (16, 2, 4)
    rest = dataclasses.replace(model.preset.tokenizer, dim=demo().tokenizer.dim)
    assert rest == demo().tokenizer
    found = model.get_params()
    assert found["preset__tokenizer__dim"] == 16
    assert found["preset__tokenizer"] == model.preset.tokenizer
    assert "preset__tokenizer__dim" not in model.get_params(deep=False)
    # The preset first, then sections, then numbers, in whatever order they are written.
    model.set_params(
        preset__tokenizer__dim=24, preset__tokenizer=TokenizerConfig(n_fft=4), preset="compact"
    )
    assert model.preset.tokenizer == TokenizerConfig(n_fft=4, dim=24)
    assert model.preset.prior == compact().prior
    line = make_pipeline(SSLTokenizer(small(steps=1)))
    line.set_params(ssltokenizer__preset__tokenizer__dim=4, ssltokenizer__quantizer=None)
    assert line.fit(series(), LABELS).transform(series(2)).shape == (2, 4)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            {"preset__tokenizer__dmi": 3},
            r"^set_params: names must be known; got 'preset__tokenizer__dmi' \(did you mean "
            r"preset__tokenizer__dim\?\)",
        ),
        ({"preset__tokenizer__dim": 0}, r"^TokenizerConfig: dim must lie in \[1, 65536\]; got 0"),
        ({"preset__tokenizer__ssl": "byoll"}, r"\(did you mean byol\?\)"),
        ({"quantiser": None}, r"Invalid parameter 'quantiser'"),
    ],
)
def test_refuses_parameters(names: dict[str, Any], said: str) -> None:
    model = SSLTokenizer("demo")
    with pytest.raises(ValueError, match=said):
        model.set_params(**names)
    assert model.preset == "demo"


def test_parts_in_the_place_of_a_preset_have_no_numbers() -> None:
    parts = Parts(quantizer=FSQ([3]))
    model = SSLTokenizer(parts)
    assert not [name for name in model.get_params() if name.startswith("preset__")]
    with pytest.raises(ValueError, match=r"^set_params: the preset must be a name or a Config wh"):
        model.set_params(preset__tokenizer__dim=3)
    assert model.preset is parts
    beside = SSLTokenizer("demo", parts=parts).set_params(preset__tokenizer__dim=3)
    assert beside.parts is parts


def test_a_preset_that_does_not_exist_can_still_be_replaced() -> None:
    model = SSLTokenizer("dmeo")
    assert model.get_params()["preset"] == "dmeo"
    with pytest.raises(ValueError, match=r"or a Config; got 'dmeo' \(did you mean demo\?\)"):
        model.fit(series())
    assert model.set_params(preset="demo").get_params()["preset__tokenizer__dim"] == 64


def test_grid_search_over_parts() -> None:
    search = GridSearchCV(
        SSLTokenizer(small(steps=2, ssl="none")),
        {"quantizer": [None, partial(FSQ, [4, 4])], "preset__tokenizer__dim": [4, 8]},
        cv=2,
        error_score="raise",
    ).fit(series(), LABELS)
    results = search.cv_results_
    assert len(results["params"]) == 4
    assert np.isfinite(results["mean_test_score"]).all()
    assert len(set(results["mean_test_score"])) == 4, "every cell is a model of its own"
    best = search.best_estimator_
    assert best.preset.tokenizer.dim == search.best_params_["preset__tokenizer__dim"]
    named = search.best_params_["quantizer"]
    size = 6 if named is None else 16
    assert best.artifact_.tokenizer.codebook_size == size


def test_score_is_the_share_of_variance_explained() -> None:
    x = series(8)
    model = SSLTokenizer(small(), seed=1).fit(x)
    mean, rebuilt = x.mean(axis=(0, 2), keepdims=True), model.reconstruct(x)
    expected = 1 - ((x - rebuilt) ** 2).sum() / ((x - mean) ** 2).sum()
    assert model.score(x) == pytest.approx(expected, rel=1e-4)
    ragged = x.copy()
    ragged[:4, :, 25:] = np.nan
    assert model.score(ragged) != pytest.approx(expected, rel=1e-4)
