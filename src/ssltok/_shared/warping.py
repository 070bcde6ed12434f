"""How many series an evaluation warps onto each other, and how much work that is."""

import math

__all__ = ["warped_cases", "warped_cells"]

MOST = (64, 256)  # generated and real series
MOST_CELLS = 2**30  # of the tables of all these pairs


def warped_cases(channels: int, length: int) -> tuple[int, tuple[int, int]]:
    """The band in samples, and how many generated and real series are warped: fewer if long."""
    band = max(1, length // 10)
    cells = math.prod(MOST) * channels * length * (2 * band + 1)
    share = min(1.0, math.sqrt(MOST_CELLS / cells))
    generated, real = (max(1, int(share * most)) for most in MOST)
    return band, (generated, real)


def warped_cells(channels: int, length: int, *, test: int, generated: int) -> int:
    """Count the cells of the tables of all pairs of generated and test series."""
    band, (most, real) = warped_cases(channels, length)
    return min(most, generated) * min(real, test) * channels * length * (2 * band + 1)
