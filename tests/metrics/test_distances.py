"""DTW and nearest neighbours against the naive loop and published implementations."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok._shared import sizes
from ssltok.metrics import dtw_distance, euclidean_distance, nearest_neighbor_distance


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_dtw(x: Tensor, y: Tensor, band: int) -> float:
    """The double loop over one pair, (channels, length) each."""
    n, m = x.shape[1], y.shape[1]
    d = [[float("inf")] * (m + 1) for _ in range(n + 1)]
    d[0][0] = 0.0
    for i in range(n):
        for j in range(m):
            if abs(i - j) <= band:
                cost = float((x[:, i] - y[:, j]).square().sum())
                d[i + 1][j + 1] = cost + min(d[i][j + 1], d[i + 1][j], d[i][j])
    return math.sqrt(d[n][m])


# Oracle.


@given(
    st.integers(0, 10_000),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.none() | st.integers(0, 9),
)
def test_dtw_is_the_naive_loop(
    seed: int, channels: int, rows: int, columns: int, band: int | None
) -> None:
    x, y = draw(seed, 3, channels, rows), draw(seed + 1, 2, channels, columns)
    if band is not None:
        band = max(band, abs(rows - columns))
    wide = 99 if band is None else band
    expected = torch.tensor([[naive_dtw(a, b, wide) for b in y] for a in x], dtype=torch.float64)
    torch.testing.assert_close(dtw_distance(x, y, band=band), expected)


def test_dtw_in_chunks_is_dtw_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draw(0, 5, 2, 7), draw(1, 3, 2, 6)
    whole = dtw_distance(x, y)
    monkeypatch.setattr(sizes, "DISTANCES", 1)
    torch.testing.assert_close(dtw_distance(x, y), whole)
    near = nearest_neighbor_distance(y[..., :6], x[..., :6])
    assert near.neighbor.shape == (5,)


def by_formula(cases: int, shift: float) -> Tensor:
    i, c, t = torch.meshgrid(*map(torch.arange, (cases, 2, 20)), indexing="ij")
    i, t = i.double(), t.double()
    return torch.sin(0.7 * i + 0.3 * t * (1 + c) + shift) + 0.1 * torch.cos(1.9 * i * t + shift)


def test_dtw_has_the_values_of_aeon_and_tslearn() -> None:
    """aeon 1.6.0 `dtw_pairwise_distance` (which is squared), tslearn 0.10.0 `dtw`."""
    x, y = by_formula(3, 0.0), by_formula(2, 1.0)
    aeon = [
        [4.994383028968986, 14.374975966445458],
        [1.2038071263220396, 4.675101461236267],
        [0.8673035963228629, 1.4967424678024437],
    ]
    tslearn_radius_3 = [
        [2.234811631652428, 3.831430019086105],
        [1.0971814463989262, 2.1621982936900737],
        [0.9312913595233572, 1.2234142666335242],
    ]
    expected = torch.tensor([aeon, tslearn_radius_3], dtype=torch.float64)
    torch.testing.assert_close(dtw_distance(x, y).square(), expected[0])
    torch.testing.assert_close(dtw_distance(x, y, band=3), expected[1])


@given(st.integers(0, 10_000))
def test_euclidean_and_neighbours_are_the_plain_loop(seed: int) -> None:
    x, y = draw(seed, 4, 2, 5), draw(seed + 1, 6, 2, 5)
    expected = torch.stack([torch.stack([(a - b).square().sum().sqrt() for b in y]) for a in x])
    torch.testing.assert_close(euclidean_distance(x, y), expected)
    near = nearest_neighbor_distance(y, x)
    torch.testing.assert_close(near.distance, expected.amin(1))
    assert torch.equal(near.neighbor, expected.argmin(1))


@pytest.mark.parametrize("apart", [1e3, 1e6, 1e8])
@pytest.mark.parametrize("few", [True, False])
def test_clusters_far_apart_keep_their_digits(apart: float, few: bool) -> None:
    """One product of matrices had 3.45 for a set to its own copy; by differences and by gather."""
    x, y = draw(0, 30, 2, 5), draw(1, 40, 2, 5)
    x[:, 0, 0] += apart * (torch.arange(30) % (2 if few else 30))
    y[:, 0, 0] += apart * (torch.arange(40) % (2 if few else 40))
    y[7] = x[3]
    expected = (x.flatten(1)[:, None] - y.flatten(1)).square().sum(2).sqrt()
    torch.testing.assert_close(euclidean_distance(x, y), expected, rtol=1e-8, atol=0)
    assert (euclidean_distance(x, x).diagonal() == 0).all()
    assert euclidean_distance(x, y)[3, 7].item() == 0
    assert nearest_neighbor_distance(x, x).neighbor.tolist() == list(range(30))


def test_a_band_needs_memory_for_the_band_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the length; tables of the whole length were ten times as large."""
    largest = []
    full = Tensor.new_full

    def noted(tensor: Tensor, size: tuple[int, ...], *rest: float) -> Tensor:
        largest.append(math.prod(size))
        return full(tensor, size, *rest)

    monkeypatch.setattr(Tensor, "new_full", noted)
    x, y = draw(0, 3, 1, 400), draw(1, 2, 1, 390)
    dtw_distance(x, y, band=20)
    assert max(largest) == (20 + 1 + 2) * 3 * 2
    dtw_distance(x[..., :7], y, band=390)
    assert largest[-1] == (7 + 2) * 3 * 2


# Known values.


def test_a_shifted_peak_costs_nothing() -> None:
    early, late = torch.zeros(1, 1, 9), torch.zeros(1, 1, 9)
    early[..., 2], late[..., 5] = 4, 4
    assert dtw_distance(early, late).item() == 0
    assert dtw_distance(early, late, band=3).item() == 0
    assert dtw_distance(early, late, band=2).item() > 0
    assert dtw_distance(early, late, band=0).item() == pytest.approx(32**0.5)


def test_one_point_against_many() -> None:
    assert dtw_distance(torch.zeros(1, 1, 1), torch.ones(1, 1, 4)).item() == pytest.approx(2)


def test_nearest_by_dtw_with_a_band() -> None:
    real, generated = torch.zeros(2, 1, 9), torch.zeros(1, 1, 9)
    generated[..., 5], real[0, :, 2], real[1, :, 5] = 4, 4, 3
    distance = partial(dtw_distance, band=4)
    assert nearest_neighbor_distance(real, generated, distance=distance).neighbor.item() == 0
    assert nearest_neighbor_distance(real, generated).neighbor.item() == 1


def test_equal_distances_go_to_the_smaller_index() -> None:
    real = torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    assert nearest_neighbor_distance(real, torch.zeros(1, 1, 1)).neighbor.item() == 0


# Laws.


@given(st.integers(0, 10_000))
def test_dtw_is_symmetric_below_euclid_and_of_the_series_units(seed: int) -> None:
    x, y = draw(seed, 3, 2, 8), draw(seed + 1, 4, 2, 8)
    d = dtw_distance(x, y)
    torch.testing.assert_close(dtw_distance(y, x).mT, d)
    assert (d <= euclidean_distance(x, y) + 1e-9).all()
    torch.testing.assert_close(dtw_distance(x, y, band=0), euclidean_distance(x, y))
    assert (dtw_distance(x, y, band=2) >= d - 1e-12).all()
    torch.testing.assert_close(dtw_distance(3 * x, 3 * y), 3 * d)
    assert dtw_distance(x, x).diagonal().abs().max() == 0
    torch.testing.assert_close(dtw_distance(x.flip(2), y.flip(2)), d)


def test_grows_with_noise() -> None:
    real, fresh, noise = (draw(s, 40, 1, 8) for s in (3, 4, 5))
    for distance in (euclidean_distance, dtw_distance):
        steps = [
            nearest_neighbor_distance(real, fresh + s * noise, distance=distance).distance.mean()
            for s in (0.0, 1.0, 2.0, 4.0)
        ]
        assert steps == sorted(steps)
        assert steps[-1] > 1.5 * steps[0]


def test_inputs_stay() -> None:
    x = draw(0, 2, 1, 6)
    before = x.clone()
    dtw_distance(x, x)
    euclidean_distance(x, x)
    assert torch.equal(x, before)


# Complaints.


def test_refuses() -> None:
    x = torch.zeros(2, 1, 6)
    with pytest.raises(ValueError, match=r"^dtw_distance: band must be >= 2; got 1$"):
        dtw_distance(x, x[..., :4], band=1)
    with pytest.raises(
        ValueError, match=r"^dtw_distance: first and second must have the same chan"
    ):
        dtw_distance(x, x.expand(-1, 2, -1))
    with pytest.raises(
        ValueError, match=r"^euclidean_distance: first and second must have the same l"
    ):
        euclidean_distance(x, x[..., :4])
    with pytest.raises(ValueError, match=r"real must be \(cases, channels, length\); got shape"):
        nearest_neighbor_distance(x[0], x)
    with pytest.raises(ValueError, match=r"cases of generated must be >= 1; got 0$"):
        nearest_neighbor_distance(x, x[:0])
