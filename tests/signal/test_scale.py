"""Scalers: numpy on the real values alone as the oracle, and exact inverses."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.signal import ChannelScaler, GlobalScaler, Scaled, SeriesScaler

FITTED: list[type[ChannelScaler] | type[GlobalScaler]] = [ChannelScaler, GlobalScaler]


def data(seed: int, *, missing: float = 0.3) -> tuple[Tensor, Tensor]:
    """Channels of very different size; NaN wherever a value is not real."""
    generator = torch.Generator().manual_seed(seed)
    series = torch.randn(5, 3, 11, generator=generator, dtype=torch.float64)
    series = series * torch.tensor([[0.01], [1.0], [300.0]]) + torch.tensor([[7.0], [-2], [1e4]])
    valid = torch.rand(5, 3, 11, generator=generator) > missing
    valid[:, :, 0] = True
    return torch.where(valid, series, torch.nan), valid


# oracle


@given(seed=st.integers(0, 200))
def test_oracle_fitted_statistics(seed: int) -> None:
    series, valid = data(seed)
    by_channel = ChannelScaler().fit(series, valid)
    for c in range(3):
        real = series[:, c].numpy()[valid[:, c].numpy()]
        assert by_channel.mean[c].item() == pytest.approx(real.mean(), rel=1e-12)
        assert by_channel.scale[c].item() == pytest.approx(real.std(), rel=1e-12)
    real = series.numpy()[valid.numpy()]
    whole = GlobalScaler().fit(series, valid)
    assert whole.mean.item() == pytest.approx(real.mean(), rel=1e-12)
    assert whole.scale.item() == pytest.approx(real.std(), rel=1e-12)
    expected = (series.numpy() - real.mean()) / real.std()
    np.testing.assert_allclose(whole(series).numpy(), expected, rtol=1e-10, atol=1e-12)


@given(seed=st.integers(0, 200))
def test_oracle_series_statistics(seed: int) -> None:
    series, valid = data(seed)
    scaled = SeriesScaler()(series, valid)
    for b in range(5):
        for c in range(3):
            real = series[b, c].numpy()[valid[b, c].numpy()]
            deviation = real.std() if len(real) > 1 else 1.0
            assert scaled.mean[b, c].item() == pytest.approx(real.mean(), rel=1e-12)
            assert scaled.scale[b, c].item() == pytest.approx(deviation, rel=1e-9)
            expected = (real - real.mean()) / deviation
            actual = scaled.values[b, c].numpy()[valid[b, c].numpy()]
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


# known values


def test_padding_by_series_and_missing_by_channel_are_the_same_mask() -> None:
    series, _ = data(1, missing=0.0)
    valid = torch.arange(11) < torch.tensor([[11], [4], [1], [9], [6]])
    for make in FITTED:
        short = make().fit(series, valid)
        wide = make().fit(series, valid[:, None].expand(-1, 3, -1))
        assert torch.equal(short.mean, wide.mean)
        assert torch.equal(short.scale, wide.scale)
    assert torch.equal(
        SeriesScaler()(series, valid).mean,
        SeriesScaler()(series, valid[:, None].expand(-1, 3, -1)).mean,
    )


def test_a_constant_channel_gets_scale_one_and_loses_nothing() -> None:
    series = torch.stack([torch.full((4, 9), 0.1), torch.arange(36.0).reshape(4, 9)], 1)
    scaler = ChannelScaler().fit(series)
    assert scaler.scale[0].item() == 1.0
    assert scaler(series)[:, 0].abs().max() == 0.0
    assert torch.equal(scaler.inverse(scaler(series))[:, 0], series[:, 0])
    scaled = SeriesScaler()(series)
    assert torch.equal(scaled.scale[:, 0], torch.ones(4, 1))
    assert scaled.values[:, 0].abs().max() == 0.0


def test_no_real_value_at_all() -> None:
    series = torch.full((2, 1, 5), torch.nan)
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    for make in FITTED:
        scaler = make().fit(series, nothing)
        assert scaler.mean.item() == 0.0
        assert scaler.scale.item() == 1.0
    scaled = SeriesScaler()(series, nothing)
    assert scaled.mean.abs().max() == 0.0
    assert scaled.scale.min() == 1.0


@pytest.mark.parametrize("size", [1e-44, 1e-30, 1e-4, 1e30])
def test_extreme_units(size: float) -> None:
    series = torch.tensor([[[0.0, 1.0, 2.0, 5.0]]]) * size
    for make in FITTED:
        scaler = make().fit(series)
        assert scaler.scale.item() > 0
        assert torch.isfinite(scaler(series)).all()
        torch.testing.assert_close(
            scaler.inverse(scaler(series)), series, rtol=1e-5, atol=size * 1e-6
        )
    if size >= 1e-4:
        torch.testing.assert_close(scaler(series).std(correction=0), torch.tensor(1.0))


# laws


@given(seed=st.integers(0, 200))
def test_inverse_gives_the_units_back(seed: int) -> None:
    series, _ = data(seed, missing=0.0)
    new = series * 3 - 8
    for make in FITTED:
        scaler = make().fit(series)
        torch.testing.assert_close(scaler.inverse(scaler(new)), new, rtol=1e-12, atol=1e-10)
        assert scaler(new.float()).dtype == torch.float32
        assert scaler.inverse(new.bfloat16()).dtype == torch.bfloat16
    scaled = SeriesScaler()(series)
    assert isinstance(scaled, Scaled)
    torch.testing.assert_close(SeriesScaler().inverse(*scaled), series, rtol=1e-12, atol=1e-10)


def test_the_training_data_come_out_standardised() -> None:
    series, _ = data(3, missing=0.0)
    values = ChannelScaler().fit(series)(series)
    torch.testing.assert_close(values.mean((0, 2)), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(values.std((0, 2), correction=0), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("make", FITTED)
def test_state_dict_carries_the_statistics(make: type[ChannelScaler]) -> None:
    series, valid = data(2)
    scaler = make().fit(series, valid)
    state = torch.nn.Sequential(scaler).state_dict()
    assert set(state) == {"0.mean", "0.scale"}
    fresh = torch.nn.Sequential(make())
    fresh.load_state_dict(state)
    torch.testing.assert_close(fresh(series), scaler(series), rtol=0, atol=0, equal_nan=True)
    state["0.mean"].add_(1)
    assert not torch.equal(fresh.state_dict()["0.mean"], state["0.mean"])
    with pytest.raises(RuntimeError, match="Missing key"):
        make().load_state_dict({})


@pytest.mark.parametrize("make", FITTED)
def test_casting_the_model_does_not_round_the_units(make: type[ChannelScaler]) -> None:
    series = torch.tensor([[[100_001.0, 100_003.0]]])
    scaler = make().fit(series).bfloat16()
    assert scaler.mean.dtype == torch.float32
    assert scaler.mean.item() == 100_002.0
    assert scaler.double().mean.dtype == torch.float64


def test_forward_writes_nothing_and_fit_leaves_the_series_alone() -> None:
    series, valid = data(4)
    before = series.clone()
    scaler = ChannelScaler().fit(series, valid)
    mean = scaler.mean.clone()
    scaler(series * 9)
    assert torch.equal(scaler.mean, mean)
    torch.testing.assert_close(series, before, rtol=0, atol=0, equal_nan=True)


def test_gradients_and_padding_cannot_leak() -> None:
    series, _ = data(5, missing=0.0)
    series = series[:2, :2, :5].clone().requires_grad_()
    valid = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    scaler = SeriesScaler()
    assert torch.autograd.gradcheck(lambda x: tuple(scaler(x, valid)), (series,))
    scaler(series, valid).mean.sum().backward()
    assert series.grad is not None
    assert series.grad[0, :, 3:].abs().max() == 0.0
    constant = torch.ones(1, 1, 4, requires_grad=True)
    scaler(constant).values.sum().backward()
    assert constant.grad is not None
    assert torch.isfinite(constant.grad).all()


def test_compiles() -> None:
    series, _ = data(6, missing=0.0)
    for module in (ChannelScaler().fit(series), SeriesScaler()):
        compiled: Callable[[Tensor], Tensor | Scaled] = torch.compile(
            module, fullgraph=True, backend="aot_eager"
        )
        torch.testing.assert_close(compiled(series), module(series))


# complaints


@pytest.mark.parametrize("make", FITTED)
def test_complaints_of_fitted_scalers(make: type[ChannelScaler]) -> None:
    who = make.__name__
    series = torch.zeros(2, 3, 5)
    with pytest.raises(ValueError, match=f"{who}: fit must come first; got no statistics"):
        make()(series)
    with pytest.raises(ValueError, match=f"{who}: fit must come first; got no statistics"):
        make().inverse(series)
    with pytest.raises(ValueError, match=rf"{who}: series must be \(batch, channels, length\)"):
        make().fit(torch.zeros(3, 5))
    with pytest.raises(ValueError, match=rf"{who}: series must be floating point; got torch.int"):
        make().fit(series.long())
    with pytest.raises(ValueError, match=rf"{who}: length must be >= 1; got 0"):
        make().fit(torch.zeros(2, 3, 0))
    with pytest.raises(ValueError, match=rf"{who}: valid must be boolean; got torch.float32"):
        make().fit(series, torch.ones(2, 5))
    with pytest.raises(ValueError, match=rf"{who}: valid must have shape \(2, 5\); got \(2, 3\)"):
        make().fit(series, torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=rf"{who}: valid must have shape \(2, 3, 5\); got"):
        make().fit(series, torch.ones(2, 1, 5, dtype=torch.bool))
    fitted = make().fit(series)
    with pytest.raises(ValueError, match=rf"{who}: values must be \(batch, channels, length\)"):
        fitted.inverse(torch.zeros(5))


def test_complaints_about_channels_and_statistics() -> None:
    scaler = ChannelScaler().fit(torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match="ChannelScaler: series must have size 3 in dimension 1"):
        scaler(torch.zeros(2, 1, 5))
    assert GlobalScaler().fit(torch.zeros(2, 3, 5))(torch.zeros(2, 1, 5)).shape == (2, 1, 5)
    series = SeriesScaler()
    with pytest.raises(ValueError, match="SeriesScaler: batch must be >= 1; got 0"):
        series(torch.zeros(0, 3, 5))
    with pytest.raises(ValueError, match=r"mean and values\[..., :1\] must share one shape"):
        series.inverse(torch.zeros(2, 3, 5), torch.zeros(2, 3), torch.ones(2, 3, 1))
    with pytest.raises(ValueError, match=r"scale and values\[..., :1\] must share one shape"):
        series.inverse(torch.zeros(2, 3, 5), torch.zeros(2, 3, 1), torch.ones(3, 1))
