"""A tokenizer that learns from partly observed series, and what `impute` makes of it."""

import dataclasses
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ssltok.pipelines._uses._impute as act
from ssltok.data import SeriesSet, read_series
from ssltok.pipelines import (
    Config,
    Parts,
    SSLTokenizer,
    TokenizerConfig,
    auto,
    build_tokenizer,
)
from ssltok.pipelines._uses._impute import draw_missing
from ssltok.signal import GaussianFill, LineFill
from tests.pipelines.small import series, small

LENGTH = 33
GAPPED: dict[str, Any] = {
    "coder": "patch", "gaps": 0.8, "widths": (9,), "ssl": "none", "revival_ratio": 0.0,
}  # fmt: skip
Array = NDArray[np.float32]


def two(cases: int = 12, *, seed: int = 0) -> Array:
    """Two channels, the second of which is the first, upside down, and a little noise."""
    x = series(cases, seed=seed)
    noise = np.random.default_rng(seed).normal(size=x.shape).astype(np.float32)
    return np.concatenate([x, 20 - 2 * x + 0.02 * noise], axis=1)


def fitted(config: Config | None = None, **options: Any) -> SSLTokenizer:
    return SSLTokenizer(config or small(**GAPPED), progress=False, **options).fit(two())


@pytest.fixture(scope="module")
def model() -> SSLTokenizer:
    return fitted()


def holes(x: Array, seed: int = 3, share: float = 0.4) -> Array:
    gone = np.random.default_rng(seed).random(x.shape) < share
    gone[0, :, -4:] = True  # a gap at the end
    gone[1, :, 12:26] = True  # with tokens that see nothing
    gone[2, 1] = True  # a channel without any value
    return np.where(gone, np.nan, x).astype(np.float32)


KINDS: dict[str, dict[str, Any]] = {
    "patch": GAPPED,
    "by channel": GAPPED | {"channelwise": True},
    "transformer": GAPPED | {"coder": "transformer"},
    "spectrogram": GAPPED | {"coder": "spectrogram", "ssl": "barlow_twins"},
    "convolutions": GAPPED | {"coder": "conv"},
    "two codes": GAPPED | {"quantizer": "residual", "codes_per_token": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_values_cannot_leak_and_observed_ones_come_back(kind: str) -> None:
    """Whatever stands in a gap of the set, in units or as padding, the draw is the same."""
    model = fitted(small(2, **KINDS[kind]))
    artifact = model.artifact_
    x = holes(two(4, seed=5))
    data = read_series(x, lengths=[LENGTH] * 4, offset=artifact.tokenizer.offset)
    draws = []
    for garbage in (0.0, 1e6, torch.nan):
        values = data.values.masked_fill(~data.valid, garbage)
        draws += [
            draw_missing(
                artifact.tokenizer, artifact.prior, data._replace(values=values),
                labels=torch.full((4,), -1), samples=2, decoding=artifact.decoding,
                generator=torch.Generator().manual_seed(1), residual=word,
            )
            for word in ("mean", "drawn", "none")
        ]  # fmt: skip
    known = ~np.isnan(x)
    for number, draw in enumerate(draws):
        assert draw.isfinite().all()
        assert torch.equal(draw, draws[number % 3]), "the truth leaks"
        for each in draw.numpy():
            np.testing.assert_array_equal(each[known], x[known])
    np.testing.assert_array_equal(model.impute(x, lengths=[LENGTH] * 4, samples=2)[:, known],
                                  np.stack([x[known]] * 2))  # fmt: skip


@pytest.mark.parametrize("kind", ["patch", "by channel"])
def test_only_tokens_that_see_nothing_are_drawn(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(small(2, **KINDS[kind]))
    tokenizer, seen = model.artifact_.tokenizer, []

    def spy(prior: Any, tokens: torch.Tensor, **options: Any) -> torch.Tensor:
        seen.append(tokens)
        return tokens.masked_fill(tokens == prior.mask_index, 0)

    monkeypatch.setattr(act, "decode_tokens", spy)
    x = holes(two(4, seed=5))
    x[3, :, 20:] = np.nan  # an end
    model.impute(x, lengths=[LENGTH, LENGTH, LENGTH, 20])
    drawn = seen[0] == tokenizer.codebook_size
    observed = ~np.isnan(x)
    patch = -(-LENGTH // 9)
    for case in range(4):
        expected = []
        for channel in range(2 if kind == "by channel" else 1):
            for frame in range(9):
                stretch = observed[case, :, frame * patch : (frame + 1) * patch]
                part = stretch[channel] if kind == "by channel" else stretch
                beyond = case == 3 and frame * patch >= 20
                expected.append(not part.any() and not beyond)
        assert drawn[case].tolist() == expected
    assert drawn[1].any()
    assert not drawn[0, :3].any()
    assert (seen[0][3] == -1).any()


def test_a_whole_series_is_encoded_as_without_the_mask(model: SSLTokenizer) -> None:
    tokenizer = model.artifact_.tokenizer
    data = tokenizer.scaled(read_series(two(5, seed=8)))
    codes = tokenizer.encode(data.values, data.lengths)
    assert torch.equal(codes, tokenizer.encode(data.values, data.lengths, data.valid))
    assert torch.equal(codes, torch.from_numpy(model.encode(two(5, seed=8))))


def test_off_by_default_and_the_same_weights_at_the_start() -> None:
    plain = build_tokenizer(TokenizerConfig(coder="patch"), channels=2, length=32)
    assert plain.fill is None
    assert not any("fill" in key or "missing" in key for key in plain.state_dict())
    starts = []
    for gaps in (0.0, 0.5):
        torch.manual_seed(0)
        config = TokenizerConfig(coder="patch", gaps=gaps)
        starts.append(build_tokenizer(config, channels=2, length=32).state_dict())
    assert all(torch.equal(starts[1][key], value) for key, value in starts[0].items())
    large = build_tokenizer(TokenizerConfig(coder="patch", gaps=0.1), channels=32, length=33)
    assert isinstance(large.fill, LineFill)


def test_a_channel_that_follows_another_is_read_from_it(model: SSLTokenizer) -> None:
    """Half of it in one stretch: a line knows nothing, the other channel all."""
    x = two(6, seed=4)
    gapped = x.copy()
    gapped[:, 1, 8:24] = np.nan
    truth, gone = x[:, 1, 8:24], np.isnan(gapped)
    filled = model.impute(gapped)[0][gone].reshape(truth.shape)
    line = np.stack([np.interp(range(8, 24), (7, 24), row[[7, 24]]) for row in x[:, 1]])
    assert np.abs(filled - truth).mean() < 0.25 * np.abs(line - truth).mean()


def test_draws_spread_and_their_mean_is_the_mean(model: SSLTokenizer) -> None:
    x = two(3, seed=6)
    x[:, :, 5:7] = np.nan  # no token sees nothing: only the rest is drawn
    means = model.impute(x, samples=3, residual="mean")
    np.testing.assert_array_equal(means[0], means[2])
    np.testing.assert_array_equal(model.impute(x)[0], means[0])  # one draw is what is expected
    several = model.impute(x, samples=3)  # and several spread
    np.testing.assert_array_equal(several, model.impute(x, samples=3, residual="drawn"))
    assert (several.std(0)[..., 5:7] > 0).all()
    draws = model.impute(x, samples=400, residual="drawn", seed=2)[..., 5:7]
    deviation = draws.std(0)
    assert (deviation > 0).all()
    off = np.abs(draws.mean(0) - means[0][..., 5:7]) / deviation
    assert off.max() < 5 / np.sqrt(400)
    ahead = model.forecast(x[:, :, :-6], horizon=6, samples=5)
    assert (ahead.std(0) > 0).all()


def test_resumed_saved_and_loaded_to_the_bit(tmp_path: pathlib.Path) -> None:
    config = small(3, **GAPPED | {"ssl": "barlow_twins"})
    x = holes(two(3, seed=5))
    options: dict[str, Any] = {"lengths": [LENGTH] * 3, "samples": 2, "residual": "drawn"}
    model = fitted(config, checkpoints=tmp_path / "run")
    expected = model.impute(x, **options)
    loaded = SSLTokenizer.load(model.save(tmp_path / "model"))
    assert isinstance(loaded.artifact_.tokenizer.fill, GaussianFill)
    np.testing.assert_array_equal(loaded.impute(x, **options), expected)
    for stage in ("tokenizer", "prior"):
        shutil.rmtree(tmp_path / "run" / stage / "step_00000003")
    resumed = fitted(config, checkpoints=tmp_path / "run")
    np.testing.assert_array_equal(resumed.impute(x, **options), expected)


def test_gaps_of_the_data_are_gaps_too() -> None:
    """Training series with missing values, and longer ones to fill, window by window."""
    x = two(12)
    x[:, 0, 10:13] = np.nan
    model = SSLTokenizer(small(**GAPPED), progress=False).fit(x)
    assert float(model.artifact_.tokenizer.fill.covariance.abs().sum()) > 0
    long = np.concatenate([two(3, seed=7)] * 3, axis=2)
    gapped = holes(long, share=0.5)
    filled = model.impute(gapped, lengths=[long.shape[2]] * 3, samples=2)
    known = ~np.isnan(gapped)
    assert np.isfinite(filled).all()
    for draw in filled:
        np.testing.assert_array_equal(draw[known], gapped[known])


def test_a_fill_of_ones_own_and_one_for_whole_series() -> None:
    """`Parts(fill=...)` without `gaps`: tokens are those of lines, the rest is completed."""
    config = small(2, **GAPPED | {"gaps": 0.0})
    model = fitted(config, parts=Parts(fill=GaussianFill))
    assert model.artifact_.tokenizer.fill.covariance.any()
    assert np.isfinite(model.impute(holes(two(3, seed=5)), lengths=[LENGTH] * 3)).all()
    lined = fitted(small(2, **GAPPED), parts=Parts(fill=LineFill))
    x = two(3, seed=5)
    x[:, :, 10:12] = np.nan
    assert np.isfinite(lined.impute(x)).all()
    with pytest.raises(ValueError, match=r"impute: residual 'drawn' needs.*got LineFill"):
        lined.impute(x, residual="drawn")


def test_the_word_fill_completes_the_rest_and_changes_no_token() -> None:
    """A model of whole series: the same codes, and a channel is read from the one it follows."""
    without, having = (fitted(small(2, **GAPPED | {"gaps": 0.0, "fill": f})) for f in (False, True))
    assert without.artifact_.tokenizer.fill is None
    assert isinstance(having.artifact_.tokenizer.fill, GaussianFill)
    x = two(5, seed=8)
    np.testing.assert_array_equal(having.encode(x), without.encode(x))
    truth = x[:, 1, 12:20].copy()
    x[:, 1, 12:20] = np.nan
    errors = [np.abs(m.impute(x)[0][:, 1, 12:20] - truth).mean() for m in (without, having)]
    assert errors[1] < 0.2 * errors[0]
    large = build_tokenizer(TokenizerConfig(coder="patch", fill=True), channels=32, length=33)
    assert isinstance(large.fill, LineFill)
    lined = fitted(small(2, **GAPPED), parts=Parts(fill=LineFill))
    np.testing.assert_array_equal(*lined.impute(x, samples=2))  # which cannot draw


def test_auto_completes_the_rest() -> None:
    assert auto(read_series(two(12))).config.tokenizer.fill
    assert not auto(read_series(two(12)), given={"tokenizer__fill": False}).config.tokenizer.fill


def test_auto_sees_missing_values() -> None:
    data = read_series(two(12))
    assert auto(data).config.tokenizer.gaps == 0
    valid = data.valid.clone()
    valid[3, 1, 5:9] = False
    plan = auto(data._replace(valid=valid))
    assert plan.config.tokenizer.gaps == 0.5
    assert any("partly observed" in reason for reason in plan.reasons)
    given = auto(data._replace(valid=valid), given={"tokenizer__gaps": 0.0})
    assert given.config.tokenizer.gaps == 0
    ends = SeriesSet(data.values, data.valid.clone(), data.lengths.clone(), data.offset)
    ends.valid[2, :, 20:], ends.lengths[2] = False, 20
    assert auto(ends).config.tokenizer.gaps == 0, "an end is no gap"


def test_complaints(model: SSLTokenizer) -> None:
    x = holes(two(3, seed=5))[:2]
    with pytest.raises(ValueError, match=r"residual must be one of mean, drawn, none; got 'line'"):
        model.impute(x, residual="line")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^SSLTokenizer.impute: lengths must be 2 numbers; got 1"):
        model.impute(x, lengths=[LENGTH])
    last = int(np.flatnonzero(~np.isnan(x[0]).all(0))[-1]) + 1
    with pytest.raises(ValueError, match=rf"length of series 0 must lie in \[{last}, 33\].*got 3"):
        model.impute(x, lengths=[3, LENGTH])
    with pytest.raises(ValueError, match=r"must lie in \[\d+, 33\].*got 34"):
        model.impute(x, lengths=[LENGTH, 34])
    with pytest.raises(TypeError, match=r"lengths must be whole numbers; got 33.0 of series 0"):
        model.impute(x, lengths=[33.0, LENGTH])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"^TokenizerConfig: gaps"):
        TokenizerConfig(gaps=1.5)
    whole = dataclasses.replace(small(2), tokenizer=TokenizerConfig(dim=8, blocks=0))
    plain = SSLTokenizer(whole, progress=False).fit(two())
    with pytest.raises(ValueError, match=r"impute: residual 'drawn' needs a model.*got none"):
        plain.impute(two(2), residual="drawn")


class Short(torch.nn.Module):
    """A fill that loses a sample."""

    def forward(self, series: torch.Tensor, observed: torch.Tensor, **_: Any) -> torch.Tensor:
        return series.where(observed, 0.0)[..., 1:]


def test_a_fill_that_does_not_fit_is_refused_before_the_first_step() -> None:
    with pytest.raises(ValueError, match=r"the fill must return series \(1, 2, 33\); got"):
        fitted(parts=Parts(fill=Short))
    with pytest.raises(TypeError):
        fitted(parts=Parts(fill=torch.nn.Identity))
