"""Conditions of the prior: followed, scaled, dropped, cut with windows, saved, and refused."""

import dataclasses
import pathlib
import shutil
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssltok.data import SeriesSet
from ssltok.decoding import classifier_free_guidance
from ssltok.nn import ConditionEmbedding
from ssltok.pipelines import (
    ArtifactError,
    ConditionedPrior,
    Conditions,
    Parts,
    Prior,
    PriorBatch,
    PriorConfig,
    SSLTokenizer,
    build_decoding,
    build_prior,
    build_tokenizer,
    decode_tokens,
    load_artifact,
    loss_by_share,
    prior_stage,
    prior_step,
    save_artifact,
)
from ssltok.pipelines._generate import hidden_codes
from ssltok.pipelines._stage_two._conditions import ConditionScale, read_conditions
from ssltok.pipelines._uses import _anomalies as anomalies
from ssltok.pipelines._uses import _long as long_series
from ssltok.pipelines._uses._impute import draw_missing
from ssltok.training import keyed_generator, seeded
from tests.pipelines.small import series, small, varied

CASES, LENGTH = 10, 33
FEATURES: NDArray[np.float64] = np.random.default_rng(2).normal(size=(CASES, 2))
CALENDAR: NDArray[np.float64] = np.random.default_rng(3).normal(size=(CASES, 3, 90))
BOTH = Conditions(FEATURES, CALENDAR)
KINDS: dict[str, Any] = {"covariates": FEATURES, "channels": CALENDAR, "both": BOTH}


def fitted(conditions: Any = None, labels: Any = None, **options: Any) -> SSLTokenizer:
    model = SSLTokenizer(options.pop("preset", small()), progress=False, cpu=True, **options)
    return model.fit(series(CASES), labels, conditions=conditions)


def rows(conditions: Any, count: int) -> Any:
    """The first of them, in the same form."""
    if isinstance(conditions, Conditions):
        return Conditions(*(None if part is None else part[:count] for part in conditions))
    return conditions[:count]


@pytest.fixture(scope="module")
def models() -> dict[str, SSLTokenizer]:
    return {name: fitted(given, list("ab" * 5)) for name, given in KINDS.items()}


# known values: what the condition says is what is drawn


def test_a_covariate_decides_the_level() -> None:
    random = np.random.default_rng(0)
    level = random.uniform(-3, 3, 48)
    X = level[:, None] + np.sin(np.arange(32) / 3) + 0.05 * random.standard_normal((48, 32))
    config = small(120, batch=24, ssl="none", codebook_size=16)
    fast = dataclasses.replace(config.prior_training, learning_rate=1e-2, checkpoint_every=200)
    config = varied(config, prior_training=fast, tokenizer_training=fast)
    model = SSLTokenizer(config, progress=False, cpu=True)
    model.fit(X, conditions=1e6 + 100 * level[:, None])
    wanted = np.repeat([-2.0, 0.0, 2.0], 8)
    drawn = model.sample(24, conditions=1e6 + 100 * wanted[:, None], seed=1)[:, 0].mean(axis=1)
    means = drawn.reshape(3, 8).mean(axis=1)
    assert np.corrcoef(drawn, wanted)[0, 1] > 0.8
    assert means[0] < -1
    assert means[2] > 1
    gone = X.copy()[:24]
    gone[:, 4:28] = np.nan  # what is left says little of the level
    filled = model.impute(gone, conditions=1e6 + 100 * wanted[:, None], seed=2)[0, :, 0, 8:24]
    assert np.corrcoef(filled.mean(axis=1), wanted)[0, 1] > 0.6


def test_a_known_channel_is_followed_in_time_and_into_the_future() -> None:
    random = np.random.default_rng(0)
    plan = np.repeat(random.integers(0, 2, (48, 1, 8)), 4, axis=2).astype(float)
    X = 2 * plan[:, 0] + 0.1 * random.standard_normal((48, 32))
    config = small(120, batch=24, ssl="none", codebook_size=8)
    fast = dataclasses.replace(config.prior_training, learning_rate=1e-2, checkpoint_every=200)
    config = varied(config, prior_training=fast, tokenizer_training=fast)
    model = SSLTokenizer(config, progress=False, cpu=True)
    model.fit(X, conditions=plan)
    new = np.repeat(random.integers(0, 2, (12, 1, 16)), 4, axis=2).astype(float)
    drawn = model.sample(12, conditions=new[..., :32], seed=1)
    assert np.corrcoef(drawn.ravel(), new[..., :32].ravel())[0, 1] > 0.7
    ahead = model.forecast(2 * new[:, 0, :32], horizon=32, conditions=new, seed=1)
    assert np.corrcoef(ahead.ravel(), new[..., 32:].ravel())[0, 1] > 0.7


# laws


def test_other_weights_are_those_without_conditions() -> None:
    tokenizer = build_tokenizer(small().tokenizer, channels=1, length=LENGTH)
    config = PriorConfig(dim=16, depth=1)
    priors = []
    for sizes in ((0, 0), (2, 3)):
        with seeded(5):
            priors.append(build_prior(config, tokenizer, classes=2, conditions=sizes))
    plain, told = (prior.state_dict() for prior in priors)
    assert type(priors[0]) is Prior
    assert set(told) - set(plain) == {k for k in told if k.startswith("embeddings.0.")}
    assert all(torch.equal(value, told[name]) for name, value in plain.items())


def test_the_unit_of_a_condition_does_not_matter() -> None:
    """Unequal scales far from 0: the door scales in float64, before float32 would lose them."""
    scaled = FEATURES * [1e-3, 1e4] + [7e5, -1e9]
    plain, other = (fitted(given).sample(4, conditions=rows(given, 4)) for given in
                    (FEATURES, scaled))  # fmt: skip
    np.testing.assert_allclose(plain, other, rtol=1e-3, atol=1e-3)


def test_a_constant_covariate_and_the_other_layout() -> None:
    constant = np.full((CASES, 1), 0.1)
    assert np.isfinite(fitted(constant).sample(2, conditions=constant[:2])).all()
    X, calendar = series(CASES), CALENDAR[..., :LENGTH]
    first = SSLTokenizer(small(), progress=False, cpu=True).fit(X, conditions=calendar)
    last = SSLTokenizer(small(), progress=False, cpu=True, layout="channels_last")
    last.fit(X.transpose(0, 2, 1), conditions=calendar.transpose(0, 2, 1))
    turned = last.sample(2, conditions=calendar[:2].transpose(0, 2, 1))
    np.testing.assert_array_equal(
        first.sample(2, conditions=calendar[:2]), turned.transpose(0, 2, 1)
    )


def test_scale_of_training_by_hand() -> None:
    lengths = torch.tensor([4, 2])
    channels = torch.tensor([[[1.0, 2, 3, 6]], [[8.0, 10, 99, 99]]]).double()
    told = read_conditions("x", channels, lengths=lengths, layout=None)
    scale = ConditionScale.of(told, lengths)
    real = np.array([1.0, 2, 3, 6, 8, 10])
    np.testing.assert_allclose(scale.channels[:, 0], [real.mean(), real.std()])
    applied = scale.apply(told, lengths).channels
    np.testing.assert_allclose(applied[0, 0], (channels[0, 0] - 5) / real.std(), rtol=1e-6)
    assert applied[1, 0, 2:].tolist() == [0, 0]
    assert scale.sizes == (0, 1)


def test_cut_by_hand() -> None:
    told = Conditions(torch.zeros(2, 1), torch.arange(14.0).view(2, 1, 7))
    cut = told.cut(torch.tensor([0, 5]), 4)
    assert cut.channels.tolist() == [[[0, 1, 2, 3]], [[12, 13, 0, 0]]]
    assert cut.covariates is told.covariates


@pytest.mark.parametrize("use", ["forecast", "impute", "score_anomalies"])
def test_channels_go_with_their_windows(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Series and channel are the time itself: in every window they must stay side by side."""
    clock = np.arange(LENGTH * 3.0)
    start = np.random.default_rng(0).integers(0, 50, CASES)[:, None, None]
    ramp = start + clock
    model = SSLTokenizer(small(), progress=False, cpu=True)
    model.fit(ramp[..., :LENGTH], conditions=ramp[..., :LENGTH])
    scale = model.artifact_.conditions
    assert scale is not None
    windows = []

    def seen(data: SeriesSet, conditions: Conditions) -> None:
        mean, std = scale.channels[:, 0]
        told = conditions.channels * std + mean
        assert data.valid.any()
        np.testing.assert_allclose(
            told[data.valid], (data.values + data.offset[:, None])[data.valid], atol=1e-3
        )
        windows.append(len(data.values))

    draw, score = draw_missing, anomalies._window_scores

    def watched_draw(tokenizer: Any, prior: Any, data: Any, **options: Any) -> Any:
        seen(data, options["conditions"])
        drawn = draw(tokenizer, prior, data, **options)
        lengths = data.lengths  # as if the model were right, so that a second round stays on time
        first = (data.values + data.offset[:, None])[:, :, :1]
        exact = first + torch.arange(drawn.shape[-1])
        within = torch.arange(drawn.shape[-1]) < lengths[:, None]
        return exact.to(drawn.dtype).masked_fill(~within[:, None], torch.nan).expand_as(drawn)

    def watched_score(tokenizer: Any, prior: Any, data: Any, rates: Any, told: Any) -> Any:
        seen(data, told)
        return score(tokenizer, prior, data, rates, told)

    monkeypatch.setattr(long_series, "draw_missing", watched_draw)
    monkeypatch.setattr(anomalies, "_window_scores", watched_score)
    if use == "forecast":
        drawn = model.forecast(ramp[:3, :, :40], horizon=45, samples=2, conditions=ramp[:3])
        np.testing.assert_allclose(drawn, [ramp[:3, :, 40:85]] * 2)
        assert len(windows) > 2
    elif use == "impute":
        gone = ramp[:3].copy()
        gone[:, :, 20:30] = gone[:, :, 50:70] = np.nan
        np.testing.assert_allclose(model.impute(gone, conditions=ramp[:3])[0], ramp[:3])
        assert len(windows) > 1
    else:
        model.score_anomalies(ramp[:3], conditions=ramp[:3])
        assert sum(windows) > 50


def test_guidance_pushes_away_from_nothing_known() -> None:
    """At scale 0 the conditions do not matter, and the tokens are those of the null vector."""
    tokenizer = build_tokenizer(small().tokenizer, channels=1, length=LENGTH)
    with seeded(0):
        prior: Any = build_prior(
            PriorConfig(dim=16, depth=1), tokenizer, classes=2, conditions=(2, 0)
        )
        for parameter in prior.parameters():
            parameter.data.mul_(2).add_(0.1 * torch.randn_like(parameter))
    hidden = hidden_codes(prior, tokenizer.valid_tokens(torch.full((6,), LENGTH)))
    told = Conditions(torch.randn(6, 2, generator=torch.Generator().manual_seed(1)) * 9)

    def draw(conditions: Conditions, labels: torch.Tensor, scale: float) -> torch.Tensor:
        guidance = partial(classifier_free_guidance, scale=scale)
        decoding = build_decoding(small().decoding, tokenizer, parts=Parts(guidance=guidance))
        return decode_tokens(
            prior, hidden, labels=labels, decoding=decoding, conditions=conditions,
            generator=keyed_generator(0, "x"),
        )  # fmt: skip

    none = torch.full((6,), -1)
    free = draw(told.hidden(), none, 1.0)
    assert torch.equal(draw(told, torch.tensor([0, 1] * 3), 0.0), free)
    assert torch.equal(draw(told, none, 0.0), free)
    assert not torch.equal(draw(told, none, 1.0), free)
    assert not torch.equal(draw(told, none, 3.0), draw(told, none, 1.0))


@pytest.mark.parametrize("classes", [0, 2])
def test_a_share_of_the_conditions_is_dropped_in_training(classes: int) -> None:
    tokenizer = build_tokenizer(small().tokenizer, channels=1, length=LENGTH)
    config = varied(small(batch=400), prior=PriorConfig(dim=16, depth=1, label_dropout=0.3))
    prior = build_prior(config.prior, tokenizer, classes=classes, conditions=(1, 0))
    codes = torch.zeros(400, sum(tokenizer.sizes), dtype=torch.int64)
    labels = torch.arange(400) % classes if classes else torch.full((400,), -1)
    told = Conditions(torch.arange(400.0)[:, None])
    options: Any = {"seed": 3, "world": 1, "parts": Parts()}
    stage, _, _ = prior_stage(prior, codes, labels, config, conditions=told, **options)
    batches: list[PriorBatch] = [stage.draw(step, slice(0, 400)) for step in range(4)]
    plain, _, _ = prior_stage(prior, codes, labels, config, **options)
    for step, batch in enumerate(batches):  # nothing else is drawn otherwise
        other = plain.draw(step, slice(0, 400))
        assert torch.equal(batch.masks, other.masks)
        assert torch.equal(batch.labels, other.labels)
        assert other.conditions is None
    hidden = torch.cat([batch.labels for batch in batches]) < 0
    seen = torch.cat([batch.conditions.known for batch in batches if batch.conditions])
    if not classes:
        assert float(seen.float().mean()) == pytest.approx(0.7, abs=0.05)
        return
    assert float(seen[hidden].float().mean()) == pytest.approx(0.5, abs=0.08)
    assert float(seen[~hidden].float().mean()) == pytest.approx(0.7, abs=0.05)


def test_two_branches_are_told_both() -> None:
    tokenizer = build_tokenizer(small(widths=(4, 8)).tokenizer, channels=1, length=LENGTH)
    prior: Any = build_prior(
        PriorConfig(dim=8, depth=1, high_dim=12, high_depth=1), tokenizer, classes=0,
        conditions=(1, 2),
    )  # fmt: skip
    codes = torch.zeros(3, sum(tokenizer.sizes), dtype=torch.int64)
    none, masks = torch.full((3,), -1), torch.ones_like(codes, dtype=torch.bool)
    told = Conditions(torch.randn(3, 1), torch.randn(3, 2, LENGTH))
    prior_step(prior, PriorBatch(codes, masks, none, conditions=told)).loss.backward()
    for embedding in prior.embeddings:
        grads = [p.grad for p in embedding.parameters() if p is not embedding.null]
        assert all(grad is not None and bool(grad.any()) for grad in grads)
    assert set(loss_by_share(prior, codes, none, shares=(0.5,), conditions=told)) == {0.5}
    with pytest.raises(ValueError, match=r"^Prior: conditions must be given to a ConditionedPrior"):
        prior_step(prior, PriorBatch(codes, masks, none))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_loaded_and_resumed_bit_for_bit(kind: str, tmp_path: pathlib.Path) -> None:
    given = KINDS[kind]
    options: Any = {"labels": list("ab" * 5), "checkpoints": tmp_path / "run"}
    model = fitted(given, **options)
    drawn = model.sample(3, "b", conditions=rows(given, 3))
    loaded = SSLTokenizer.load(model.save(tmp_path / "model"))
    assert isinstance(loaded.artifact_.prior, ConditionedPrior)
    np.testing.assert_array_equal(loaded.sample(3, "b", conditions=rows(given, 3)), drawn)
    for stage in ("tokenizer", "prior"):
        shutil.rmtree(tmp_path / "run" / stage / "step_00000003")
    resumed = fitted(given, **options)
    np.testing.assert_array_equal(resumed.sample(3, "b", conditions=rows(given, 3)), drawn)
    other = given if isinstance(given, np.ndarray) else given.covariates
    with pytest.raises(ValueError, match="checkpoint"):
        fitted(other + 1.0 * np.arange(CASES).reshape(-1, *[1] * (other.ndim - 1)), **options)


# complaints


def test_a_folder_whose_conditions_do_not_fit_is_refused(
    models: dict[str, SSLTokenizer], tmp_path: pathlib.Path
) -> None:
    told, scale = models["both"].artifact_, models["both"].artifact_.conditions
    assert scale is not None
    zero = scale._replace(covariates=scale.covariates * 0)
    for number, (broken, message) in enumerate((
        (told._replace(conditions=None), r"conditions \(0, 0\), which are not those of its prior"),
        (told._replace(conditions=scale._replace(channels=scale.channels[:, :2])),
         r"conditions \(2, 2\), which are not those of its prior"),
        (told._replace(conditions=zero), r"training\.conditions\.covariates of another form"),
        (fitted().artifact_._replace(conditions=scale), r"conditions \(2, 3\), which are not"),
    )):  # fmt: skip
        with pytest.raises(ArtifactError, match=message):
            load_artifact(save_artifact(broken, tmp_path / str(number)))


USES: dict[str, Any] = {
    "sample": lambda model, **more: model.sample(3, **more),
    "generate": lambda model, **more: model.generate([None] * 3, **more).series.numpy(),
    "impute": lambda model, **more: model.impute(series(3), **more),
    "forecast": lambda model, **more: model.forecast(series(3), horizon=7, **more),
    "score_anomalies": lambda model, **more: model.score_anomalies(series(3), **more).scores,
}
"""Whatever draws or scores."""


@pytest.mark.parametrize("use", USES)
def test_every_use_takes_what_fit_was_given_and_that_alone(
    use: str, models: dict[str, SSLTokenizer]
) -> None:
    who = "SSLTokenizer.generate" if use == "sample" else f"SSLTokenizer.{use}"
    for kind, words in (
        ("covariates", "2 covariates"),
        ("channels", "3 known channels"),
        ("both", "2 covariates and 3 known channels"),
    ):
        model, given = models[kind], rows(KINDS[kind], 3)
        assert np.isfinite(USES[use](model, conditions=given)).all()
        with pytest.raises(
            ValueError, match=rf"^{who}: conditions must be given, {words}, as in fit; got None"
        ):
            USES[use](model)
        for other in set(KINDS) - {kind}:
            with pytest.raises(ValueError, match=rf"^{who}: conditions must be {words}, as in fit"):
                USES[use](model, conditions=rows(KINDS[other], 3))
    for wrong, message in (
        (FEATURES[:3, :1], "conditions must be 2 covariates, as in fit; got 1 covariates and 0"),
        (FEATURES[:4], r"covariates must be \(cases, features\) of 3 series; got shape \(4, 2\)"),
        (FEATURES[0], r"conditions must be \(cases, features\) or \(cases, channels, length\)"),
        ([[np.nan, 1.0]] * 3, r"covariates must be finite; got nan at \(0, 0\) and 3 in all"),
    ):
        with pytest.raises(ValueError, match=rf"^{who}: {message}"):
            USES[use](models["covariates"], conditions=wrong)


@pytest.mark.parametrize("use", USES)
def test_a_model_without_refuses_them(use: str) -> None:
    model = fitted()
    who = "SSLTokenizer.generate" if use == "sample" else f"SSLTokenizer.{use}"
    with pytest.raises(
        ValueError, match=rf"^{who}: conditions must be None for a model fitted without; got some"
    ):
        USES[use](model, conditions=FEATURES[:3])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (CALENDAR[..., :20], r"known channels must be at least 33 samples long \(length\); got 20"),
        (CALENDAR[:, :0], r"known channels must be \(cases, channels, length\) of 10 series"),
        (CALENDAR * np.where(np.arange(90) == 32, np.inf, 1), "known channels must be finite; got"),
        (Conditions(), "conditions must hold covariates or channels; got neither"),
        (Conditions(CALENDAR), r"covariates must be \(cases, features\) of 10 series; got shape"),
        (FEATURES[:9], r"covariates must be \(cases, features\) of 10 series; got shape \(9, 2\)"),
        (
            Conditions(FEATURES, None, np.ones(10)),
            "known must be None in conditions that are given",
        ),
    ],
)
def test_fit_refuses(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^SSLTokenizer\.fit: {message}"):
        fitted(given)


def test_fit_refuses_words_and_warped_copies_of_channels() -> None:
    with pytest.raises(TypeError, match=r"^SSLTokenizer\.fit: conditions must be an array of numb"):
        fitted([["a"]] * CASES)
    preset = varied(small(), prior=PriorConfig(dim=16, depth=1, variants=2))
    with pytest.raises(ValueError, match=r"^fit: variants must be 0 with known channels"):
        fitted(CALENDAR, preset=preset)
    assert np.isfinite(fitted(FEATURES, preset=preset).sample(2, conditions=FEATURES[:2])).all()


def test_a_prior_of_ones_own_must_know_them() -> None:
    def own(tokenizer: Any, classes: int) -> Prior:
        return build_prior(PriorConfig(dim=8, depth=1), tokenizer, classes=classes)

    with pytest.raises(ValueError, match=r"^build_prior: a prior must be a ConditionedPrior where"):
        fitted(FEATURES, prior=partial(own))

    def told(tokenizer: Any, classes: int) -> Prior:
        plain = own(tokenizer, classes)
        embedding = ConditionEmbedding(8, features=2, grid=tokenizer.grids[0])
        return ConditionedPrior(
            list(plain.transformers), sizes=plain.sizes, classes=classes, embeddings=[embedding]
        )

    model = fitted(FEATURES, prior=partial(told))
    assert np.isfinite(model.sample(2, conditions=FEATURES[:2])).all()
    with pytest.raises(ValueError, match=r"^build_prior: a prior must be a ConditionedPrior where"):
        fitted(prior=partial(told))
    prior = model.artifact_.prior
    with pytest.raises(ValueError, match=r"^ConditionedPrior: embeddings must be as many as sizes"):
        ConditionedPrior(list(prior.transformers), sizes=prior.sizes, classes=0, embeddings=[])
