"""The search for codes, against float64 and SciPy."""

import math

import numpy as np
import pytest
import scipy.cluster.vq
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.quantizers import _nearest_fast, nearest_codes, sample_codes


def naive(tokens: Tensor, codebook: Tensor) -> Tensor:
    """Every difference, squared, in float64."""
    return (tokens.double()[:, None] - codebook.double()).square().sum(dim=2).argmin(dim=1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Oracle


@given(
    tokens=st.integers(0, 70), size=st.integers(1, 300), dim=st.integers(1, 9),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_against_every_difference(tokens: int, size: int, dim: int, seed: int) -> None:
    x = torch.randn(tokens, dim, generator=seeded(seed)).exp()
    e = torch.randn(size, dim, generator=seeded(seed + 1)) + 0.5
    assert torch.equal(nearest_codes(x, e), naive(x, e))


@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 192, 193, 1000])
def test_against_scipy_around_the_block_sizes(size: int) -> None:
    x, e = torch.randn(500, 6, generator=seeded(0)), torch.randn(size, 6, generator=seeded(1))
    expected, _ = scipy.cluster.vq.vq(x.double().numpy(), e.double().numpy())
    assert np.array_equal(nearest_codes(x, e).numpy(), expected)


def test_more_codes_than_a_chunk_holds_rows() -> None:
    x, e = torch.randn(50, 3, generator=seeded(0)), torch.randn(70_001, 3, generator=seeded(1))
    expected = torch.cdist(x.double(), e.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(nearest_codes(x, e), expected.argmin(dim=1))


@pytest.mark.parametrize("size", [7, 500])
def test_chunks_equal_the_whole(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, e = torch.randn(333, 5, generator=seeded(0)), torch.randn(size, 5, generator=seeded(1))
    whole = nearest_codes(x, e)
    monkeypatch.setattr("ssltok.quantizers._tuning.NEAREST_SCORES", {"cpu": 20 * size})
    assert torch.equal(nearest_codes(x, e), whole)


# Known values


def test_equal_scores_go_to_the_lowest_code() -> None:
    for size in (3, 100, 300):
        assert nearest_codes(torch.ones(2, 3), torch.zeros(size, 3)).tolist() == [0, 0]


def test_equal_vectors_may_stand_for_each_other() -> None:
    """Products at the edge of a block may round otherwise, so the lowest is not promised here."""
    e, x = torch.randn(100, 6, generator=seeded(0)), torch.randn(200, 6, generator=seeded(1))
    assert torch.equal(nearest_codes(x, torch.cat([e, e])) % 100, nearest_codes(x, e))


# Laws


@pytest.mark.parametrize("offset", [0.0, 10.0, 100.0, 1000.0])
def test_exact_far_from_the_origin(offset: float) -> None:
    """At 1,000 the expanded square keeps a fifth of the codes right; centring keeps all."""
    e = torch.randn(512, 16, generator=seeded(0)) + offset
    x = e[torch.randint(512, (4000,), generator=seeded(1))]
    x = x + 0.5 * torch.randn(x.shape, generator=seeded(2))
    assert torch.equal(nearest_codes(x, e), naive(x, e))


def test_a_repeated_last_code_is_the_last_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are filled up with the last code; should rounding prefer a repetition, it is that."""
    monkeypatch.setattr(
        _nearest_fast,
        "_row_argmax",
        lambda scores: torch.full(scores.shape[:1], scores.shape[1] - 1),
    )
    assert nearest_codes(torch.ones(3, 2), torch.randn(130, 2)).tolist() == [129] * 3


def test_full_precision_under_autocast_and_from_half() -> None:
    x, e = torch.randn(999, 16, generator=seeded(0)), torch.randn(200, 16, generator=seeded(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest_codes(x, e), naive(x, e))
    half = x.bfloat16()
    assert torch.equal(nearest_codes(half, e), naive(half, e))


def test_unit_codes_give_the_search_by_cosine() -> None:
    x = torch.randn(99, 5, generator=seeded(0)) * 40
    e = torch.nn.functional.normalize(torch.randn(30, 5, generator=seeded(1)), dim=1)
    cosine = torch.cosine_similarity(x[:, None], e, dim=2).argmax(dim=1)
    assert torch.equal(nearest_codes(x, e), cosine)


def test_no_matrix_of_all_scores_exists() -> None:
    x, e = torch.randn(4096, 8), torch.randn(4096, 8)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        nearest_codes(x, e)
    largest = max(e.nbytes() for e in profile.profiler.kineto_results.events()
                  if e.name() == "[memory]")  # fmt: skip
    assert largest < 4096 * 4096 * 4 / 16


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_codes_stay_in_range_whatever_the_tokens(bad: float) -> None:
    for size in (5, 129):
        codes = nearest_codes(torch.full((3, 4), bad), torch.randn(size, 4, generator=seeded(0)))
        assert codes.min() >= 0
        assert codes.max() < size


def test_draws_follow_the_softmax_of_distances() -> None:
    """A chi-squared test with 4 degrees of freedom; 18.5 is exceeded once in 1,000 times."""
    e = torch.tensor([[0.0], [0.5], [1.0], [1.5], [3.0]])
    draws, temperature = 40_000, 0.8
    codes = sample_codes(
        torch.full((draws, 1), 0.3), e, temperature=temperature, generator=seeded(5)
    )
    weights = [math.exp(-((0.3 - float(v)) ** 2) / temperature) for v in e]
    expected = torch.tensor(weights) / sum(weights) * draws
    observed = torch.bincount(codes, minlength=5)
    assert ((observed - expected).square() / expected).sum() < 18.5


def test_draws_come_from_the_generator_alone() -> None:
    x, e = torch.randn(50, 3, generator=seeded(0)), torch.randn(20, 3, generator=seeded(1))
    before = torch.get_rng_state()
    first = sample_codes(x, e, temperature=1.0, generator=seeded(3))
    assert torch.equal(first, sample_codes(x, e, temperature=1.0, generator=seeded(3)))
    assert not torch.equal(first, sample_codes(x, e, temperature=1.0, generator=seeded(4)))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_low_temperature_draws_the_nearest() -> None:
    x, e = torch.randn(99, 3, generator=seeded(0)), torch.randn(300, 3, generator=seeded(1))
    assert torch.equal(sample_codes(x, e, temperature=1e-9), nearest_codes(x, e))


# Complaints


def test_complaints() -> None:
    x, e = torch.zeros(4, 3), torch.zeros(5, 3)
    with pytest.raises(TypeError, match="nearest_codes: tokens must be a tensor; got list"):
        nearest_codes([[0.0]], e)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"tokens must be \(tokens, dim\); got shape \(3,\)"):
        nearest_codes(x[0], e)
    with pytest.raises(ValueError, match=r"tokens must be floating point; got torch.int64"):
        nearest_codes(x.long(), e)
    with pytest.raises(ValueError, match="tokens must have size 2 in dimension 1; got 3"):
        nearest_codes(x, e[:, :2])
    with pytest.raises(ValueError, match=r"codebook must not be empty; got shape \(0, 3\)"):
        nearest_codes(x, e[:0])
    with pytest.raises(ValueError, match="sample_codes: temperature must be > 0; got 0"):
        sample_codes(x, e, temperature=0)
