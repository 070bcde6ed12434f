"""Precision, recall, density, coverage against their definitions in loops, and by reasoning."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok._shared import sizes
from ssltok.metrics import precision_recall


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(x: Tensor, y: Tensor, k: int) -> tuple[float, float, float, float]:
    def reach(rows: Tensor) -> list[float]:
        return [
            sorted(float((a - b).norm()) for j, b in enumerate(rows) if j != i)[k - 1]
            for i, a in enumerate(rows)
        ]

    rx, ry = reach(x), reach(y)
    d = [[float((a - b).norm()) for b in y] for a in x]
    n, m = len(x), len(y)
    inside = [[d[i][j] < rx[i] for j in range(m)] for i in range(n)]
    precision = sum(any(inside[i][j] for i in range(n)) for j in range(m)) / m
    recall = sum(any(d[i][j] < ry[j] for j in range(m)) for i in range(n)) / n
    density = sum(map(sum, inside)) / (k * m)
    return precision, recall, density, sum(map(any, inside)) / n


# Oracle.


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_is_the_definition(seed: int, k: int) -> None:
    x, y = draw(seed, 9, 2), 1.4 * draw(seed + 1, 12, 2) + 0.3
    expected = by_definition(x, y, k)
    assert [v.item() for v in precision_recall(x, y, neighbors=k)] == pytest.approx(expected)


def test_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draw(0, 30, 3), draw(1, 25, 3)
    whole = precision_recall(x, y)
    monkeypatch.setattr(sizes, "ROWS", 7)
    assert precision_recall(x, y) == whole


def test_has_the_values_of_the_authors_package() -> None:
    """prdc 0.2, `compute_prdc(real, fake, nearest_k=3)`."""

    def by_formula(cases: int, shift: float) -> Tensor:
        i, j = torch.meshgrid(torch.arange(cases), torch.arange(3), indexing="ij")
        return torch.sin(1.3 * i.double() * (j + 1) + shift) + 0.05 * i

    result = precision_recall(by_formula(40, 0.0), by_formula(30, 0.4), neighbors=3)
    assert [v.item() for v in result] == pytest.approx([1.0, 0.975, 1.2, 0.975])


# Known values.


def test_equal_sets() -> None:
    x = draw(3, 40, 3)
    result = precision_recall(x, x)
    assert [v.item() for v in (result.precision, result.recall, result.coverage)] == [1, 1, 1]


def test_one_series_many_times_is_precise_and_complete() -> None:
    same = torch.full((9, 3), 0.1)
    result = precision_recall(same, same[:7], neighbors=2)
    assert [result.precision.item(), result.recall.item(), result.coverage.item()] == [1, 1, 1]
    apart = precision_recall(same, same[:7] + 1, neighbors=2)
    assert [apart.precision.item(), apart.recall.item(), apart.coverage.item()] == [0, 0, 0]


def test_rows_that_repeat_do_not_hang_on_rounding() -> None:
    """A copy of the farthest neighbour lies on the ball's surface, which is outside."""
    x = draw(5, 40, 7).repeat(2, 1) * 10
    for offset in (0.0, 1e3 / 3):
        y = x + offset
        y = y[torch.randperm(80, generator=torch.Generator().manual_seed(1))]
        result = precision_recall(x + offset, y, neighbors=2)  # itself, and the nearest other
        assert result.density.item() == 1  # the two copies of the centre, over k = 2
        assert [result.precision.item(), result.recall.item(), result.coverage.item()] == [1, 1, 1]


def test_sets_far_apart() -> None:
    result = precision_recall(draw(4, 20, 2), draw(5, 20, 2) + 1e3)
    assert [v.item() for v in result] == [0, 0, 0, 0]


def test_a_collapsed_generator_is_precise_and_recalls_nothing() -> None:
    x = draw(6, 50, 2)
    result = precision_recall(x, x.mean(0).repeat(50, 1))
    assert result.precision == 1
    assert result.recall == 0
    assert result.coverage < 0.5


def test_an_outlier_buys_precision_and_not_density() -> None:
    """One real case far away has a huge ball; noise falls into it."""
    x = torch.cat([draw(7, 60, 2), torch.full((1, 2), 30.0, dtype=torch.float64)])
    noise = 5 * draw(8, 60, 2) + 12
    result = precision_recall(x, noise)
    assert result.precision > 0.8
    assert result.density < 0.35


# Laws.


@given(st.integers(0, 10_000))
def test_swap_permute_and_move(seed: int) -> None:
    x, y = draw(seed, 12, 2), draw(seed + 1, 15, 2)
    result = precision_recall(x, y, neighbors=2)
    swapped = precision_recall(y, x, neighbors=2)
    assert (result.precision, result.recall) == (swapped.recall, swapped.precision)
    assert precision_recall(x.flip(0), y.flip(0), neighbors=2) == result
    assert precision_recall(8 * x + 5, 8 * y + 5, neighbors=2) == result


def test_one_law_twice_has_density_near_one() -> None:
    result = precision_recall(draw(0, 500, 2), draw(1, 500, 2))
    assert result.density.item() == pytest.approx(1, abs=0.15)


def test_falls_with_noise() -> None:
    """Noise takes series out of the balls of the other set; the wider balls are its own."""
    x, fresh, noise = draw(2, 400, 2), draw(4, 400, 2), draw(3, 400, 2)
    sizes = (0.0, 1.0, 3.0, 9.0)
    noisy = [precision_recall(x, fresh + s * noise) for s in sizes]
    turned = [precision_recall(fresh + s * noise, x) for s in sizes]
    for shares in (
        [r.precision for r in noisy], [r.density for r in noisy], [r.coverage for r in noisy],
        [r.recall for r in turned],
    ):  # fmt: skip
        assert shares == sorted(shares, reverse=True)
        assert shares[-1] < shares[0] - 0.3


def test_recall_and_coverage_fall_as_a_generator_collapses() -> None:
    x, fresh = draw(2, 400, 2), draw(4, 400, 2)
    steps = [precision_recall(x, (1 - s) * fresh) for s in (0.0, 0.3, 0.6, 0.9)]
    for shares in ([r.recall for r in steps], [r.coverage for r in steps]):
        assert shares == sorted(shares, reverse=True)
        assert shares[-1] < 0.2 < 0.8 < shares[0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_broken_feature_leaves_nothing_known(bad: float) -> None:
    x, y = draw(0, 20, 2), draw(1, 20, 2)
    y[3, 1] = bad
    assert all(value.isnan() for value in (*precision_recall(x, y), *precision_recall(y, x)))


# Complaints.


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"^precision_recall: cases of real must be >= 6; got 5$"):
        precision_recall(torch.zeros(5, 2), torch.zeros(9, 2))
    with pytest.raises(ValueError, match=r"^precision_recall: neighbors must be >= 1; got 0$"):
        precision_recall(torch.zeros(5, 2), torch.zeros(9, 2), neighbors=0)
