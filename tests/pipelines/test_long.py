"""Series longer than the model: against loops over windows, with the model and with a stand-in."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.data import SeriesSet, read_series
from ssltok.pipelines import SSLTokenizer
from ssltok.pipelines._uses import _long as long
from ssltok.pipelines._uses._impute import impute_series
from ssltok.training import keyed_generator
from tests.pipelines.small import series, small

ROOM = 33
CHANNELS = 2


@pytest.fixture(scope="module")
def model() -> SSLTokenizer:
    return SSLTokenizer(small(), seed=1).fit(series(channels=CHANNELS), list("ab" * 5))


def far(cases: int = 2, length: int = 80, seed: int = 3) -> np.ndarray:
    return series(cases, channels=CHANNELS, length=length, seed=seed)


def test_codes_of_a_long_series_are_those_of_its_stretches(model: SSLTokenizer) -> None:
    x = far()
    x[1, 0, 40:47] = np.nan
    codes = model.encode(x)
    assert codes.shape == (2, 3 * model.tokens_)
    parts = [model.encode(x[..., k : k + ROOM]) for k in range(0, 80, ROOM)]
    np.testing.assert_array_equal(codes, np.concatenate(parts, axis=1))
    back = model.decode(codes)
    assert back.shape == (2, CHANNELS, 3 * ROOM)
    np.testing.assert_array_equal(back[..., ROOM : 2 * ROOM], model.decode(parts[1]))
    ragged = model.encode([x[0], x[1, :, :20]])
    np.testing.assert_array_equal(ragged[0], codes[0])
    assert (ragged[1, model.tokens_ :] == -1).all()
    np.testing.assert_array_equal(ragged[1, : model.tokens_], model.encode(x[1:, :, :20])[0])


def test_a_long_series_is_rebuilt_from_windows_that_overlap(model: SSLTokenizer) -> None:
    for length in (34, 49, 50, 80):
        x = far(length=length)
        starts = list(range(0, length - ROOM + 1, ROOM // 2))
        if starts[-1] + ROOM < length:
            starts.append(length - ROOM)
        above, below = np.zeros(x.shape), np.zeros(length)
        weights = np.sin(np.pi * np.arange(1, ROOM + 1) / (ROOM + 1)) ** 2
        for s in starts:
            above[..., s : s + ROOM] += weights * model.reconstruct(x[..., s : s + ROOM])
            below[s : s + ROOM] += weights
        np.testing.assert_allclose(model.reconstruct(x), above / below, rtol=1e-4)
    both = model.reconstruct([x[0], x[1, :, :20]])
    assert both.shape == (2, CHANNELS, 80)
    # Another batch may round in another way.
    np.testing.assert_allclose(both[0], model.reconstruct(x)[0], rtol=1e-5)
    np.testing.assert_allclose(both[1, :, :ROOM], model.reconstruct(x[1:, :, :20])[0], rtol=1e-5)
    assert np.isnan(both[1, :, 20:]).all()


def test_known_values_stay_and_every_gap_is_filled(model: SSLTokenizer) -> None:
    x = far(3, 120)
    x[0, :, 20:95] = np.nan  # longer than the model
    x[1, 0, 5:8] = x[1, 1, 60:64] = np.nan
    x[2, :, 100:] = np.nan  # an end
    filled = model.impute(x, samples=3, seed=5)
    assert filled.shape == (3, 3, CHANNELS, 120)
    known = ~np.isnan(x)
    for draw in filled:
        np.testing.assert_array_equal(draw[known], x[known])
    assert np.isfinite(filled[:, :2]).all()
    assert np.isnan(filled[:, 2, :, 100:]).all()
    assert not np.array_equal(filled[0], filled[1], equal_nan=True)
    np.testing.assert_array_equal(filled, model.impute(x, samples=3, seed=5))
    np.testing.assert_array_equal(model.impute(far(2, 90))[0], far(2, 90))


def test_a_channel_that_was_never_measured_does_not_spoil_the_rest(model: SSLTokenizer) -> None:
    x = far(2, 100)
    x[0, 1] = np.nan
    for result in (model.impute(x)[0], model.forecast(x, horizon=60)[0], model.reconstruct(x)):
        assert np.isnan(result[0, 1]).all()  # nothing is known of it
        assert np.isfinite(result[[0, 1, 1], [0, 0, 1]]).all()


def test_a_channel_that_is_silent_for_longer_than_the_model_is_filled(model: SSLTokenizer) -> None:
    x = far(1, 120)
    x[0, 1, 10:110] = np.nan
    assert np.isfinite(model.impute(x)).all()
    x[0, 1, 10:] = np.nan
    assert np.isfinite(model.forecast(x, horizon=60)).all()
    assert np.isfinite(model.reconstruct(x)).all()


def test_a_level_and_a_layout_pass_through_long_series() -> None:
    level = np.array([0.0, 1e7])[:, None]
    plain = series(channels=CHANNELS).astype(np.float64)
    raised = SSLTokenizer(small(), seed=1).fit(plain + level, list("ab" * 5))
    last = SSLTokenizer(small(), seed=1, layout="channels_last")
    last.fit((plain + level).swapaxes(1, 2), list("ab" * 5))
    x = far(2, 100).astype(np.float64) + level
    x[:, :, 40:60] = np.nan
    known = ~np.isnan(x)
    spread = np.ptp(plain, axis=(0, 2))[:, None]
    filled = raised.impute(x, samples=2, seed=3)
    assert filled.dtype == np.float64
    for draw in filled:
        np.testing.assert_allclose(draw[known], x[known], rtol=0, atol=1e-6 * spread.max())
    turned = {
        "impute": (filled, last.impute(x.swapaxes(1, 2), samples=2, seed=3)),
        "forecast": (
            raised.forecast(x, horizon=50, samples=2, seed=3),
            last.forecast(x.swapaxes(1, 2), horizon=50, samples=2, seed=3),
        ),
        "reconstruct": (raised.reconstruct(x), last.reconstruct(x.swapaxes(1, 2))),
        "decode": (raised.decode(raised.encode(x)), last.decode(last.encode(x.swapaxes(1, 2)))),
    }
    for name, (first, other) in turned.items():
        np.testing.assert_array_equal(first, other.swapaxes(-1, -2), err_msg=name)
        away = np.abs(first - level - plain.mean(axis=(0, 2))[:, None])
        assert (away < 5 * spread).all(), name
        assert len(np.unique(first[..., 1, :])) > 20, name  # no digits were lost


def test_what_fits_is_drawn_at_once_with_the_bits_of_before(model: SSLTokenizer) -> None:
    x = far(3, 25)
    artifact = model.artifact_
    data = read_series(x, length=ROOM)
    filled = impute_series(
        artifact.tokenizer, artifact.prior, data._replace(lengths=data.lengths + 8),
        labels=torch.tensor([0, 1, -1]), samples=2, decoding=artifact.decoding,
        generator=keyed_generator(4, "forecast"),
    )  # fmt: skip
    drawn = model.forecast(x, ["a", "b", None], horizon=8, samples=2, seed=4)
    np.testing.assert_array_equal(drawn, filled[..., 25:].numpy())


@pytest.mark.parametrize(("length", "horizon"), [(25, 9), (33, 1), (20, 70), (90, 40), (90, 5)])
def test_forecasts_of_any_length(model: SSLTokenizer, length: int, horizon: int) -> None:
    x = far(2, length)
    drawn = model.forecast(x, horizon=horizon, samples=3, seed=1)
    assert drawn.shape == (3, 2, CHANNELS, horizon)
    assert np.isfinite(drawn).all()
    assert not np.array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn, model.forecast(x, horizon=horizon, samples=3, seed=1))
    if length > ROOM:  # only the last samples are read
        other = x.copy()
        other[..., : length - ROOM] += 5.0
        again = model.forecast(other, horizon=horizon, samples=3, seed=1)
        np.testing.assert_array_equal(drawn, again)


def ramp(_: Any, __: Any, data: SeriesSet, *, samples: int, **___: Any) -> Tensor:
    """A stand-in for the model that goes up by one a sample from the last valid value before.

    The draws of one series differ by a thousand in their first missing value.
    """
    assert data.values.shape[-1] == ROOM
    assert int(data.lengths.max()) <= ROOM
    draws = []
    for draw in range(samples):
        values = data.values.clone()
        for case, length in enumerate(data.lengths.tolist()):
            for channel in range(CHANNELS):
                fresh = True
                for t in range(1, length):
                    if not data.valid[case, channel, t]:
                        step = 1 + 1000 * draw * fresh
                        values[case, channel, t] = values[case, channel, t - 1] + step
                        fresh = False
        draws.append(values)
    return torch.stack(draws)


def test_every_draw_goes_on_from_itself(
    model: SSLTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long, "draw_missing", ramp)
    for lengths in ([25, 12], [90, 40], [33, 33]):
        cases = [k * 100.0 + np.arange(n) + np.zeros((CHANNELS, 1)) for k, n in enumerate(lengths)]
        drawn = model.forecast(cases, horizon=70, samples=2)
        for draw in range(2):
            for k, n in enumerate(lengths):
                expected = 100 * k + 1000 * draw + np.arange(n, n + 70)
                np.testing.assert_array_equal(drawn[draw, k], np.tile(expected, (CHANNELS, 1)))


def naive_fill(data: SeriesSet, case: int) -> Tensor:
    """Window after window, each with what those before have drawn; middles are drawn only."""
    length = int(data.lengths[case])
    values, valid = data.values[case].clone(), data.valid[case].clone()
    stride = ROOM // 2
    starts = list(range(0, max(length - ROOM, 0) + 1, stride))
    if starts[-1] + ROOM < length:
        starts.append(length - ROOM)
    for k, s in enumerate(starts):
        until = length if k + 1 == len(starts) else (s + starts[k + 1] + ROOM) // 2
        size = min(ROOM, length - s)
        piece, real = torch.zeros(1, CHANNELS, ROOM), torch.zeros(1, CHANNELS, ROOM).bool()
        piece[0, :, :size] = values[:, s : s + size]
        real[0, :, :size] = valid[:, s : s + size]
        window = SeriesSet(piece, real, torch.tensor([size]))
        drawn = ramp(None, None, window, samples=1)[0, 0]
        for t in range(s, until):
            gone = ~valid[:, t]
            values[gone, t] = drawn[gone, t - s]
            valid[:, t] = True
    return values


@given(st.integers(34, 150), st.integers(8, 150), st.integers(0, 1000))
def test_windows_know_what_those_before_have_drawn(first: int, second: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    cases = []
    for length in (first, second):
        x = 10 * random.normal(size=(CHANNELS, length))
        for _ in range(4):
            begin = random.integers(1, length)
            x[random.integers(CHANNELS), begin : begin + random.integers(1, 50)] = np.nan
        x[:, [0, -1]] = 1.0
        cases.append(x)
    data = long.widen(read_series(cases), ROOM)
    bare: Any = _Bare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long, "draw_missing", ramp)
        filled = long.impute_long(
            bare, data, labels=torch.tensor([-1, -1]), samples=1, generator=torch.Generator()
        )
    for case, length in enumerate(data.lengths.tolist()):
        expected = naive_fill(data, case)[:, :length]
        np.testing.assert_array_equal(filled[0, case, :, :length], expected)


def by_label(
    _: Any, __: Any, data: SeriesSet, *, labels: Tensor, samples: int, generator: Any, **___: Any
) -> Tensor:
    """A stand-in that fills with a thousand times the label, and a number that each row draws."""
    assert samples * len(data.values) <= 6, "no draw is drawn again"
    drawn = torch.rand((samples, len(labels), 1, 1), generator=generator)
    return torch.where(data.valid, data.values, 1000.0 * labels[:, None, None] + drawn)


def half_a_window(stand_in: Any) -> Any:
    """The stand-in, after asking that at most half a window is drawn at a time."""

    def drawn(_: Any, __: Any, data: SeriesSet, **options: Any) -> Tensor:
        gone = ~data.valid & (torch.arange(ROOM) < data.lengths[:, None])[:, None]
        assert int(gone.sum(dim=2).max()) <= ROOM // 2
        filled: Tensor = stand_in(_, __, data, **options)
        return filled

    return drawn


def test_each_draw_has_its_label_and_its_own_numbers(
    model: SSLTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long, "draw_missing", by_label)
    x = far(2, 120)
    x[:, :, 20:95] = np.nan
    filled = model.impute(x, ["b", "a"], samples=3)[..., 20:95]
    monkeypatch.setattr(long, "draw_missing", half_a_window(by_label))
    ahead = model.forecast(x, ["b", "a"], horizon=70, samples=3)
    for drawn in (filled, ahead):
        label = np.array([1, 0])[:, None, None]
        np.testing.assert_array_equal(drawn // 1000, np.broadcast_to(label, drawn.shape))
        for t in range(drawn.shape[-1]):
            assert len(np.unique(drawn[:, :, 0, t])) == 6


class _Bare:
    """All that `impute_long` asks of an artefact where a stand-in draws."""

    prior = decoding = None

    class tokenizer:  # noqa: N801
        length, fill = ROOM, None


def test_complaints(model: SSLTokenizer) -> None:
    for method in ("transform", "token_vectors", "score"):
        with pytest.raises(ValueError, match=rf"^SSLTokenizer.{method}: series must have at mo"):
            getattr(model, method)(far())
    with pytest.raises(ValueError, match=r"^SSLTokenizer.decode: codes must be int64 \(cases, "):
        model.decode(np.zeros((2, model.tokens_ + 1), dtype=np.int64))
    with pytest.raises(ValueError, match=r"^SSLTokenizer.forecast: horizon must be >= 1; got -2$"):
        model.forecast(far(), horizon=-2)
