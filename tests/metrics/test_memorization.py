"""Memory: copies, near copies, and fair generators are told apart."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok._shared import sizes
from ssltok.metrics import dtw_distance, exact_repeats, memorization_ratio, token_reuse


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Oracle.


@given(st.integers(0, 10_000))
def test_ratio_is_the_plain_loop(seed: int) -> None:
    train, test, made = draw(seed, 5, 1, 4), draw(seed + 1, 5, 1, 4), draw(seed + 2, 3, 1, 4)

    def near(a: Tensor, rows: list[Tensor]) -> float:
        return min(float((a - b).norm()) for b in rows)

    ratio = sum(near(g, list(train)) for g in made) / sum(near(g, list(test)) for g in made)
    own = [near(t, [u for j, u in enumerate(test) if j != i]) for i, t in enumerate(test)]
    reference = sum(near(t, list(train)) for t in test) / sum(own)
    result = memorization_ratio(train, test, made)
    assert result.ratio.item() == pytest.approx(ratio)
    assert result.reference.item() == pytest.approx(reference)


def test_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test, made = draw(0, 11, 1, 4), draw(1, 11, 1, 4), draw(2, 3, 1, 4)
    whole = memorization_ratio(train, test, made)
    monkeypatch.setattr(sizes, "ROWS", 4)
    torch.testing.assert_close(memorization_ratio(train, test, made), whole)


@given(st.integers(0, 10_000))
def test_shares_are_plain_membership(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    train = torch.randint(-1, 2, (6, 3), generator=generator)
    made = torch.randint(-1, 2, (8, 3), generator=generator)
    known = [row.tolist() for row in train]
    expected = sum(row.tolist() in known for row in made) / 8
    assert token_reuse(train, made).item() == expected
    series = train[:, None].float(), made[:, None].float()
    assert exact_repeats(*series).item() == expected


# Known values.


def test_copies_score_zero_and_fair_draws_score_the_reference() -> None:
    train, test, fair = draw(0, 100, 1, 6), draw(1, 100, 1, 6), draw(2, 100, 1, 6)
    assert memorization_ratio(train, test, train).ratio.item() < 1e-6
    result = memorization_ratio(train, test, fair)
    assert result.ratio.item() == pytest.approx(1, abs=0.1)
    assert result.reference.item() == pytest.approx(1, abs=0.1)
    near = memorization_ratio(train, test, train + 0.1 * draw(3, 100, 1, 6))
    assert near.ratio.item() < 0.3


def test_copies_are_found_in_a_training_set_of_any_size() -> None:
    """20 times as many series to copy from as to compare with: whichever were copied, it shows."""
    train, test, fair = draw(4, 1000, 1, 6), draw(5, 50, 1, 6), draw(6, 100, 1, 6)
    for copied in (train, train[:50], train[500:520], train[-1:]):
        assert memorization_ratio(train, test, copied).ratio.item() < 1e-6
    result = memorization_ratio(train, test, fair)
    assert result.ratio < 0.8  # nearer by its size, and so is the reference
    assert (result.ratio / result.reference).item() == pytest.approx(1, abs=0.1)


def test_copies_are_found_whatever_the_sizes() -> None:
    train, test = draw(4, 40, 1, 6), draw(5, 300, 1, 6)
    assert memorization_ratio(train, test, train).ratio.item() < 1e-6
    result = memorization_ratio(train, test, draw(6, 200, 1, 6))
    assert result.ratio > 1.2
    assert (result.ratio / result.reference).item() == pytest.approx(1, abs=0.1)


def test_the_distance_may_be_dtw() -> None:
    """A training series shifted by one is a copy for DTW and none for Euclid."""
    train = torch.zeros(2, 1, 12)
    train[0, 0, 3], train[1, 0, 8] = 5, 7
    made, test = train.roll(1, 2), draw(7, 2, 1, 12).float()
    assert memorization_ratio(train, test, made, distance=dtw_distance).ratio.item() == 0
    assert memorization_ratio(train, test, made).ratio.item() > 0.3
    test = torch.cat([test, draw(8, 1, 1, 12).float()])
    result = memorization_ratio(train, test, made, distance=dtw_distance)
    seen, apart = dtw_distance(test, train).amin(1), dtw_distance(test, test)
    reference = seen.sum() / apart.fill_diagonal_(torch.inf).amin(1).sum()
    torch.testing.assert_close(result.reference, reference)


def test_almost_equal_is_not_a_repeat_but_minus_zero_is() -> None:
    train = torch.tensor([[[0.0, 1.0]], [[2.0, 3.0]]])
    made = torch.tensor([[[-0.0, 1.0]], [[2.0, 3.0 + 1e-6]]])
    assert exact_repeats(train, made).item() == 0.5
    assert exact_repeats(train, made.double()).item() == 0.5


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        (torch.float64, torch.float32),
        (torch.float32, torch.float16),
        (torch.float16, torch.bfloat16),
    ],
)
def test_a_copy_that_was_rounded_is_a_repeat(wide: torch.dtype, narrow: torch.dtype) -> None:
    series = (0.1 * torch.arange(1.0, 13.0, dtype=torch.float64)).view(4, 1, 3).to(wide)
    made = torch.cat([series[1:3], series[:2] + 1])
    for train, generated in ((series, made.to(narrow)), (series.to(narrow), made)):
        assert exact_repeats(train, generated).item() == 0.5
    assert exact_repeats(series, made).item() == 0.5
    assert exact_repeats(series, series.to(narrow).to(wide)).item() < 1  # two of one type: as is


def test_order_of_tokens_and_padding_count() -> None:
    train = torch.tensor([[1, 2, 3], [4, 5, -1]])
    made = torch.tensor([[3, 2, 1], [4, 5, 0], [4, 5, -1], [1, 2, 3]])
    assert token_reuse(train, made).item() == 0.5


# Complaints.


def test_refuses() -> None:
    x, codes = torch.zeros(3, 1, 4), torch.zeros(3, 4, dtype=torch.int64)
    said = r"^memorization_ratio: cases of test must be >= 2; got 1$"
    with pytest.raises(ValueError, match=said):
        memorization_ratio(x, x[:1], x)
    said = r"^memorization_ratio: test and generated must have the same length; got 4 and 2$"
    with pytest.raises(ValueError, match=said):
        memorization_ratio(x, x, x[..., :2])
    said = r"^memorization_ratio: train and test must have the same length; got 2 and 4$"
    with pytest.raises(ValueError, match=said):
        memorization_ratio(x[..., :2], x, x)
    said = r"^exact_repeats: train and generated must have the same channels; got 1 and 2$"
    with pytest.raises(ValueError, match=said):
        exact_repeats(x, x.expand(-1, 2, -1))
    with pytest.raises(ValueError, match=r"^token_reuse: train and generated must have the same t"):
        token_reuse(codes, codes[:, :2])
    with pytest.raises(ValueError, match=r"^token_reuse: generated must be \(batch, tokens\); got"):
        token_reuse(codes, codes[0])
    with pytest.raises(ValueError, match=r"^token_reuse: train must be int64; got torch.float32$"):
        token_reuse(codes.float(), codes)
    with pytest.raises(
        ValueError, match=r"^token_reuse: train must hold a code; got shape \(0, 4\)"
    ):
        token_reuse(codes[:0], codes)


def test_equal_splits_have_no_distance() -> None:
    x = torch.zeros(3, 1, 4)
    assert math.isnan(memorization_ratio(x, x, x).ratio.item())
