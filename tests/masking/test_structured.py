"""Masks with a purpose: halves, channels, futures, and BERT's corruption."""

import math

import pytest
import torch
from scipy import stats

from ssltok.masking import bert_corrupt, channel_mask, forecast_mask, split_mask


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# oracle


def test_bert_corruption_has_the_shares_and_draws_another_code_uniformly() -> None:
    codes = torch.full((400, 500), 3)
    mask = torch.rand(400, 500, generator=seeded()) < 0.5
    found = bert_corrupt(
        codes, mask, codebook_size=6, masked_ratio=0.6, random_ratio=0.3, generator=seeded(1)
    )
    assert torch.equal(found[~mask], codes[~mask])
    counts = torch.bincount(found[mask], minlength=7).double()
    shares = torch.tensor([0.06, 0.06, 0.06, 0.1, 0.06, 0.06, 0.6], dtype=torch.float64)
    expected = shares * int(mask.sum())
    assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 0.01


def test_defaults_are_eighty_ten_ten() -> None:
    codes = torch.zeros(300, 300, dtype=torch.int64)
    every = torch.ones_like(codes, dtype=torch.bool)
    found = bert_corrupt(codes, every, codebook_size=2, generator=seeded(2))
    counts = torch.bincount(found.flatten()).double() / found.numel()
    assert counts.tolist() == pytest.approx([0.1, 0.1, 0.8], abs=0.005)


# known values


def test_forecast_counts_back_from_the_last_valid_frame() -> None:
    valid = torch.tensor(
        [[True] * 4 + [True] * 4, [True] * 3 + [False] + [True, True, False, False]]
    )
    mask = forecast_mask((2, 8), horizon=2, grid=(2, 4), valid=valid)
    assert mask.int().tolist() == [
        [0, 0, 1, 1, 0, 0, 1, 1],
        [0, 1, 1, 0, 0, 1, 0, 0],
    ]
    assert forecast_mask((1, 3), horizon=3).all()


def test_channels_are_masked_whole_and_exactly_as_many() -> None:
    valid = torch.rand(60, 5, 7, generator=seeded(3)) < 0.8
    valid[:, 4] = False
    mask = channel_mask((60, 5, 7), ratio=0.4, valid=valid, generator=seeded(4))
    touched = mask.any(dim=2)
    assert torch.equal(mask, touched[..., None] & valid)
    for row, real in zip(touched, valid.any(dim=2), strict=True):
        assert int(row.sum()) == math.ceil(0.4 * int(real.sum()) - 1e-6)
    assert not mask[:, 4].any()


# laws


def test_halves_hide_every_valid_token_exactly_once() -> None:
    valid = torch.rand(50, 9, generator=seeded(5)) < 0.8
    mask_a, mask_b = split_mask((50, 9), valid=valid, generator=seeded(6))
    assert torch.equal(mask_a | mask_b, valid)
    assert not (mask_a & mask_b).any()
    assert ((mask_a.sum(dim=1) - mask_b.sum(dim=1)) == valid.sum(dim=1) % 2).all()


def test_corruption_leaves_its_input_and_never_returns_the_true_code_as_random() -> None:
    codes = torch.randint(4, (30, 30), generator=seeded(7))
    before = codes.clone()
    every = torch.ones_like(codes, dtype=torch.bool)
    found = bert_corrupt(
        codes, every, codebook_size=4, masked_ratio=0, random_ratio=1, generator=seeded(8)
    )
    assert torch.equal(codes, before)
    assert (found != codes).all()
    assert found.max() < 4


# complaints


def test_complaints() -> None:
    codes = torch.zeros(2, 3, dtype=torch.int64)
    mask = torch.ones(2, 3, dtype=torch.bool)
    said = r"^bert_corrupt: masked_ratio \+ random_ratio must lie in \[0, 1\]; got 1.1"
    with pytest.raises(ValueError, match=said):
        bert_corrupt(codes, mask, codebook_size=4, masked_ratio=0.9, random_ratio=0.2)
    with pytest.raises(ValueError, match=r"^bert_corrupt: codebook_size must be >= 2; got 1$"):
        bert_corrupt(codes, mask, codebook_size=1)
    with pytest.raises(ValueError, match=r"^bert_corrupt: codes must be int64; got torch.float32"):
        bert_corrupt(codes.float(), mask, codebook_size=4)
    with pytest.raises(ValueError, match=r"^bert_corrupt: mask must be boolean; got torch.int64$"):
        bert_corrupt(codes, mask.long(), codebook_size=4)
    with pytest.raises(ValueError, match=r"^forecast_mask: horizon must lie in \[1, 4\]; got 5$"):
        forecast_mask((1, 8), horizon=5, grid=(2, 4))
    said = r"^channel_mask: shape must be \(batch, channels, length\); got \(2, 3\)$"
    with pytest.raises(ValueError, match=said):
        channel_mask((2, 3), ratio=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^channel_mask: every side of shape must be >= 1; got 0"):
        channel_mask((2, 0, 3), ratio=0.5)
    with pytest.raises(ValueError, match=r"^split_mask: tokens must be >= 1; got 0$"):
        split_mask((2, 0))
