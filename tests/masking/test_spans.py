"""Runs: closed forms of their share and length, and every arrangement equally likely."""

import math
from collections import Counter

import pytest
import torch
from scipy import stats
from torch import Tensor

from ssltok.masking import (
    SpanLengths,
    fixed_spans,
    impute_mask,
    markov_mask,
    normal_spans,
    poisson_spans,
    span_mask,
    uniform_spans,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaps(row: list[bool]) -> list[int]:
    """The lengths of the masked runs of a row."""
    return [len(part) for part in "".join("x" if m else " " for m in row).split()]


def patterns(mask: Tensor) -> list[int]:
    return sorted(Counter("".join(map(str, row)) for row in mask.int().tolist()).values())


# oracle


def test_overlapping_spans_mask_every_place_as_often_as_counted() -> None:
    tokens, length, spans = 30, 4, 3
    mask = span_mask((60_000, tokens), ratio=0.4, length=length, generator=seeded())
    places = tokens - length + 1
    for i, share in enumerate(mask.double().mean(dim=0).tolist()):
        covering = sum(1 for s in range(places) if s <= i < s + length)
        expected = 1 - math.comb(places - covering, spans) / math.comb(places, spans)
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 60_000)


@pytest.mark.parametrize("valid_tokens", [4, 5, 7, 40])
def test_a_short_row_in_a_long_batch_gets_its_own_spans_alone(valid_tokens: int) -> None:
    """As many spans as its valid tokens ask for, though the longest row has room for more."""
    valid = (torch.arange(40) < valid_tokens).expand(300, -1)
    mask = span_mask((300, 40), ratio=2.9 / 40, length=3, valid=valid, generator=seeded(3))
    assert (mask.sum(dim=1) == 3).all()  # one span at most in 40, and one at least anywhere
    ratio = 3 / valid_tokens  # exactly one in the short row, and up to nine in the longest
    mask = span_mask((300, 40), ratio=ratio, length=3, valid=valid, generator=seeded(3))
    assert (mask.sum(dim=1) == 3).all()


@pytest.mark.parametrize("span", [1, 1.7, 2, 5, 10, 11, 49])
def test_a_chain_may_leave_gaps_of_one_token_at_most(span: float) -> None:
    """The largest ratio: after each visible token a masked run begins."""
    mask = markov_mask((50, 60), ratio=span / (span + 1), span=span, generator=seeded(2))
    assert not (~mask[:, 1:] & ~mask[:, :-1]).any()


def test_spans_that_may_not_overlap_take_every_arrangement_equally_often() -> None:
    mask = span_mask((20_000, 7), ratio=4 / 7, length=2, overlap=False, generator=seeded(1))
    counts = patterns(mask)
    # 2 spans of 2 among 7: C(5, 2) = 10 arrangements, of which 4 of touching spans look like one
    # run of four; all patterns differ
    assert len(counts) == math.comb(5, 2)
    assert stats.chisquare(counts).pvalue > 0.01


def test_imputed_gaps_take_every_arrangement_equally_often() -> None:
    mask = impute_mask((30_000, 8), ratio=0.5, span=2, generator=seeded(2))
    counts = patterns(mask)
    # 4 tokens in 2 gaps: C(3, 1) splits, and C(5, 2) choices among the gaps of 4 visible ones
    assert len(counts) == math.comb(3, 1) * math.comb(5, 2)
    assert stats.chisquare(counts).pvalue > 0.01


# known values


@pytest.mark.parametrize(("ratio", "span"), [(0.15, 3.0), (0.5, 1.5), (0.55, 1.3), (0.7, 6.0)])
def test_markov_share_and_mean_span_are_those_asked_for(ratio: float, span: float) -> None:
    mask = markov_mask((1500, 400), ratio=ratio, span=span, generator=seeded(3))
    by_place = mask.double().mean(dim=0)  # stationary from the first token on
    assert (by_place - ratio).abs().max() < 4.5 * math.sqrt(ratio * (1 - ratio) / 1500)
    inside, follows = mask[:, :-1], mask[:, 1:]
    leave = float((inside & ~follows).sum() / inside.sum())
    enter = float((~inside & follows).sum() / (~inside).sum())
    assert 1 / leave == pytest.approx(span, rel=0.02)
    assert enter == pytest.approx(ratio / (1 - ratio) / span, rel=0.02)
    # geometric: leaving does not depend on how long the run has lasted
    long = inside[:, 1:] & inside[:, :-1]
    assert float((long & ~mask[:, 2:]).sum() / long.sum()) == pytest.approx(leave, rel=0.03)


def test_exact_counts_without_overlap() -> None:
    mask = span_mask((200, 50), ratio=0.6, length=10, overlap=False, generator=seeded(4))
    assert (mask.sum(dim=1) == 30).all()
    assert all(length % 10 == 0 for row in mask.tolist() for length in gaps(row))


def test_imputed_gaps_are_exact_in_number_and_count() -> None:
    for tokens, ratio, span in ((20, 0.3, 3.0), (41, 0.5, 1.0), (9, 0.9, 2.0), (5, 1.0, 2.0)):
        mask = impute_mask((50, tokens), ratio=ratio, span=span, generator=seeded(5))
        hidden = math.ceil(ratio * tokens - 1e-9)
        number = min(max(1, round(hidden / span)), tokens - hidden + 1)
        for row in mask.tolist():
            assert sum(row) == hidden
            assert len(gaps(row)) == number


@pytest.mark.parametrize(
    ("rule", "mean"),
    [
        (fixed_spans(4), 4.0),
        (uniform_spans(2, 6), 4.0),
        (normal_spans(8.0, 1.5), 8.0),
        (poisson_spans(5.0), 5.0 + math.exp(-5)),
    ],
)
def test_lengths_have_their_mean_and_are_at_least_one(rule: object, mean: float) -> None:
    drawn = rule(torch.zeros(50_000, dtype=torch.int64), seeded(6))  # type: ignore[operator]
    assert drawn.dtype == torch.int64
    assert drawn.min() >= 1
    assert float(drawn.double().mean()) == pytest.approx(mean, rel=0.01)


def test_uniform_lengths_reach_both_ends() -> None:
    drawn = uniform_spans(2, 5)(torch.zeros(1000, dtype=torch.int64), seeded())
    assert sorted(set(drawn.tolist())) == [2, 3, 4, 5]


# laws


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("rule", [None, uniform_spans(1, 9), poisson_spans(3.0)])
def test_spans_stay_within_valid_tokens(overlap: bool, rule: object) -> None:
    valid = torch.arange(23) < torch.tensor([[0], [1], [2], [7], [23]])
    for seed in range(20):
        mask = span_mask(
            (5, 23),
            ratio=0.7,
            length=3,
            lengths=rule,  # type: ignore[arg-type]
            overlap=overlap,
            valid=valid,
            generator=seeded(seed),
        )
        assert not (mask & ~valid).any()
        assert torch.equal(mask.any(dim=1), valid.any(dim=1))


def test_the_last_token_is_reached() -> None:
    mask = span_mask((2000, 12), ratio=0.25, length=3, generator=seeded(7))
    assert mask[:, -1].double().mean() == pytest.approx(0.1, abs=0.025)  # 1 of 10 places


def test_runs_count_along_valid_tokens_only() -> None:
    valid = torch.tensor([[True, False, True, True, False, True]])
    mask = span_mask((1, 6), ratio=1.0, length=4, valid=valid)
    assert torch.equal(mask, valid)
    assert torch.equal(impute_mask((1, 6), ratio=1.0, span=2, valid=valid), valid)


def test_every_row_gets_one_even_when_the_chain_stays_visible() -> None:
    valid = torch.tensor([[False, True, True], [False, False, False]]).repeat(300, 1)
    mask = markov_mask((600, 3), ratio=0.01, span=1, valid=valid, generator=seeded(8))
    assert torch.equal(mask.any(dim=1), valid.any(dim=1))
    assert not (mask & ~valid).any()
    alone = mask[0::2, 1].double().mean()
    assert float(alone) == pytest.approx(0.5, abs=0.12)


def test_given_lengths_without_overlap_are_kept_until_they_no_longer_fit() -> None:
    def rule(like: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.tensor([2, 5, 3, 9])[: like.shape[1]].expand_as(like)

    for seed in range(10):  # 3 or 4 spans are wanted of 12 tokens; the fourth never fits
        mask = span_mask(
            (3, 12), ratio=1.0, length=4, lengths=rule, overlap=False, generator=seeded(seed)
        )
        assert mask.sum(dim=1).tolist() == [10, 10, 10]


# complaints


@pytest.mark.parametrize(
    "rule", [lambda like, g: like + 1.5, lambda like, g: like[:, :1] + 1, lambda like, g: like[0]]
)
def test_a_rule_of_another_shape_or_dtype_is_refused(rule: SpanLengths) -> None:
    """Neither broadcast nor rounded."""
    with pytest.raises(
        ValueError, match=r"^span_mask: lengths must return int64 of shape \(3, 4\)"
    ):
        span_mask((3, 12), ratio=1.0, length=4, lengths=rule)


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"^span_mask: length must be >= 1; got 0$"):
        span_mask((1, 3), ratio=0.5, length=0)
    with pytest.raises(ValueError, match=r"^span_mask: ratio must lie in \[0, 1\]; got 2$"):
        span_mask((1, 3), ratio=2, length=1)
    with pytest.raises(ValueError, match=r"^markov_mask: span must be >= 1; got 0.5$"):
        markov_mask((1, 3), ratio=0.5, span=0.5)
    with pytest.raises(ValueError, match=r"^markov_mask: ratio must lie in \(0, 1\); got 0$"):
        markov_mask((1, 3), ratio=0, span=2)
    with pytest.raises(ValueError, match=r"ratio must be <= span / \(span \+ 1\), for gaps"):
        markov_mask((1, 3), ratio=0.8, span=2)
    with pytest.raises(ValueError, match=r"^impute_mask: span must be >= 1; got 0$"):
        impute_mask((1, 3), ratio=0.5, span=0)
    with pytest.raises(ValueError, match=r"^fixed_spans: length must be >= 1; got 0$"):
        fixed_spans(0)
    with pytest.raises(ValueError, match=r"^uniform_spans: high must be >= 4; got 3$"):
        uniform_spans(4, 3)
    with pytest.raises(ValueError, match=r"^normal_spans: deviation must be >= 0; got -1$"):
        normal_spans(3, -1)
    with pytest.raises(ValueError, match=r"^poisson_spans: mean must be > 0; got 0$"):
        poisson_spans(0)
