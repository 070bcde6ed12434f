"""Recurrent scores: at the two ends of their scale, seeded, and right for one channel."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.metrics import _scores as metrics_scores
from ssltok.metrics import discriminative_score, predictive_score
from ssltok.metrics._networks import batches


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


def test_a_broken_series_leaves_nothing_known() -> None:
    """A network that answers NaN is right on one set and wrong on the other, as by chance."""
    x, broken = noise(0, 10), noise(1, 10)
    broken[2, 0, 3] = torch.nan
    for score in (discriminative_score, predictive_score):
        assert score(x, broken, steps=2, repeats=2, generator=seeded(0)).isnan().all()


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


@pytest.mark.parametrize("score", [discriminative_score, predictive_score])
def test_neither_autocast_nor_inference_mode_changes_a_score(
    score: Callable[..., Tensor],
) -> None:
    real, other = noise(0, 30), noise(1, 30) + 0.5
    options = {"steps": 5, "repeats": 1, "hidden": 4}
    expected = score(real, other, generator=seeded(9), **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(score(real, other, generator=seeded(9), **options), expected)
    with torch.inference_mode():
        result = score(real.clone(), other.clone(), generator=seeded(9), **options)
        assert torch.equal(result, expected)


def test_the_default_width_is_sixteen_or_half_the_channels() -> None:
    for channels, width in ((1, 16), (33, 16), (40, 20)):
        x, y = noise(0, 6, channels, 3), noise(1, 6, channels, 3)
        for score in (discriminative_score, predictive_score):
            default, same, other = (
                score(x, y, steps=1, repeats=1, generator=seeded(1), **options)
                for options in ({}, {"hidden": width}, {"hidden": width + 1})
            )
            assert torch.equal(default, same)
            if score is predictive_score:  # the other is a share of one or two cases
                assert not torch.equal(default, other)


def test_a_fifth_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 of 24 and 2 of 11 cases are scored, and the others trained on."""
    seen, scored = [], []

    def noted(cases: int, **options: Any) -> Iterator[Tensor]:
        seen.append(cases)
        return batches(cases, **options)

    def forward(network: Any, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            scored.append(len(x))
        states: Tensor = original(network, x)
        return states

    original = metrics_scores.Recurrent.forward
    monkeypatch.setattr(metrics_scores, "batches", noted)
    monkeypatch.setattr(metrics_scores.Recurrent, "forward", forward)
    discriminative_score(noise(0, 24), noise(1, 11), steps=1, repeats=1, generator=seeded(0))
    assert seen == [20, 9]
    assert scored == [4, 2]


@pytest.mark.parametrize(
    ("real", "generated", "batch_size", "expected"),
    [(20, 80, 128, 16), (80, 20, 128, 16), (200, 90, 100, 50), (200, 200, 9, 4), (9, 9, 1, 1)],
)
def test_a_batch_has_as_many_real_as_generated(
    monkeypatch: pytest.MonkeyPatch, real: int, generated: int, batch_size: int, expected: int
) -> None:
    """16 real and 64 generated in a batch teach that most are generated."""
    drawn = []

    def noted(cases: int, **options: Any) -> Iterator[Tensor]:
        for index in batches(cases, **options):
            drawn.append(len(index))
            yield index

    monkeypatch.setattr(metrics_scores, "batches", noted)
    discriminative_score(
        noise(0, real), noise(1, generated), steps=3, batch_size=batch_size, repeats=1, hidden=2,
        generator=seeded(0),
    )  # fmt: skip
    assert drawn == [expected] * 6


def test_the_error_is_in_standard_deviations_of_the_real_channel() -> None:
    """Generated noise of 5 times the size: in its deviations the error were a fifth of this."""
    real, large = 3 * noise(5, 500) + 1, 15 * noise(6, 500) + 1
    options = {"steps": 60, "repeats": 1}
    score = predictive_score(real, large, generator=seeded(0), **options)
    assert score.item() == pytest.approx((2 / torch.pi) ** 0.5, abs=0.06)
    same = predictive_score(real, (large - 1) / 5 + 1, generator=seeded(0), **options)
    assert score != same  # and each set in its own deviations had no size at all


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
