"""Token statistics against scipy and scikit-learn, known tables, and their laws."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score
from torch import Tensor

from ssltok.metrics import (
    codebook_correlation,
    codebook_perplexity,
    codebook_usage,
    token_divergence,
    token_entropy,
    token_histogram,
    token_mutual_information,
)


def draw(seed: int, size: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    skew = torch.rand(*shape, generator=generator, dtype=torch.float64) ** 2
    return (skew * size).long()


# Oracle.


@given(st.integers(0, 10_000), st.integers(2, 20))
def test_histogram_statistics_agree_with_numpy_and_scipy(seed: int, size: int) -> None:
    codes = draw(seed, size, 5, 7)
    padded = torch.cat([codes, torch.full((5, 2), -1)], dim=1)
    counts = np.bincount(codes.flatten().numpy(), minlength=size)
    entropy = scipy.stats.entropy(counts)
    assert token_histogram(padded, codebook_size=size).tolist() == counts.tolist()
    assert codebook_usage(padded, codebook_size=size).item() == np.mean(counts > 0)
    assert token_entropy(padded, codebook_size=size).item() == pytest.approx(entropy)
    perplexity = codebook_perplexity(padded, codebook_size=size).item()
    assert perplexity == pytest.approx(math.exp(entropy))


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.5, 2.0]))
def test_divergence_agrees_with_scipy(seed: int, pseudocount: float) -> None:
    real, generated = draw(seed, 6, 30), draw(seed + 1, 6, 4, 11)
    p, q = (np.bincount(c.flatten().numpy(), minlength=6) for c in (real, generated))
    expected = scipy.stats.entropy(p + pseudocount, q + pseudocount)
    kl = token_divergence(real, generated, codebook_size=6, pseudocount=pseudocount)
    assert kl.item() == pytest.approx(expected)


@given(st.integers(0, 10_000))
def test_mutual_information_is_scikit_learns_plus_the_correction(seed: int) -> None:
    x, y = draw(seed, 4, 40), draw(seed + 1, 6, 40)
    y = torch.where(x > 1, 0, y)
    pairs = list(zip(x.tolist(), y.tolist(), strict=True))
    cells = len(set(x.tolist())) + len(set(y.tolist())) - len(set(pairs))
    expected = mutual_info_score(x.numpy(), y.numpy()) + (cells - 1) / (2 * 40)
    mi = token_mutual_information(x, y, first_size=4, second_size=6)
    assert mi.item() == pytest.approx(expected, abs=1e-12)


def test_correlation_agrees_with_numpy() -> None:
    book = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    off = ~np.eye(5, dtype=bool)
    unit = book.numpy() / np.linalg.norm(book.numpy(), axis=1, keepdims=True)
    result = codebook_correlation(book)
    assert result.pearson.item() == pytest.approx(np.abs(np.corrcoef(book.numpy()))[off].mean())
    assert result.cosine.item() == pytest.approx(np.abs(unit @ unit.T)[off].mean())


# Known values.


def test_uniform_and_collapsed() -> None:
    every = torch.arange(16).repeat(3)
    assert codebook_perplexity(every, codebook_size=16).item() == pytest.approx(16)
    assert token_entropy(every, codebook_size=16).item() == pytest.approx(math.log(16))
    assert codebook_usage(every, codebook_size=32).item() == 0.5
    one = torch.full((40,), 3)
    assert codebook_perplexity(one, codebook_size=16).item() == 1
    assert codebook_usage(one, codebook_size=16).item() == 1 / 16


def test_a_missing_code_is_infinitely_far_without_a_pseudocount() -> None:
    real, generated = torch.tensor([0, 1]), torch.tensor([0, 0])
    kl = token_divergence(real, generated, codebook_size=3, pseudocount=0)
    assert kl.item() == math.inf
    assert math.isfinite(token_divergence(real, generated, codebook_size=3).item())


def test_a_known_table_of_mutual_information() -> None:
    """Counts [[30, 10], [20, 40]]: plug-in 0.0863 nats by hand, and (2 + 2 - 4 - 1) / 200 less."""
    x = torch.tensor([0] * 40 + [1] * 60)
    y = torch.tensor([0] * 30 + [1] * 10 + [0] * 20 + [1] * 40)
    cells = {(0.3, 0.4, 0.5), (0.1, 0.4, 0.5), (0.2, 0.6, 0.5), (0.4, 0.6, 0.5)}
    plug_in = sum(p * math.log(p / (a * b)) for p, a, b in cells)
    mi = token_mutual_information(x, y, first_size=2, second_size=2)
    assert plug_in == pytest.approx(0.0863, abs=1e-4)
    assert mi.item() == pytest.approx(plug_in - 1 / 200)


def test_the_correction_removes_most_of_the_bias_of_independent_variables() -> None:
    x, y = draw(1, 16, 4000), draw(2, 16, 4000)
    plug_in = mutual_info_score(x.numpy(), y.numpy())
    mi = token_mutual_information(x, y, first_size=16, second_size=16).item()
    assert plug_in > 0.02
    assert abs(mi) < plug_in / 5


def test_known_codebooks() -> None:
    same = torch.tensor([[1.0, 2.0, 4.0]]).repeat(4, 1)
    assert codebook_correlation(same).pearson.item() == pytest.approx(1)
    assert codebook_correlation(-same).cosine.item() == pytest.approx(1)
    constant = torch.tensor([[2.0, 2.0], [0.0, 0.0], [1.0, -1.0]])
    assert codebook_correlation(constant).pearson.item() == 0
    assert codebook_correlation(constant).cosine.item() == 0


def test_only_padding_has_no_entropy() -> None:
    assert math.isnan(codebook_perplexity(torch.tensor([-1, -1]), codebook_size=4).item())


# Laws.


@given(st.integers(0, 10_000))
def test_permutation_symmetry_and_zero(seed: int) -> None:
    x, y = draw(seed, 5, 50), draw(seed + 1, 5, 50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    a = token_mutual_information(x, y, first_size=5, second_size=5)
    b = token_mutual_information(y[order], x[order], first_size=5, second_size=5)
    torch.testing.assert_close(a, b)
    assert token_divergence(x, x[order], codebook_size=5).item() == 0
    assert token_divergence(x, y, codebook_size=5).item() >= 0
    left_out = torch.cat([x, torch.tensor([-1, 2])]), torch.cat([y, torch.tensor([0, -1])])
    torch.testing.assert_close(a, token_mutual_information(*left_out, first_size=5, second_size=5))


# Complaints.


def test_refuses() -> None:
    codes = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"^codebook_usage: codes must be int64; got"):
        codebook_usage(torch.zeros(2), codebook_size=4)
    with pytest.raises(ValueError, match=r"^token_entropy: number of codes must be >= 1; got 0$"):
        token_entropy(codes[:0], codebook_size=4)
    with pytest.raises(ValueError, match=r"^codebook_perplexity: codebook_size must be >= 1; got"):
        codebook_perplexity(codes, codebook_size=0)
    with pytest.raises(ValueError, match=r"^token_divergence: pseudocount must be >= 0; got -1$"):
        token_divergence(codes, codes, codebook_size=4, pseudocount=-1)
    with pytest.raises(ValueError, match=r"first and second must share one shape; got \(2,\) and"):
        token_mutual_information(codes, codes[:1], first_size=2, second_size=2)
    with pytest.raises(ValueError, match=r"^codebook_correlation: dim must be >= 2; got 1$"):
        codebook_correlation(torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"^codebook_correlation: codebook_size must be >= 2; got"):
        codebook_correlation(torch.zeros(1, 3))


def test_a_code_outside_the_codebook_is_not_counted_in_silence() -> None:
    with pytest.raises(RuntimeError, match="out of bounds"):
        token_histogram(torch.tensor([4]), codebook_size=4)
    with pytest.raises(RuntimeError, match="out of bounds"):
        token_mutual_information(
            torch.tensor([0, 1]), torch.tensor([2, 0]), first_size=2, second_size=2
        )
