"""Representation measures against their definitions in loops, and at known configurations."""

import math

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok._shared import sizes
from ssltok.metrics import alignment, normalized_std, rank_me, uniformity


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(x: Tensor) -> Tensor:
    return x / x.square().sum(1, keepdim=True).sqrt()


# Oracle.


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 6))
def test_are_their_definitions(seed: int, n: int, dim: int) -> None:
    x, y = draw(seed, n, dim) + 0.3, draw(seed + 1, n, dim)
    gram = (x.mT @ x if n > dim else x @ x.mT).numpy()
    spectrum = torch.linalg.eigvalsh(torch.from_numpy(gram)).clamp_min(0).sqrt()
    rank = math.exp(scipy.stats.entropy(spectrum.numpy()))
    assert rank_me(x).item() == pytest.approx(rank, rel=1e-5)
    a, b = unit(x), unit(y)
    aligned = sum(float((p - q).norm()) ** 3 for p, q in zip(a, b, strict=True)) / n
    assert alignment(x, y, power=3).item() == pytest.approx(aligned)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    potential = [math.exp(-1.5 * float((a[i] - a[j]).square().sum())) for i, j in pairs]
    expected = math.log(sum(potential) / len(pairs))
    assert uniformity(x, sharpness=1.5).item() == pytest.approx(expected, abs=1e-9)
    std = sum(float(a[:, j].std()) for j in range(dim)) / dim * dim**0.5
    assert normalized_std(x).item() == pytest.approx(std, abs=1e-12)


def test_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw(0, 23, 4)
    whole = uniformity(x)
    monkeypatch.setattr(sizes, "ROWS", 5)
    torch.testing.assert_close(uniformity(x), whole)


# Known values.


def test_ranks() -> None:
    assert rank_me(torch.eye(5)).item() == pytest.approx(5)
    assert rank_me(draw(0, 9, 1) @ draw(1, 1, 6)).item() == pytest.approx(1)
    two = torch.diag(torch.tensor([3.0, 1.0]))
    assert rank_me(two).item() == pytest.approx(math.exp(scipy.stats.entropy([0.75, 0.25])))
    assert math.isnan(rank_me(torch.zeros(3, 2)).item())


def test_collapse_to_a_point_and_isotropy() -> None:
    point, sphere = torch.ones(50, 8), draw(2, 4000, 8)
    assert uniformity(point).item() == pytest.approx(0, abs=1e-12)
    assert normalized_std(point).item() == pytest.approx(0, abs=1e-12)
    assert normalized_std(sphere).item() == pytest.approx(1, abs=0.01)
    assert alignment(sphere, sphere).item() == 0
    assert alignment(sphere, -sphere).item() == pytest.approx(4)


def test_uniformity_of_a_high_sphere() -> None:
    """In many dimensions cosines vanish: log of exp(-2 t)."""
    assert uniformity(draw(3, 400, 2000)).item() == pytest.approx(-4, abs=0.01)


# Laws.


@given(st.integers(0, 10_000))
def test_scale_rotation_and_order(seed: int) -> None:
    x, y = draw(seed, 8, 3), draw(seed + 1, 8, 3)
    rotation = torch.linalg.qr(draw(seed + 2, 3, 3)).Q
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    for measure in (rank_me, uniformity, normalized_std):
        torch.testing.assert_close(measure(1e-4 * x[order]), measure(x))
    for measure in (rank_me, uniformity):
        torch.testing.assert_close(measure(x @ rotation), measure(x))
    torch.testing.assert_close(alignment(5 * x[order], y[order]), alignment(x, y))
    torch.testing.assert_close(alignment(y, x), alignment(x, y))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_broken_feature_leaves_nothing_known(bad: float) -> None:
    x = draw(0, 8, 3)
    x[2, 1] = bad
    for measure in (rank_me, uniformity, normalized_std):
        assert measure(x).isnan()
    assert alignment(x, draw(1, 8, 3)).isnan()


# Complaints.


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"^uniformity: cases must be >= 2; got 1$"):
        uniformity(torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"^normalized_std: features must be \(cases, dim\); got"):
        normalized_std(torch.zeros(4))
    with pytest.raises(ValueError, match=r"^alignment: z_a and z_b must share one shape; got"):
        alignment(torch.zeros(2, 3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"^alignment: power must be > 0; got 0$"):
        alignment(torch.zeros(2, 3), torch.zeros(2, 3), power=0)
    with pytest.raises(ValueError, match=r"^uniformity: sharpness must be > 0; got -1$"):
        uniformity(torch.zeros(2, 3), sharpness=-1)
    with pytest.raises(ValueError, match=r"^rank_me: features must be floating point; got"):
        rank_me(torch.zeros(2, 3, dtype=torch.int64))
