"""Recurrent scores: at the two ends of their scale, seeded, and right for one channel."""

import pytest
import torch
from torch import Tensor

from ssltok.metrics import discriminative_score, predictive_score


def noise(seed: int, cases: int, channels: int = 1, length: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(cases, channels, length, generator=generator)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Known values.


@pytest.mark.parametrize("channels", [1, 3])
def test_one_law_twice_is_told_apart_by_chance_only(channels: int) -> None:
    real, other = noise(0, 400, channels), noise(1, 400, channels)
    scores = discriminative_score(real, other, steps=40, repeats=2, generator=seeded(0))
    assert (scores < 0.12).all()


def test_sets_apart_are_always_told_apart_whatever_their_sizes() -> None:
    """200 real and 15 generated: plain accuracy would be near 1 for an answer that is constant."""
    scores = discriminative_score(
        noise(0, 200), noise(1, 15) + 6, steps=200, repeats=2, generator=seeded(0)
    )
    assert scores.tolist() == [0.5, 0.5]
    same = torch.zeros(200, 1, 6)  # no answer but a constant one: right on one set, wrong on one
    scores = discriminative_score(same, same[:15], steps=1, repeats=2, generator=seeded(0))
    assert scores.tolist() == [0, 0]


def test_order_in_time_is_seen() -> None:
    """The same values, rising and falling: only a network that reads in time can tell."""
    rising = noise(0, 100).sort(dim=2).values
    scores = discriminative_score(rising, rising.flip(2), steps=60, repeats=1, generator=seeded(0))
    assert scores.item() >= 0.4


def test_the_next_point_of_a_walk_is_the_last() -> None:
    """Constant series: the error falls to near 0 from real ones, and stays for white noise."""
    level = torch.randn(200, 1, 1, generator=seeded(3)).expand(200, 1, 8)
    good = predictive_score(level, level, steps=250, repeats=1, generator=seeded(0))
    bad = predictive_score(level, noise(4, 200, 1, 8), steps=250, repeats=1, generator=seeded(0))
    assert good.item() < 0.3
    assert bad.item() > 0.6


def test_an_untrained_guess_of_zero_costs_the_mean_absolute_value() -> None:
    """White noise cannot be predicted: E|z| = sqrt(2 / pi), in standard deviations."""
    real = 100 * noise(5, 500) + 7
    score = predictive_score(
        real, 100 * noise(6, 500) + 7, steps=60, repeats=1, generator=seeded(0)
    )
    assert score.item() == pytest.approx((2 / torch.pi) ** 0.5, abs=0.05)


def test_every_channel_is_predicted() -> None:
    """A second channel that cannot be predicted raises the mean by half of its error."""
    level = torch.randn(300, 1, 1, generator=seeded(7)).expand(300, 1, 6)
    real = torch.cat([level, noise(8, 300)], dim=1)
    score = predictive_score(real, real, steps=300, repeats=1, generator=seeded(0))
    assert score.item() == pytest.approx((2 / torch.pi) ** 0.5 / 2, abs=0.15)


# Laws.


def test_a_seed_brings_them_back_and_repeats_differ() -> None:
    real, other = noise(0, 40), noise(1, 40) + 0.5
    for score in (discriminative_score, predictive_score):
        state, before = torch.get_rng_state(), real.clone()
        runs = [
            score(real, other, steps=20, repeats=4, hidden=4, generator=seeded(9)) for _ in range(2)
        ]
        assert torch.equal(*runs)
        assert not torch.equal(runs[0], runs[0].roll(1))
        assert runs[0].dtype == torch.float64
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(real, before)


def test_units_do_not_matter() -> None:
    real, other = noise(0, 40), noise(1, 40) + 0.5
    for score in (discriminative_score, predictive_score):
        a = score(real, other, steps=5, repeats=1, generator=seeded(1))
        b = score(4 * real + 64, 4 * other + 64, steps=5, repeats=1, generator=seeded(1))
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


# Complaints.


def test_refuses() -> None:
    x = noise(0, 8)
    with pytest.raises(
        ValueError, match=r"^discriminative_score: cases of generated must be >= 5;"
    ):
        discriminative_score(x, x[:4])
    with pytest.raises(ValueError, match=r"^predictive_score: length must be >= 2; got 1$"):
        predictive_score(x[..., :1], x[..., :1])
    with pytest.raises(ValueError, match=r"must have the same channels; got 1 and 2$"):
        discriminative_score(x, x.expand(-1, 2, -1))
    with pytest.raises(ValueError, match=r"^predictive_score: hidden must be >= 1; got 0$"):
        predictive_score(x, x, hidden=0)
    with pytest.raises(ValueError, match=r"^discriminative_score: steps must be >= 1; got 0$"):
        discriminative_score(x, x, steps=0)
    with pytest.raises(ValueError, match=r"^predictive_score: repeats must be >= 1; got 0$"):
        predictive_score(x, x, repeats=0)
    with pytest.raises(ValueError, match=r"^predictive_score: batch_size must be >= 1; got 0$"):
        predictive_score(x, x, batch_size=0)
