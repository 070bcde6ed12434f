"""Inception score against its definition in numpy, and values known by reasoning."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.metrics import inception_score


def logits(seed: int, cases: int, classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(cases, classes, generator=generator, dtype=torch.float64)


def by_definition(x: Tensor) -> float:
    p = scipy.special.softmax(x.numpy(), axis=1)
    marginal = p.mean(0)
    return float(np.exp(np.mean([scipy.stats.entropy(row, marginal) for row in p])))


# Oracle.


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 5))
def test_agrees_with_the_definition(seed: int, cases: int, classes: int) -> None:
    x = logits(seed, cases, classes)
    assert inception_score(x).item() == pytest.approx(by_definition(x), rel=1e-10)


def test_splits_partition_the_cases() -> None:
    """Every case is in exactly one part; the parts are those of the permutation."""
    x = logits(5, 11, 3)
    scores = inception_score(x, splits=3, generator=torch.Generator().manual_seed(8))
    order = torch.randperm(11, generator=torch.Generator().manual_seed(8))
    expected = [by_definition(x[part]) for part in (order[:4], order[4:8], order[8:])]
    assert scores.tolist() == pytest.approx(expected, rel=1e-10)


# Known values.


def test_sure_and_balanced_is_the_number_of_classes() -> None:
    x = 1e4 * torch.eye(5).repeat(3, 1)
    assert inception_score(x).item() == pytest.approx(5)


def test_one_answer_for_all_is_one() -> None:
    assert inception_score(torch.tensor([[2.0, -1.0, 0.5]]).repeat(6, 1)).item() == pytest.approx(1)


def test_two_of_three_classes() -> None:
    """Sure answers, three to one: exp of the entropy of (3/4, 1/4)."""
    x = 1e4 * torch.eye(3)[[0, 0, 0, 1]]
    expected = np.exp(scipy.stats.entropy([0.75, 0.25]))
    assert inception_score(x).item() == pytest.approx(expected)


def test_an_impossible_class_adds_nothing() -> None:
    x = logits(1, 6, 3)
    closed = torch.cat([x, torch.full((6, 1), -torch.inf, dtype=x.dtype)], dim=1)
    torch.testing.assert_close(inception_score(closed), inception_score(x))


# Laws.


@given(st.integers(0, 10_000))
def test_bounded_permutable_and_shift_free(seed: int) -> None:
    x = logits(seed, 9, 4)
    score = inception_score(x)
    assert 1 - 1e-12 <= score.item() <= 4 + 1e-12
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(inception_score(x[order]), score)
    torch.testing.assert_close(inception_score(x + 100 * torch.ones(9, 1)), score)


def test_the_input_is_not_shuffled() -> None:
    x = logits(2, 20, 3)
    before = x.clone()
    inception_score(x, splits=4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(x, before)


def test_a_broken_logit_leaves_nothing_known() -> None:
    x = logits(3, 6, 3)
    x[2, 1] = torch.nan
    assert inception_score(x).isnan()
    assert inception_score(torch.full((4, 3), torch.nan)).isnan()


def test_falls_with_noise() -> None:
    """Sure and balanced answers, less and less sure."""
    sure, noise = 8 * torch.eye(4).repeat(50, 1), 0.1 * logits(4, 200, 4)
    steps = [inception_score(sure / (1 + s) + noise).item() for s in (0.0, 1.0, 3.0, 9.0)]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > 3 > 2 > steps[-1]


# Complaints.


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"logits must be \(cases, classes\); got shape \(3,\)$"):
        inception_score(torch.zeros(3))
    with pytest.raises(ValueError, match=r"^inception_score: cases must be >= 4; got 3$"):
        inception_score(torch.zeros(3, 2), splits=4)
    with pytest.raises(ValueError, match=r"^inception_score: splits must be >= 1; got 0$"):
        inception_score(torch.zeros(3, 2), splits=0)
    with pytest.raises(ValueError, match=r"logits must be floating point; got torch.int64$"):
        inception_score(torch.zeros(3, 2, dtype=torch.int64))
