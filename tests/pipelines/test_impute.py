"""`impute` and `forecast`: what is known stays, what is missing is drawn from what is known."""

import numpy as np
import pytest
import torch

from ssltok._shared.modes import evaluation_mode
from ssltok.data._series_set import read_series
from ssltok.pipelines import SSLTokenizer, build_tokenizer, encode_series, timevqvae
from ssltok.pipelines._uses._impute import hidden_tokens
from tests.pipelines.small import series, small

LABELS = ["a", "b"] * 5


@pytest.fixture(scope="module")
def model() -> SSLTokenizer:
    return SSLTokenizer(small(), seed=1).fit(series(), LABELS)


def holes() -> np.ndarray:
    x = series(4, seed=9)
    x[0, :, 5:9] = np.nan
    x[2, :, 20:] = np.nan  # an end, not a hole
    x[3, :, :3] = np.nan
    return x


def test_known_values_stay_and_missing_ones_are_filled(model: SSLTokenizer) -> None:
    x = holes()
    made = model.impute(x, samples=3, seed=1)
    assert made.shape == (3, 4, 1, 33)
    known = ~np.isnan(x)
    for draw in made:
        np.testing.assert_array_equal(draw[known], x[known].astype(np.float32))
    assert np.isfinite(made[:, [0, 1, 3]]).all()
    assert np.isnan(made[:, 2, :, 20:]).all(), "beyond its end a series has no missing values"
    np.testing.assert_array_equal(made, model.impute(x, samples=3, seed=1))
    assert not np.array_equal(made, model.impute(x, samples=3, seed=2), equal_nan=True)


def test_nothing_is_drawn_where_nothing_is_missing(model: SSLTokenizer) -> None:
    x = series(2, seed=4)
    np.testing.assert_array_equal(model.impute(x)[0], x.astype(np.float32))


def test_the_hidden_truth_cannot_be_read(model: SSLTokenizer) -> None:
    """Whatever stood in the gap, the draw is the same: NaN is all that the model gets."""
    x, y = series(2, seed=5), series(2, seed=5)
    y[:, :, 10:15] = 77.0
    for part in (x, y):
        part[:, :, 10:15] = np.nan
    np.testing.assert_array_equal(model.impute(x, seed=3), model.impute(y, seed=3))


def test_tokens_away_from_the_gap_are_those_of_the_series(model: SSLTokenizer) -> None:
    x = holes()
    data = read_series(x, length=33)
    tokenizer = model.artifact_.tokenizer
    missing = ~data.valid & (torch.arange(33) < data.lengths[:, None])[:, None]
    where = hidden_tokens(tokenizer, missing)
    scaled = data._replace(values=tokenizer.scale(data.values, data.valid))
    codes = encode_series(tokenizer, scaled)
    assert where[0].any()
    assert not where[0].all()
    assert not where[1].any()
    assert (codes[2] == -1).any()


def test_hidden_tokens_by_hand() -> None:
    """33 samples in 4 frames of 8.25; half an STFT frame (4 samples) around each is read."""
    config = timevqvae().tokenizer

    tokenizer = build_tokenizer(config, channels=1, length=33)
    missing = torch.zeros(1, 1, 33, dtype=torch.bool)
    missing[0, 0, 14] = True
    for (freq, frames), part in zip(
        tokenizer.grids,
        torch.split(hidden_tokens(tokenizer, missing), list(tokenizer.sizes), dim=1),
        strict=True,
    ):
        expected = []
        for _ in range(freq):
            for frame in range(frames):
                begin, end = frame * 33 / frames - 4, (frame + 1) * 33 / frames + 4
                expected.append(begin <= 14 < end)
        assert part[0].tolist() == expected


def test_a_forecast_is_an_imputation_at_the_end(model: SSLTokenizer) -> None:
    x = series(3, seed=6)[:, :, :25]
    made = model.forecast(x, LABELS[:3], horizon=8, samples=2, seed=1)
    assert made.shape == (2, 3, 1, 8)
    assert np.isfinite(made).all()
    assert not np.array_equal(made[0], made[1])
    filled = model.impute(np.concatenate([x, np.full((3, 1, 8), np.nan)], axis=2))
    assert np.isnan(filled[..., 25:]).all(), "a tail of NaN is padding, not a hole"


def test_each_series_goes_on_from_its_own_end(model: SSLTokenizer) -> None:
    long, short = series(2, seed=6)
    both = model.forecast([long[:, :25], short[:, :17]], horizon=4)
    alone = model.forecast([short[:, :17]], horizon=4)
    assert both.shape == (1, 2, 1, 4)
    assert np.isfinite(both).all()
    assert np.isfinite(alone).all()


def test_complaints(model: SSLTokenizer) -> None:
    x = series(3, seed=6)
    with pytest.raises(ValueError, match=r"^SSLTokenizer.forecast: horizon must be >= 1; got 0"):
        model.forecast(x, horizon=0)
    with pytest.raises(ValueError, match=r"impute: y must hold 3 labels.*got 2 and 1"):
        model.impute(x, ["a", "b"])
    with pytest.raises(ValueError, match=r"SSLTokenizer.impute: .*'c'"):
        model.impute(x, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"samples be >= 1; got 3 and 0"):
        model.impute(x, samples=0)


def test_modes_come_back_whatever_happens() -> None:
    module = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout())
    module[1].eval()

    def fail() -> None:
        with evaluation_mode(module):
            assert not any(part.training for part in module.modules())
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail()
    assert [part.training for part in module.modules()] == [True, True, False]
