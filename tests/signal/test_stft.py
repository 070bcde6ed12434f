"""STFT and ISTFT: numpy and torch as oracles, and a round trip at every length."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from ssltok.signal import ISTFT, STFT, split_bands

SIZES = [(2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (6, 2), (6, 3), (8, 2), (8, 8), (10, 2), (32, 16)]


def series_of(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype) + torch.arange(shape[-1]) / 50


def naive_stft(series: Tensor, n_fft: int, hop: int, frames: int) -> NDArray[np.float64]:
    """Frames cut one by one from a reflected series, each through numpy's FFT."""
    batch, channels, length = series.shape
    if hop == n_fft:
        window = np.ones(n_fft)
    else:
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    out = np.zeros((batch, 2 * channels, n_fft // 2 + 1, frames))
    for b in range(batch):
        for c in range(channels):
            padded = np.pad(series[b, c].double().numpy(), n_fft + length, mode="reflect")
            for t in range(frames):
                start = t * hop - n_fft // 2 + n_fft + length
                spectrum = np.fft.rfft(window * padded[start : start + n_fft]) / np.sqrt(n_fft)
                out[b, 2 * c, :, t] = spectrum.real
                out[b, 2 * c + 1, :, t] = spectrum.imag
    return out


# oracle


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
@pytest.mark.parametrize("length", [1, 2, 3, 9, 17, 40])
def test_oracle_numpy_frames(n_fft: int, hop: int, length: int) -> None:
    series = series_of(2, 3, length)
    stft = STFT(n_fft=n_fft, hop=hop)
    expected = naive_stft(series, n_fft, hop, stft.frames(length))
    np.testing.assert_allclose(stft(series).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(stft(series.float()).numpy(), expected, atol=2e-6)


@given(
    n_fft=st.sampled_from([4, 8, 12, 32]),
    length=st.integers(20, 90),
    channels=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_oracle_torch_with_its_own_constants(
    n_fft: int, length: int, channels: int, seed: int
) -> None:
    series = series_of(2, channels, length, seed=seed)
    window = torch.hann_window(n_fft, dtype=torch.float64)
    complex_ = torch.stft(
        series.flatten(0, 1), n_fft, n_fft // 4, window=window, normalized=True, return_complex=True
    )
    expected = torch.stack([complex_.real, complex_.imag], 1).reshape(
        2, 2 * channels, n_fft // 2 + 1, -1
    )
    actual = STFT(n_fft=n_fft)(series)
    torch.testing.assert_close(actual, expected)
    back = torch.istft(complex_, n_fft, n_fft // 4, window=window, normalized=True, length=length)
    torch.testing.assert_close(
        ISTFT(n_fft=n_fft)(actual, length), back.reshape(2, channels, length)
    )


def test_oracle_inverse_of_a_spectrogram_that_no_series_has() -> None:
    spectrogram = series_of(2, 4, 5, 9)
    parts = spectrogram.reshape(4, 2, 5, 9)
    expected = torch.istft(
        torch.complex(parts[:, 0], parts[:, 1]),
        8, 2, window=torch.hann_window(8, dtype=torch.float64), normalized=True, length=17,
    )  # fmt: skip
    actual = ISTFT(n_fft=8, hop=2)(spectrogram, 17)
    torch.testing.assert_close(actual, expected.reshape(2, 2, 17))


# known values


def test_a_cosine_lands_in_its_bin() -> None:
    n_fft, k = 16, 3
    series = torch.cos(2 * math.pi * k * torch.arange(64.0, dtype=torch.float64) / n_fft)
    spectrogram = STFT(n_fft=n_fft, hop=16)(series[None, None])[0, :, :, 1]
    # frame 1 starts at sample 8: the phase is pi * 3; n_fft / 2 / sqrt(n_fft) = 2
    expected = torch.zeros(2, 9, dtype=torch.float64)
    expected[0, k] = -2.0
    torch.testing.assert_close(spectrogram, expected)


def test_a_sine_has_a_negative_imaginary_part() -> None:
    series = torch.sin(2 * math.pi * torch.arange(32.0, dtype=torch.float64) / 8)
    spectrogram = STFT(n_fft=8, hop=8)(series[None, None])
    # frame 1 starts at sample 4, half a period on: sin becomes -sin, so -(-1) * 8 / 2 / sqrt(8)
    assert spectrogram[0, 1, 1, 1].item() == pytest.approx(4 / math.sqrt(8))
    assert spectrogram[0, 0, 1, 1].item() == pytest.approx(0.0, abs=1e-12)


def test_parseval_without_overlap() -> None:
    series = series_of(1, 1, 64)
    spectrogram = STFT(n_fft=8, hop=8)(series)[0, :, :, 1:-1]  # inner frames: samples 4 ... 59
    power = spectrogram.square().sum(0)
    total = power[0].sum() + 2 * power[1:-1].sum() + power[-1].sum()
    torch.testing.assert_close(total, series[0, 0, 4:60].square().sum())


def test_the_scale_of_noise_does_not_grow_with_n_fft() -> None:
    series = torch.randn(64, 1, 512, generator=torch.Generator().manual_seed(0))
    powers = [STFT(n_fft=n)(series)[:, :, 1:-1].square().mean().item() for n in (8, 32, 128)]
    # the mean of the squared Hann window is 3/8, half of it in each part
    assert powers == pytest.approx([3 / 16] * 3, rel=0.05)


def test_the_first_and_last_bin_have_no_imaginary_part() -> None:
    spectrogram = STFT(n_fft=8)(series_of(2, 1, 33, dtype=torch.float32))
    assert spectrogram[:, 1, 0].abs().max() == 0
    assert spectrogram[:, 1, -1].abs().max() == 0


def test_published_frame_counts() -> None:
    assert [STFT(n_fft=8, hop=2).frames(n) for n in (65, 96, 945)] == [33, 49, 473]
    assert [STFT(n_fft=4, hop=1).frames(n) for n in (65, 128)] == [66, 129]
    assert STFT(n_fft=8).hop == 2
    assert STFT(n_fft=2).hop == 1
    assert STFT(n_fft=8).bins == 5


def test_one_more_frame_only_where_the_tail_would_be_lost() -> None:
    stft = STFT(n_fft=8, hop=4)
    assert [stft.frames(n) for n in (8, 9, 10, 11, 12)] == [3, 3, 3, 4, 4]


# laws


@pytest.mark.parametrize(
    ("n_fft", "hop"), [(8, 2), (4, 1), (2, 1), (8, 8), (8, 4), (6, 3), (64, 32), (512, 128)]
)
def test_round_trip_at_every_length(n_fft: int, hop: int) -> None:
    stft, istft = STFT(n_fft=n_fft, hop=hop), ISTFT(n_fft=n_fft, hop=hop)
    whole = torch.randn(1, 2, 2048, generator=torch.Generator().manual_seed(n_fft))
    step = 1 if (n_fft, hop) in {(8, 2), (4, 1), (8, 8)} else 29
    for length in [*range(8, 2049, step), 2048]:
        series = whole[..., :length]
        spectrogram = stft(series)
        assert spectrogram.shape == (1, 4, stft.bins, stft.frames(length))
        error = (istft(spectrogram, length) - series).abs().max().item()
        assert error <= 1e-5, (length, error)


@given(
    half=st.integers(1, 40), divisor=st.integers(1, 80), length=st.integers(1, 200),
    channels=st.integers(1, 3),
)  # fmt: skip
def test_round_trip_any_size(half: int, divisor: int, length: int, channels: int) -> None:
    n_fft = 2 * half
    hop = math.gcd(n_fft, divisor)
    series = series_of(2, channels, length, seed=half)
    spectrogram = STFT(n_fft=n_fft, hop=hop)(series)
    back = ISTFT(n_fft=n_fft, hop=hop)(spectrogram, length)
    torch.testing.assert_close(back, series, atol=1e-11, rtol=0)
    single = ISTFT(n_fft=n_fft, hop=hop)(spectrogram.float(), length)
    torch.testing.assert_close(single, series.float(), atol=1e-5, rtol=0)


@given(half=st.integers(1, 40), divisor=st.integers(1, 80), length=st.integers(1, 200))
def test_the_inverse_never_divides_by_little(half: int, divisor: int, length: int) -> None:
    n_fft = 2 * half
    istft = ISTFT(n_fft=n_fft, hop=math.gcd(n_fft, divisor))
    weights = istft.window.square()[None, :, None].expand(1, -1, istft.frames(length))
    assert istft._overlap_add(weights, length).min().item() >= 0.249


def test_bands_of_a_series_add_up_to_it() -> None:
    series = series_of(2, 3, 45)
    low, high = split_bands(STFT(n_fft=8)(series), edge=2)
    x_low = ISTFT(n_fft=8, band=(0, 2))(low, 45)
    x_high = ISTFT(n_fft=8, band=(2, 5))(high, 45)
    torch.testing.assert_close(x_low + x_high, series)
    padded = torch.cat([low, torch.zeros_like(high)], 2)
    torch.testing.assert_close(ISTFT(n_fft=8)(padded, 45), x_low)
    padded = torch.cat([torch.zeros_like(low), high], 2)
    torch.testing.assert_close(ISTFT(n_fft=8)(padded, 45), x_high)


@pytest.mark.parametrize(("n_fft", "hop", "length"), [(8, 2, 11), (16, 4, 5), (4, 4, 7)])
def test_gradients(n_fft: int, hop: int, length: int) -> None:
    series = series_of(1, 2, length).requires_grad_()
    stft, istft = STFT(n_fft=n_fft, hop=hop), ISTFT(n_fft=n_fft, hop=hop)
    assert torch.autograd.gradcheck(stft, (series,))
    spectrogram = stft(series).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda u: istft(u, length), (spectrogram,))


def test_autocast_and_low_precision_compute_in_single() -> None:
    series = series_of(2, 1, 30, dtype=torch.float32)
    stft, istft = STFT(n_fft=8), ISTFT(n_fft=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        spectrogram = stft(series)
        back = istft(spectrogram, 30)
    assert spectrogram.dtype == back.dtype == torch.float32
    torch.testing.assert_close(spectrogram, stft(series), rtol=0, atol=0)
    torch.testing.assert_close(back, series, atol=1e-5, rtol=0)
    half = stft(series.bfloat16())
    torch.testing.assert_close(half, stft(series.bfloat16().float()), rtol=0, atol=0)


def test_moving_the_module_keeps_it_exact() -> None:
    series = series_of(1, 2, 30)
    expected = STFT(n_fft=8)(series)
    for stft in (STFT(n_fft=8).double(), STFT(n_fft=8).bfloat16().double()):
        assert stft.basis.dtype == torch.float64
        torch.testing.assert_close(stft(series), expected, rtol=0, atol=0)
    halved = STFT(n_fft=8).half()
    assert halved.basis.dtype == torch.float32
    torch.testing.assert_close(halved(series.float()), STFT(n_fft=8)(series.float()))
    with torch.device("meta"):
        empty = ISTFT(n_fft=8)
    empty.to_empty(device="cpu")
    torch.testing.assert_close(empty(expected, 30), series)


def test_nothing_is_stored_and_nothing_is_learned() -> None:
    for module in (STFT(n_fft=8), ISTFT(n_fft=8)):
        assert not module.state_dict()
        assert not list(module.parameters())
        assert len(list(module.buffers())) == 2
    assert repr(STFT(n_fft=8, hop=4)) == "STFT(n_fft=8, hop=4)"


def test_one_window_for_both_directions() -> None:
    assert STFT(n_fft=8, hop=8).window.tolist() == [1.0] * 8
    torch.testing.assert_close(STFT(n_fft=8, hop=4).window, torch.hann_window(8))


class RoundTrip(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stft, self.istft = STFT(n_fft=8), ISTFT(n_fft=8)

    def forward(self, series: Tensor) -> Tensor:
        spectrogram: Tensor = self.stft(series)
        back: Tensor = self.istft(spectrogram, series.shape[-1])
        return back


@pytest.mark.parametrize("length", [3, 41])
def test_compiles_and_exports(length: int) -> None:
    series = series_of(2, 2, length, dtype=torch.float32)
    module = RoundTrip()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(series), series, atol=1e-5, rtol=0)
    exported = torch.export.export(module, (series,)).module()
    torch.testing.assert_close(exported(series), series, atol=1e-5, rtol=0)


# complaints


@pytest.mark.parametrize("make", [STFT, ISTFT])
def test_complaints_about_sizes(make: type[STFT]) -> None:
    who = make.__name__
    with pytest.raises(ValueError, match=f"{who}: n_fft must be an even integer >= 2; got 7"):
        make(n_fft=7)
    with pytest.raises(ValueError, match=f"{who}: n_fft must be an even integer >= 2; got 0"):
        make(n_fft=0)
    with pytest.raises(ValueError, match="hop must be an integer that divides n_fft=8; got 3"):
        make(n_fft=8, hop=3)
    with pytest.raises(ValueError, match="hop must be an integer that divides n_fft=8; got 0"):
        make(n_fft=8, hop=0)
    with pytest.raises(ValueError, match=f"{who}: length must be >= 1; got 0"):
        make(n_fft=8).frames(0)


@pytest.mark.parametrize("band", [(0, 0), (3, 2), (0, 6), (-1, 2)])
def test_complaints_about_bands(band: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"ISTFT: band must satisfy 0 <= first < end <= 5; got"):
        ISTFT(n_fft=8, band=band)


def test_complaints_about_series() -> None:
    stft = STFT(n_fft=8)
    with pytest.raises(ValueError, match=r"STFT: series must be \(batch, channels, length\); got"):
        stft(torch.zeros(3, 8))
    with pytest.raises(ValueError, match=r"STFT: series must be floating point; got torch.int64"):
        stft(torch.zeros(1, 1, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"STFT: batch must be >= 1; got 0"):
        stft(torch.zeros(0, 1, 8))
    with pytest.raises(ValueError, match=r"STFT: channels must be >= 1; got 0"):
        stft(torch.zeros(1, 0, 8))
    with pytest.raises(ValueError, match=r"STFT: length must be >= 1; got 0"):
        stft(torch.zeros(1, 1, 0))
    with pytest.raises(TypeError, match=r"STFT: series must be a tensor; got list"):
        stft([1.0])


def test_complaints_about_spectrograms() -> None:
    istft = ISTFT(n_fft=8)
    with pytest.raises(ValueError, match=r"ISTFT: spectrogram must be \(batch, 2\*channels, freq"):
        istft(torch.zeros(2, 5, 9), 16)
    with pytest.raises(ValueError, match=r"ISTFT: 2\*channels must be even and >= 2; got 3"):
        istft(torch.zeros(1, 3, 5, 9), 16)
    with pytest.raises(ValueError, match=r"ISTFT: batch must be >= 1; got 0"):
        istft(torch.zeros(0, 2, 5, 9), 16)
    message = r"ISTFT: freq and frames must be \(5, 9\) for length 16; got \(5, 8\)"
    with pytest.raises(ValueError, match=message):
        istft(torch.zeros(1, 2, 5, 8), 16)
    with pytest.raises(ValueError, match=r"floating point; got torch.int64"):
        istft(torch.zeros(1, 2, 5, 9, dtype=torch.int64), 16)
