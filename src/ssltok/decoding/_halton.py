"""Halton order: visit a grid of tokens so that the visited ones are spread evenly at any time."""

import math

import torch
from torch import Tensor

__all__ = ["halton_places"]

PRIMES = (2, 3, 5, 7)


def halton_places(grid: tuple[int, ...]) -> Tensor:
    r"""Order the places of a grid by their first visit from the Halton sequence.

    Point $i = 1, 2, \dots$ has the coordinates $\phi_2(i), \phi_3(i), \dots$: the digits of $i$ in
    the bases 2, 3, ... mirrored at the point. As in the authors' code the sequence begins at 1,
    near the middle, and not at 0, the corner. As many points are made as surely visit every place:
    each place holds a whole box of the sequence's own grid, and $\prod_j b_j^{a_j}$ points with
    $b_j^{a_j} \ge 2 \cdot \text{size}_j$ visit each such box once. (A fixed number of points, as
    in other code, misses places of larger grids.) All in integers.

    Args:
        grid: One to four sizes of 1 or more, such as `(freq, frames)`; tokens are its places in
            row-major order.

    Returns:
        A permutation of the places, `(tokens,)`, int64, for `fixed_order`.

    Raises:
        ValueError: If the grid has no size, more than four, or one below 1.

    Example:
        >>> from ssltok.decoding import halton_places
        >>> halton_places((8,))  # bits mirrored
        tensor([4, 2, 6, 1, 5, 3, 7, 0])

    References:
        Besnier et al., *Halton scheduler for masked generative image transformer*, 2025,
        <https://arxiv.org/abs/2503.17076>; the authors' code.
    """
    if not 1 <= len(grid) <= len(PRIMES) or min(grid) < 1:
        raise ValueError(f"halton_places: grid must be 1 to 4 sizes >= 1; got {tuple(grid)}")
    points = 1
    for size, base in zip(grid, PRIMES, strict=False):
        points *= base ** digits_for(2 * size, base)
    index = torch.arange(1, points + 1)
    places = torch.zeros_like(index)
    for size, base in zip(grid, PRIMES, strict=False):
        count = digits_for(points + 1, base)
        mirrored, rest = torch.zeros_like(index), index
        for _ in range(count):
            mirrored = mirrored * base + rest % base
            rest = rest // base
        places = places * size + mirrored * size // base**count
    first = torch.full((math.prod(grid),), points + 1).scatter_reduce(0, places, index, "amin")
    return first.argsort()


def digits_for(number: int, base: int) -> int:
    """Return the fewest digits whose count of values reaches `number`."""
    digits = 0
    while base**digits < number:
        digits += 1
    return digits
