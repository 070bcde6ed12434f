"""Masks of single tokens: counts exact in every row, shares distributed as the schedule says."""

import math
import random
from fractions import Fraction

import pytest
import torch
from scipy import stats
from torch import Tensor

from ssltok.masking import (
    cosine_schedule,
    linear_schedule,
    random_mask,
    schedule_mask,
    square_root_schedule,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# oracle


def test_counts_are_exact_for_ten_thousand_random_rows_with_padding() -> None:
    rng = random.Random(1)
    generator = seeded(1)
    for _ in range(100):
        tokens, text = rng.randint(1, 60), rng.choice(["0.1", "0.25", "0.5", "0.75", "0.9", "1.0"])
        valid = torch.rand(100, tokens, generator=generator) < rng.random()
        found = random_mask((100, tokens), ratio=float(text), valid=valid, generator=generator)
        assert not (found.mask & ~valid).any()
        for row, sizes in zip(found.mask, valid.sum(dim=1).tolist(), strict=True):
            expected = min(sizes, max(1, math.ceil(Fraction(text) * sizes)))
            assert int(row.sum()) == expected


def distance_to_cosine_law(counts: Tensor, tokens: int) -> float:
    """The Kolmogorov-Smirnov distance: counts round up, so P(count <= k) = P(share <= k / n)."""
    found = torch.bincount(counts, minlength=tokens + 1).cumsum(0) / len(counts)
    share = torch.arange(tokens + 1, dtype=torch.float64) / tokens
    return float((found - (1 - share.acos() * 2 / math.pi)).abs().max())


def test_the_share_masked_follows_the_cosine_law() -> None:
    rows, tokens = 40_000, 512
    mask = schedule_mask((rows, tokens), schedule=cosine_schedule, generator=seeded())
    counts = mask.sum(dim=1)
    assert float(counts.double().mean()) / tokens == pytest.approx(2 / math.pi, rel=0.005)
    distance = distance_to_cosine_law(counts, tokens)
    assert stats.kstwobign.sf(distance * math.sqrt(rows)) > 0.01
    inverted = distance_to_cosine_law(tokens - counts, tokens)  # the masks of several public codes
    assert stats.kstwobign.sf(inverted * math.sqrt(rows)) < 1e-6


# known values


def test_linear_schedule_makes_every_count_equally_likely() -> None:
    mask = schedule_mask((70_000, 7), schedule=linear_schedule, generator=seeded(2))
    counts = torch.bincount(mask.sum(dim=1), minlength=8)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:].numpy()).pvalue > 0.01


def test_every_place_is_equally_likely() -> None:
    for mask in (
        schedule_mask((40_000, 6), schedule=square_root_schedule, generator=seeded(3)),
        random_mask((40_000, 6), ratio=0.4, generator=seeded(4)).mask,
    ):
        share = mask.double().mean(dim=0)
        sd = math.sqrt(0.25 / 40_000)
        assert (share - share.mean()).abs().max() < 4 * sd


def test_mae_masks_three_quarters() -> None:
    found = random_mask((3, 196), ratio=0.75, generator=seeded())
    assert found.mask.sum(dim=1).tolist() == [147, 147, 147]
    assert found.visible.shape == (3, 49)


# laws


def test_visible_tokens_encoded_alone_come_back_to_their_places() -> None:
    valid = torch.rand(5, 13, generator=seeded(5)) < 0.8
    valid[0] = True
    valid[4] = False
    found = random_mask((5, 13), ratio=0.6, valid=valid, generator=seeded(6))
    embedded = torch.randn(5, 13, 3, generator=seeded(7))
    picked = embedded.gather(1, found.visible.clamp(min=0)[..., None].expand(-1, -1, 3))
    mask_token = torch.full((5, 1, 3), 99.0)
    whole = torch.cat([picked, mask_token], dim=1).gather(
        1, found.restore[..., None].expand(-1, -1, 3)
    )
    seen = valid & ~found.mask
    assert torch.equal(whole[seen], embedded[seen])
    assert (whole[~seen] == 99).all()
    assert ((found.visible >= 0).sum(dim=1) == seen.sum(dim=1)).all()
    assert (found.visible[0].diff() > 0).all()


def test_the_generator_alone_decides() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = schedule_mask((4, 9), schedule=cosine_schedule, generator=seeded(1))
    two = schedule_mask((4, 9), schedule=cosine_schedule, generator=seeded(1))
    three = random_mask((4, 9), ratio=0.5, generator=seeded(1)).mask
    four = random_mask((4, 9), ratio=0.5, generator=seeded(1)).mask
    assert torch.equal(one, two)
    assert torch.equal(three, four)
    assert torch.equal(before, torch.get_rng_state())


def test_at_least_one_is_masked_of_a_sequence_of_one() -> None:
    assert schedule_mask((64, 1), schedule=square_root_schedule).all()
    assert random_mask((64, 1), ratio=0.01).mask.all()


def test_padding_is_never_masked_and_a_row_of_padding_stays_empty() -> None:
    valid = torch.tensor([[True, True, False], [False, False, False]])
    mask = schedule_mask((2, 3), schedule=lambda r: torch.ones_like(r), valid=valid)
    assert torch.equal(mask, valid)


# complaints


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"^random_mask: ratio must lie in \[0, 1\]; got 1.5$"):
        random_mask((2, 3), ratio=1.5)
    with pytest.raises(ValueError, match=r"^random_mask: tokens must be >= 1; got 0$"):
        random_mask((2, 0), ratio=0.5)
    with pytest.raises(ValueError, match=r"^schedule_mask: batch must be >= 1; got 0$"):
        schedule_mask((0, 3), schedule=cosine_schedule)
    said = r"^schedule_mask: shape must be \(batch, tokens\); got \(2, 3, 4\)$"
    with pytest.raises(ValueError, match=said):
        schedule_mask((2, 3, 4), schedule=cosine_schedule)  # type: ignore[arg-type]
    said = r"^schedule_mask: valid must have shape \(2, 3\); got \(3, 2\)$"
    with pytest.raises(ValueError, match=said):
        schedule_mask((2, 3), schedule=cosine_schedule, valid=torch.ones(3, 2, dtype=torch.bool))
    said = r"^schedule_mask: schedule must keep the shape of progress; got \(\) for \(2,\)$"
    with pytest.raises(ValueError, match=said):
        schedule_mask((2, 3), schedule=lambda r: r.mean())
