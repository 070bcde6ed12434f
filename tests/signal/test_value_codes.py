"""Value tokens against Chronos' rule, written out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssltok.signal import value_codes, value_series

# oracle


@given(st.integers(2, 40), st.floats(0.5, 20), st.integers(0, 99))
def test_the_code_is_the_nearest_centre_of_the_scaled_value(
    bins: int, limit: float, seed: int
) -> None:
    noise = torch.Generator().manual_seed(seed)
    x = 7 * torch.randn(2, 3, 6, dtype=torch.float64, generator=noise) ** 3
    valid = torch.rand(2, 3, 6, generator=noise) < 0.7
    missing = torch.rand(2, 3, 6, generator=noise) < 0.2
    codes, scale = value_codes(x.masked_fill(missing, torch.nan), valid, bins=bins, limit=limit)
    real = valid & ~missing
    centres = [-limit + 2 * limit * k / (bins - 1) for k in range(bins)]
    for b in range(2):
        for c in range(3):
            values = x[b, c][real[b, c]]
            size = float(values.abs().sum() / len(values)) if len(values) else 1.0
            assert float(scale[b, c, 0]) == pytest.approx(size, rel=1e-12)
            for t in range(6):
                code = int(codes[b, c, t])
                if not real[b, c, t]:
                    assert code == -1
                    continue
                distances = [abs(float(x[b, c, t]) / size - centre) for centre in centres]
                assert distances[code] <= min(distances) + 1e-9


# known values


def test_half_way_the_upper_code_and_beyond_the_limits_the_last() -> None:
    x = torch.tensor([[[-9.0, -1.5, -0.5, 0.5, 1.5, 9.0]]])
    codes, scale = value_codes(x, bins=5, limit=2.0)
    assert float(scale) == pytest.approx(22 / 6)
    exact = value_codes(torch.tensor([[[-1.5, -0.5, 0.5, 1.5]]]), bins=5, limit=2.0)
    assert exact.scale.item() == 1
    assert exact.codes.tolist() == [[[1, 2, 3, 4]]]
    assert codes.tolist() == [[[0, 2, 2, 2, 2, 4]]]


def test_a_series_of_zeros_and_one_without_values_have_the_scale_one() -> None:
    x = torch.tensor([[[0.0, 0.0]], [[torch.nan, torch.nan]]])
    codes, scale = value_codes(x, bins=3)
    assert codes.tolist() == [[[1, 1]], [[-1, -1]]]
    assert scale.flatten().tolist() == [1, 1]


# laws


def test_back_within_half_a_bin_and_the_unit_does_not_matter() -> None:
    x = torch.randn(4, 2, 50, dtype=torch.float64)
    codes, scale = value_codes(x, bins=101, limit=5.0)
    back = value_series(codes, scale, bins=101, limit=5.0)
    inside = (x / scale).abs() < 5
    assert ((back - x).abs() <= 0.05 * scale + 1e-9)[inside].all()
    again = value_codes(1e6 * x, bins=101, limit=5.0)
    assert (again.codes != codes).double().mean() < 1e-3
    assert torch.equal(value_codes(back.nan_to_num(), bins=101, limit=5.0).codes >= 0, codes >= 0)
    low = value_codes(x.bfloat16(), bins=101, limit=5.0)
    assert low.scale.dtype == torch.float32


def test_padding_is_as_truncation() -> None:
    x = torch.randn(3, 2, 9)
    valid = (torch.arange(9) < 6).expand(3, -1)
    padded, alone = value_codes(x, valid, bins=20), value_codes(x[..., :6], bins=20)
    assert torch.equal(padded.codes[..., :6], alone.codes)
    torch.testing.assert_close(padded.scale, alone.scale)
    assert (padded.codes[..., 6:] == -1).all()
    assert value_series(padded.codes, padded.scale, bins=20)[..., 6:].isnan().all()


# complaints


def test_complaints() -> None:
    x, codes, scale = torch.randn(1, 2, 3), torch.zeros(1, 2, 3).long(), torch.ones(1, 2, 1)
    with pytest.raises(ValueError, match=r"^value_codes: bins must be >= 2; got 1$"):
        value_codes(x, bins=1)
    with pytest.raises(ValueError, match=r"^value_codes: limit must be > 0; got 0$"):
        value_codes(x, bins=2, limit=0)
    with pytest.raises(ValueError, match=r"^value_codes: series must be floating point; got"):
        value_codes(codes, bins=2)
    with pytest.raises(ValueError, match=r"^value_codes: valid must have shape \(1, 3\)"):
        value_codes(x, torch.ones(1, 2, dtype=torch.bool), bins=2)
    with pytest.raises(ValueError, match=r"^value_series: scale and codes"):
        value_series(codes, scale[:, :1], bins=2)
    with pytest.raises(ValueError, match=r"^value_series: bins must be >= 2; got 1$"):
        value_series(codes, scale, bins=1)
