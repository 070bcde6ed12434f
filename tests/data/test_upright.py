"""Series on their side: refused where shape and values say so, and never what stands upright."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ssltok.data import read_series

CASES, TIME, CHANNELS = 50, 24, 28
RANDOM = np.random.default_rng(0)


def waves(cases: int = CASES, channels: int = CHANNELS, length: int = TIME) -> Any:
    phases = RANDOM.uniform(0, 6, (cases, channels, 1))
    return np.sin(np.arange(length) / 3 + phases)


def walks(cases: int = CASES, channels: int = CHANNELS, length: int = TIME) -> Any:
    return RANDOM.normal(size=(cases, channels, length)).cumsum(2)


def common(cases: int = CASES, channels: int = CHANNELS, length: int = TIME) -> Any:
    x = np.sin(np.linspace(0, 6, length)) * RANDOM.normal(size=(channels, 1))
    return x + 0.1 * RANDOM.normal(size=(cases, channels, length))


def gapped(cases: int = CASES, channels: int = CHANNELS, length: int = TIME) -> Any:
    x = walks(cases, channels, length)
    return np.where(RANDOM.random(x.shape) < 0.1, np.nan, x)


SERIES: dict[str, Callable[..., Any]] = {
    "waves": waves, "walks": walks, "common": common, "gaps": gapped,
}  # fmt: skip


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("sizes", [(28, 24), (24, 28), (40, 9), (9, 40)])
def test_time_second_is_refused_and_time_last_is_read(name: str, sizes: tuple[int, int]) -> None:
    channels, length = sizes
    if length < 12:
        length = 16
    x = SERIES[name](CASES, channels, length)
    assert read_series(x).values.shape == x.shape
    turned = np.ascontiguousarray(x.swapaxes(1, 2))
    with pytest.raises(ValueError, match=r"look like \(length, channels\).*layout='channels_last'"):
        read_series(turned, who="SSLTokenizer.fit")
    with pytest.raises(ValueError, match=r"look like \(length, channels\)"):
        read_series(list(turned))


def test_a_layout_always_wins() -> None:
    x = walks()
    turned = x.swapaxes(1, 2)
    expected = read_series(x)
    last: Any
    for last in (turned, torch.from_numpy(turned.copy()), list(turned), turned.tolist()):
        got = read_series(last, layout="channels_last")
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert read_series(turned, layout="channels_first").values.shape == turned.shape
    ragged = [turned[0], turned[1][:10]]
    assert read_series(ragged, layout="channels_last").lengths.tolist() == [24, 10]
    flat = x[:, 0]
    assert torch.equal(read_series(flat, layout="channels_last").values, read_series(flat).values)
    with pytest.raises(ValueError, match=r"^me: layout must be one of channels_first, channels_la"):
        read_series(x, layout="time_first", who="me")


def test_shapes_alone_hint_at_the_layout() -> None:
    x = walks(6, 3, 40).swapaxes(1, 2)
    with pytest.raises(ValueError, match=r"8 samples; got 3 at most; is it \(length, channels\)"):
        read_series(x)
    with pytest.raises(ValueError, match=r"must have 30 channel\(s\); got 25.*see layout="):
        read_series([np.zeros((30, 9)), np.zeros((25, 9))])
    with pytest.raises(ValueError, match=r"got 3 at most; are the rows of X times\?.*windows"):
        read_series(walks(1, 3, 40)[0].T)


@pytest.mark.parametrize("name", sorted({*SERIES} - {"common"}))
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, lambda x: x.tolist()])
def test_a_log_of_55_sensors_is_refused_as_series_of_55_samples(
    name: str, kind: Callable[..., Any]
) -> None:
    # "common" is left out: columns of one course may as well be rows of different levels.
    log = SERIES[name](1, 55, 400)[0] + RANDOM.normal(size=(55, 1)) * 30
    with pytest.raises(ValueError, match=r"400 rows of 55 that look like a table whose rows are"):
        read_series(kind(np.ascontiguousarray(log.T)))
    assert read_series(log.T, layout="channels_first").values.shape == (400, 1, 55)
    assert read_series(log[None]).values.shape == (1, 55, 400)


UPRIGHT: dict[str, Callable[[], Any]] = {
    "noise": lambda: RANDOM.normal(size=(40, 32)),
    "noise sorted by class": lambda: np.repeat([0, 9], 20)[:, None] + RANDOM.normal(size=(40, 32)),
    "noise with drift": lambda: np.arange(99)[:, None] + RANDOM.normal(size=(99, 30)),
    "constants in order": lambda: np.arange(20.0)[:, None].repeat(16, 1),
    "walks": lambda: walks(60, 1, 32)[:, 0],
    "waves sorted by pitch": lambda: np.sin(np.outer(np.linspace(1, 2, 80), np.arange(48) / 4)),
    "one template": lambda: np.sin(np.arange(64) / 5) + 0.01 * RANDOM.normal(size=(30, 64)),
    "events": lambda: (RANDOM.random((50, 40)) < 0.1).astype(float),
    "ramp of trends": lambda: np.outer(np.arange(50.0), np.arange(40.0)),
    "three channels": lambda: np.arange(3.0)[:, None] + RANDOM.normal(size=(20, 3, 9)),
    "levels of channels": lambda: 10 * RANDOM.permutation(12)[:, None]
    + RANDOM.normal(size=(20, 12, 32)),
    "bands of a spectrum": lambda: np.exp(-np.arange(20) / 5)[:, None] * np.abs(walks(30, 20, 40)),
    "more channels": lambda: walks(20, 60, 40),
    "one case": lambda: walks(1, 12, 50),
    "few samples": lambda: walks(30, 4, 8),
}  # fmt: skip


@pytest.mark.parametrize("name", UPRIGHT)
def test_ordinary_series_are_read(name: str) -> None:
    assert len(read_series(UPRIGHT[name]()).values)


def test_a_fitted_model_does_not_ask_again() -> None:
    turned = walks().swapaxes(1, 2)
    zeros = torch.zeros(TIME, dtype=torch.float64)
    assert len(read_series(turned, channels=TIME, offset=zeros).values) == CASES


def test_more_channels_than_samples_must_be_smooth_in_time() -> None:
    noise = np.random.default_rng(1).normal(size=(20, 16, 12))
    with pytest.raises(ValueError, match=r"got 16 channels of 12 samples that look like"):
        read_series(noise)
    assert read_series(noise, layout="channels_first").values.shape == noise.shape
    assert read_series(noise.cumsum(2)).values.shape == noise.shape
    assert read_series(noise.swapaxes(1, 2)).values.shape == (20, 12, 16)
