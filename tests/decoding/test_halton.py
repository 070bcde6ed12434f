"""Halton order: a permutation of any grid, in the order of the sequence, well spread."""

import math
from fractions import Fraction

import pytest
import torch

from ssltok.decoding import halton_places

GRIDS = [
    (1,), (2,), (7,), (64,), (1, 1), (1, 8), (8, 1), (5, 8), (9, 9), (16, 16), (64, 64), (3, 250),
    (2, 8), (3, 17), (2, 3, 5), (1, 4, 1), (2, 3, 2, 3),
]  # fmt: skip


def radical_inverse(index: int, base: int) -> Fraction:
    value, scale = Fraction(0), Fraction(1)
    while index:
        scale /= base
        value += scale * (index % base)
        index //= base
    return value


# oracle


@pytest.mark.parametrize(
    "grid", [(7,), (5, 8), (9, 9), (2, 3, 5), (2, 8), (3, 17), (6, 12), (7, 3), (4, 23)]
)
def test_order_is_the_first_visit_of_the_sequence(grid: tuple[int, ...]) -> None:
    seen: list[int] = []
    index = 1
    while len(seen) < math.prod(grid):
        place = 0
        for size, base in zip(grid, (2, 3, 5), strict=False):
            place = place * size + math.floor(radical_inverse(index, base) * size)
        if place not in seen:
            seen.append(place)
        index += 1
    assert halton_places(grid).tolist() == seen


def published_order(grid: tuple[int, int], points: int) -> list[int]:
    """What the authors' script does: points from the first on, floored, doubles left out."""
    rows = [math.floor(radical_inverse(i, 2) * grid[0]) for i in range(1, points + 1)]
    columns = [math.floor(radical_inverse(i, 3) * grid[1]) for i in range(1, points + 1)]
    places = [row * grid[1] + column for row, column in zip(rows, columns, strict=True)]
    return list(dict.fromkeys(places))


@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (16, 16), (5, 8), (3, 17)])
def test_the_order_is_that_of_the_authors_code(grid: tuple[int, int]) -> None:
    assert halton_places(grid).tolist() == published_order(grid, 2_000)


# known values


def test_one_dimension_of_a_power_of_two_mirrors_the_bits() -> None:
    expected = [int(f"{i:04b}"[::-1], 2) for i in [*range(1, 16), 0]]
    assert halton_places((16,)).tolist() == expected


# laws


@pytest.mark.parametrize("grid", GRIDS)
def test_permutation_of_any_grid(grid: tuple[int, ...]) -> None:
    places = halton_places(grid)
    assert torch.equal(places.sort().values, torch.arange(math.prod(grid)))


def test_the_first_places_are_spread_over_the_grid() -> None:
    first = halton_places((16, 16))[:16]
    quarters = (first // 16 // 8) * 2 + first % 16 // 8
    assert torch.bincount(quarters, minlength=4).min() >= 3


# complaints


@pytest.mark.parametrize("grid", [(), (0,), (3, 0), (2, 2, 2, 2, 2)])
def test_complaints(grid: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^halton_places: grid must be 1 to 4 sizes >= 1; got"):
        halton_places(grid)
