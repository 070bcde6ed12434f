"""How a series is cut into frames and patches, and how level and size of a frame are coded."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltok.pipelines._general._codec import FRAME, PATCHES

__all__ = ["CODES", "Cut", "cut_of", "level_codes", "level_of"]

CODES = 1024  # of each digit of a level: also the codebooks' size
LEAST, MOST = 8, FRAME // PATCHES  # samples of a patch, where none are asked for
OCTAVES = 60.0  # sizes lie within 2**-60 and 2**60
STEP = 0.125  # of an offset, in sizes
MIDDLE = CODES * CODES // 2
FARTHEST = 60_000.0  # offset, in sizes: then the size is taken to be larger


class Cut(NamedTuple):
    """Samples of a patch, and of each frame: all are `patch * PATCHES` long but the last."""

    patch: int
    frames: tuple[int, ...]

    @property
    def patches(self) -> tuple[int, ...]:
        """Patches of each frame; the last may not be full."""
        return tuple(-(-samples // self.patch) for samples in self.frames)


def cut_of(length: int, *, patch: int | None = None) -> Cut:
    """Cut a series of this length.

    Without a `patch`, a series is cut into as few frames of at most 512 samples as will do, all of
    one size as near as may be, and a frame into 16 patches; a patch has 8 to 32 samples.
    """
    if patch is None:
        frames = -(-length // FRAME)
        patch = min(max(-(-length // (PATCHES * frames)), LEAST), MOST)
    whole, rest = divmod(length, patch * PATCHES)
    return Cut(patch, (patch * PATCHES,) * whole + ((rest,) if rest else ()))


class Level(NamedTuple):
    """Codes of levels `(rows, 3)`, size first, and what they stand for: float64 `(rows,)`."""

    codes: Tensor
    offset: Tensor
    size: Tensor


def level_codes(frames: Tensor, observed: Tensor) -> Level:
    r"""Code mean and deviation of the observed samples of each frame, in three codes.

    $$\text{size} = 2^{-60 + 120 (c_1 - 1) / 1022}, \qquad
      \text{offset} = \tfrac{1}{8} \text{size} \, (1024 c_2 + c_3 - 2^{19})$$

    for the sizes and offsets nearest to the deviation and the mean. A size of 0 has $c_1 = 0$. A
    mean of more than 60,000 deviations is given a larger size, so that it can be written.

    Args:
        frames: float64 `(rows, samples)`.
        observed: Boolean, of that shape; each row has at least one.
    """
    known = torch.where(observed, frames, 0.0)
    count = observed.sum(1)
    mean = known.sum(1) / count
    spread = torch.where(observed, frames - mean[:, None], 0.0).square().sum(1) / count
    size = torch.maximum(spread.sqrt(), mean.abs() / FARTHEST)
    exponent = size.clamp(min=2.0**-OCTAVES, max=2.0**OCTAVES).log2()
    first = ((exponent + OCTAVES) / (2 * OCTAVES) * (CODES - 2)).round().long() + 1
    first = first.where(size > 0, 0)
    rounded = _size(first)
    steps = (mean / (STEP * rounded).clamp(min=1e-300)).round().long() + MIDDLE
    steps = steps.where(size > 0, MIDDLE).clamp(0, CODES * CODES - 1)
    codes = torch.stack([first, steps // CODES, steps % CODES], dim=1)
    return Level(codes, *level_of(codes))


def level_of(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets and sizes, float64 `(rows,)`, of codes `(rows, 3)`."""
    size = _size(codes[:, 0])
    return STEP * size * (codes[:, 1] * CODES + codes[:, 2] - MIDDLE), size


SIZES = (0.0, *(2.0 ** (2 * OCTAVES * code / (CODES - 2) - OCTAVES) for code in range(CODES - 1)))
"""The size of each code; a table, for a vectorised power may differ by its place in the vector."""


def _size(first: Tensor) -> Tensor:
    return torch.tensor(SIZES, dtype=torch.float64)[first]
