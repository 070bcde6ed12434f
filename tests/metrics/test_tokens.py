"""Token statistics against scipy and scikit-learn, known tables, and their laws."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssltok._shared import sizes
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
def test_mutual_information_is_scikit_learns_less_that_of_permuted_pairs(seed: int) -> None:
    x, y = draw(seed, 4, 40), draw(seed + 1, 6, 40)
    y = torch.where(x > 1, 0, y)

    def estimate(other: Tensor) -> float:
        """Up to the corrections of H(X) and H(Y), which no permutation changes."""
        cells = len(set(zip(x.tolist(), other.tolist(), strict=True)))
        return float(mutual_info_score(x.numpy(), other.numpy())) - (cells - 1) / (2 * 40)

    generator = torch.Generator().manual_seed(seed)
    permuted = [estimate(y[torch.randperm(40, generator=generator)]) for _ in range(3)]
    expected = estimate(y) - np.mean(permuted)
    mi = token_mutual_information(
        x, y, first_size=4, second_size=6, permutations=3, generator=generator.manual_seed(seed)
    )
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
    """Counts [[30, 10], [20, 40]]: plug-in 0.0863 nats by hand, less what permuted pairs score.

    With these margins a permuted table is known by one cell, which is hypergeometric.
    """
    x = torch.tensor([0] * 40 + [1] * 60)
    y = torch.tensor([0] * 30 + [1] * 10 + [0] * 20 + [1] * 40)
    cells = {(0.3, 0.4, 0.5), (0.1, 0.4, 0.5), (0.2, 0.6, 0.5), (0.4, 0.6, 0.5)}
    plug_in = sum(p * math.log(p / (a * b)) for p, a, b in cells)
    assert plug_in == pytest.approx(0.0863, abs=1e-4)
    chance = 0.0
    for k in range(41):
        table = np.array([[k, 40 - k], [50 - k, 10 + k]]) / 100
        full = table > 0
        ratio = table[full] / np.outer([0.4, 0.6], [0.5, 0.5])[full]
        score = (table[full] * np.log(ratio)).sum() - (full.sum() - 1) / 200
        chance += scipy.stats.hypergeom.pmf(k, 100, 50, 40) * score
    mi = token_mutual_information(
        x, y, first_size=2, second_size=2, permutations=2000,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert mi.item() == pytest.approx(plug_in - 3 / 200 - chance, abs=1e-3)  # 6 standard errors


def uniform(seed: int, size: int, *shape: int) -> Tensor:
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("size", "shape"), [(256, (60, 20)), (16, (60, 20)), (256, (500, 100))])
def test_independent_variables_share_nothing_however_few_the_pairs(
    size: int, shape: tuple[int, int]
) -> None:
    """60 series of 20 tokens fill a fiftieth of 256 * 256 cells; the plug-in has some 3.9 nats."""
    codes = uniform(1, size, *shape)
    first, second = codes[:, :-1], codes[:, 1:]
    mi = token_mutual_information(
        first, second, first_size=size, second_size=size,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert abs(mi.item()) < 0.1
    plug_in = mutual_info_score(first.flatten().numpy(), second.flatten().numpy())
    assert abs(mi.item()) < plug_in / 3


@pytest.mark.parametrize("share", [0.25, 0.75])
@pytest.mark.parametrize(("size", "pairs", "error"), [(16, 20_000, 0.06), (64, 64 * 64, 0.1)])
def test_what_dependent_variables_share_is_found_from_a_pair_a_cell_on(
    size: int, pairs: int, error: float, share: float
) -> None:
    """Y is X in a share of the cases and else any value: the truth from the table of its law."""
    generator = torch.Generator().manual_seed(2)
    x, other = uniform(3, size, pairs), uniform(4, size, pairs)
    y = torch.where(torch.rand(pairs, generator=generator) < share, x, other)
    law = np.full((size, size), (1 - share) / size**2) + np.eye(size) * share / size
    true = (law * np.log(law * size**2)).sum()
    mi = token_mutual_information(
        x, y, first_size=size, second_size=size, generator=generator
    ).item()
    assert mi == pytest.approx(true, rel=error)
    if size == 64:  # and a twentieth of that is too few
        few = token_mutual_information(
            x[:200], y[:200], first_size=size, second_size=size, generator=generator
        ).item()
        assert few < 0.7 * true


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numel = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def test_a_large_codebook_takes_no_square_of_it() -> None:
    """65,536 codes: their table has 4 G cells, 32 GiB in float64."""
    size = 65_536
    codes = uniform(5, size, 40, 10)
    with Largest() as largest:
        mi = token_mutual_information(
            codes[:, :-1], codes[:, 1:], first_size=size, second_size=size,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        every = token_entropy(codes, codebook_size=size), codebook_usage(codes, codebook_size=size)
    assert abs(mi.item()) < 0.1
    assert 5 < every[0].item() < math.log(400) + 1e-9
    assert largest.numel <= size + 1
    with Largest() as largest:
        result = codebook_correlation(torch.eye(2)[uniform(6, 2, 8192)])
    assert largest.numel <= 1024 * 8192
    assert result.cosine.item() == pytest.approx(0.5, abs=0.01)
    assert result.pearson.item() == pytest.approx(1)


def test_blocks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    book = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    whole = codebook_correlation(book)
    monkeypatch.setattr(sizes, "ROWS", 4)
    torch.testing.assert_close(codebook_correlation(book), whole)


def test_known_codebooks() -> None:
    same = torch.tensor([[1.0, 2.0, 4.0]]).repeat(4, 1)
    assert codebook_correlation(same).pearson.item() == pytest.approx(1)
    assert codebook_correlation(-same).cosine.item() == pytest.approx(1)
    constant = torch.tensor([[2.0, 2.0], [0.0, 0.0], [1.0, -1.0]])
    assert codebook_correlation(constant).pearson.item() == 0
    assert codebook_correlation(constant).cosine.item() == 0


def test_only_padding_has_no_entropy() -> None:
    nothing = torch.tensor([-1, -1])
    assert math.isnan(codebook_perplexity(nothing, codebook_size=4).item())
    shared = token_mutual_information(nothing, nothing, first_size=4, second_size=4)
    assert math.isnan(shared.item())


# Laws.


@given(st.integers(0, 10_000))
def test_permutation_symmetry_and_zero(seed: int) -> None:
    x, y = draw(seed, 5, 50), draw(seed + 1, 5, 50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))

    def shared(first: Tensor, second: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return token_mutual_information(
            first, second, first_size=5, second_size=5, generator=generator
        )

    a = shared(x, y)
    torch.testing.assert_close(shared(4 - x, y), a)  # names of values do not matter
    assert shared(x, torch.zeros_like(y)).item() == pytest.approx(0, abs=1e-12)
    assert token_divergence(x, x[order], codebook_size=5).item() == 0
    assert token_divergence(x, y, codebook_size=5).item() >= 0
    left_out = torch.cat([x, torch.tensor([-1, 2])]), torch.cat([y, torch.tensor([0, -1])])
    torch.testing.assert_close(shared(*left_out), a)


# Complaints.


def test_refuses() -> None:
    codes = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"^codebook_usage: codes must be int64; got"):
        codebook_usage(torch.zeros(2), codebook_size=4)
    with pytest.raises(ValueError, match=r"^token_entropy: number of codes must be >= 1; got 0$"):
        token_entropy(codes[:0], codebook_size=4)
    with pytest.raises(ValueError, match=r"^codebook_perplexity: codebook_size must be >= 1; got"):
        codebook_perplexity(codes, codebook_size=0)
    said = r"^token_divergence: number of codes of generated must be >= 1; got 0$"
    with pytest.raises(ValueError, match=said):
        token_divergence(codes, codes[:0], codebook_size=4)
    with pytest.raises(ValueError, match=r"^token_divergence: real must be int64; got torch.flo"):
        token_divergence(torch.zeros(2), codes, codebook_size=4)
    said = r"^token_mutual_information: second must be < second_size = 2; got 2$"
    with pytest.raises(ValueError, match=said):
        token_mutual_information(codes, codes + 1, first_size=2, second_size=2)
    said = r"^token_mutual_information: permutations must be >= 1; got 0$"
    with pytest.raises(ValueError, match=said):
        token_mutual_information(codes, codes, first_size=2, second_size=2, permutations=0)
    said = r"^token_mutual_information: number of pairs must be >= 1; got 0$"
    with pytest.raises(ValueError, match=said):
        token_mutual_information(codes[:0], codes[:0], first_size=2, second_size=2)
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
