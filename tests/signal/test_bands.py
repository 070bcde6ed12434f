"""Bands: a cut and its undoing."""

import pytest
import torch

from ssltok.signal import Bands, merge_bands, split_bands


def test_oracle_bins_go_where_they_belong() -> None:
    spectrogram = torch.arange(2 * 4 * 5 * 3.0).reshape(2, 4, 5, 3)
    bands = split_bands(spectrogram, edge=2)
    assert isinstance(bands, Bands)
    for k in range(5):
        band, row = (bands.low, k) if k < 2 else (bands.high, k - 2)
        assert torch.equal(band[:, :, row], spectrogram[:, :, k])


@pytest.mark.parametrize("edge", [1, 2, 3, 4])
def test_merge_undoes_split(edge: int) -> None:
    spectrogram = torch.randn(3, 2, 5, 7, generator=torch.Generator().manual_seed(1))
    assert torch.equal(merge_bands(*split_bands(spectrogram, edge=edge)), spectrogram)


def test_split_copies_nothing_and_merge_gives_gradients_to_both() -> None:
    spectrogram = torch.zeros(1, 2, 5, 7)
    assert split_bands(spectrogram, edge=1).high.untyped_storage().data_ptr() == (
        spectrogram.untyped_storage().data_ptr()
    )
    low, high = torch.zeros(1, 2, 1, 3).requires_grad_(), torch.zeros(1, 2, 4, 3).requires_grad_()
    (merge_bands(low, high) * torch.arange(5.0)[:, None]).sum().backward()
    assert low.grad is not None
    assert high.grad is not None
    assert low.grad.sum() == 0
    assert high.grad[0, 0, :, 0].tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("edge", [0, 5, -1])
def test_complaints_about_the_edge(edge: int) -> None:
    with pytest.raises(ValueError, match=rf"split_bands: edge must lie in 1 ... 4; got {edge}"):
        split_bands(torch.zeros(1, 2, 5, 3), edge=edge)


def test_complaints_about_shapes() -> None:
    with pytest.raises(ValueError, match=r"split_bands: spectrogram must be \(batch, 2\*channels"):
        split_bands(torch.zeros(2, 5, 3), edge=1)
    with pytest.raises(ValueError, match=r"merge_bands: low must be"):
        merge_bands(torch.zeros(2, 5, 3), torch.zeros(1, 2, 5, 3))
    with pytest.raises(ValueError, match=r"merge_bands: high must be"):
        merge_bands(torch.zeros(1, 2, 5, 3), torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match=r"merge_bands: low and high must share batch, 2\*channe"):
        merge_bands(torch.zeros(1, 2, 5, 3), torch.zeros(1, 2, 5, 4))
