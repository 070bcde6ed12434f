"""Transforms to bands: the STFT cut by hand, exact inverses, and what is real sample by sample."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssltok.signal import STFT, STFTBands, Waveform


@given(length=st.integers(8, 40), edges=st.sampled_from([(), (1,), (1, 3), (2, 3, 4)]))
def test_bands_are_the_stft_cut_and_their_shares_add_up(
    length: int, edges: tuple[int, ...]
) -> None:
    transform = STFTBands(length, n_fft=8, hop=2, edges=edges)
    series = torch.randn(3, 2, length, generator=torch.Generator().manual_seed(length))
    series = series * torch.tensor([100.0, 0.01])[:, None]
    bands = transform(series)
    whole = STFT(n_fft=8, hop=2)(series)
    bounds = [0, *edges, 5]
    assert len(bands) == transform.bands == len(edges) + 1
    for number, band in enumerate(bands):
        assert torch.equal(band, whole[:, :, bounds[number] : bounds[number + 1]])
        assert tuple(band.shape[1:]) == transform.shape(number, 2)
    waves = transform.inverse(bands)
    torch.testing.assert_close(torch.stack(waves).sum(0), series, rtol=1e-4, atol=1e-4)
    # A share is that of its band alone: the others are silent in it.
    alone = [band if i == 0 else torch.zeros_like(band) for i, band in enumerate(bands)]
    torch.testing.assert_close(torch.stack(transform.inverse(alone)).sum(0), waves[0])


def test_real_frames_read_no_missing_sample() -> None:
    length, n_fft, hop = 21, 8, 2
    transform = STFTBands(length, n_fft=n_fft, hop=hop, edges=(1,))
    valid = torch.rand(4, 3, length, generator=torch.Generator().manual_seed(0)) > 0.08
    valid[0] = True
    frames = transform.shape(0, 3)[2]
    for mask in transform.real(valid):
        for case in range(4):
            for channel in range(3):
                for frame in range(frames):
                    first = frame * hop - n_fft // 2  # frames are centred
                    read = [t for t in range(first, first + n_fft) if 0 <= t < length]
                    expected = all(bool(valid[case, channel, t]) for t in read)
                    for part in (2 * channel, 2 * channel + 1):  # real and imaginary
                        assert bool(mask[case, part, 0, frame]) == expected


def test_what_is_within_begins_before_the_end() -> None:
    transform = STFTBands(20, n_fft=8, hop=2)
    lengths = torch.tensor([20, 11, 1])
    (mask,) = transform.within(torch.arange(20) < lengths[:, None])
    frames = transform.shape(0, 1)[2]
    for row, length in zip(mask.tolist(), lengths.tolist(), strict=True):
        assert row == [frame * 20 / frames < length for frame in range(frames)]


def test_the_waveform_is_the_series() -> None:
    transform, series = Waveform(9), torch.randn(2, 3, 9)
    assert transform(series)[0] is series
    assert transform.inverse([series])[0] is series
    valid = torch.rand(2, 3, 9) > 0.5
    assert transform.real(valid)[0] is valid
    assert transform.within(valid[:, 0])[0].shape == (2, 9)
    assert (transform.shape(0, 3), transform.margin, transform.in_time) == ((3, 9), 0, True)


@pytest.mark.parametrize("edges", [(0,), (5,), (3, 1), (2, 2)])
def test_edges_must_rise(edges: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^STFTBands: edges must rise between 0 and 5 bins; got"):
        STFTBands(20, n_fft=8, edges=edges)


def test_a_length_is_at_least_one() -> None:
    for build in (STFTBands, Waveform):
        with pytest.raises(ValueError, match=rf"^{build.__name__}: length must be >= 1; got 0"):
            build(0)
