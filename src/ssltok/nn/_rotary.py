"""Rotary positions: turn queries and keys so that their product sees only the distance."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_codes,
    check_integer,
    check_positive,
)
from ssltok._shared.derived import DerivedBuffers

__all__ = ["RotaryPositions", "rotate"]


class RotaryPositions(DerivedBuffers):
    r"""Turn each pair of features by an angle proportional to the token's position.

    Feature $i$ of the first half and feature $i$ of the second half form a pair, which a token
    at position $p$ turns by $p \theta_i$, $\theta_i = \mathrm{base}^{-2 i / \mathrm{dim}}$. The
    product of a query at $p$ with a key at $q$ then depends on $p - q$ only.

    With a grid of several axes, the pairs are shared out evenly among them, and each share is
    turned by the position on its axis. Tokens are counted row by row, the last axis first.
    Leading tokens without a position (class token, registers) are not turned. Weights that learned
    on one grid may be loaded on another of as many axes: angles depend on places alone.

    Args:
        head_dim: Features of a head; a multiple of twice the number of axes.
        grid: Tokens along each axis, such as `(tokens,)` or `(freq, frames)`.
        base: Ratio of the slowest to the fastest turn.

    Raises:
        ValueError: If `head_dim` does not divide so, or a size is smaller than 1, or more tokens
            are asked for than the grid has.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import RotaryPositions
        >>> rotary = RotaryPositions(2, grid=(3,))
        >>> cos, sin = rotary(3)
        >>> cos.arccos()
        tensor([[0.],
                [1.],
                [2.]])

    References:
        Su et al., *RoFormer*, 2021, <https://arxiv.org/abs/2104.09864>, equation 34.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, *, grid: tuple[int, ...], base: float = 10_000.0) -> None:
        super().__init__()
        check_at_least("RotaryPositions", "axes of grid", len(grid), 1)
        for size in grid:
            check_at_least("RotaryPositions", "grid", size, 1)
        check_positive("RotaryPositions", "base", base)
        check_integer("RotaryPositions", "head_dim", head_dim)
        if head_dim < 1 or head_dim % (2 * len(grid)):
            raise ValueError(
                f"RotaryPositions: head_dim must be a multiple of {2 * len(grid)}; got {head_dim}"
            )
        self.head_dim, self.grid, self.base = head_dim, tuple(grid), base
        self._register_derived()

    def forward(self, tokens: int, *, prefix: int = 0, start: int = 0) -> tuple[Tensor, Tensor]:
        """Return cosines and sines, `(prefix + tokens, head_dim / 2)` each, for `rotate`.

        The tokens stand at the places from `start` on, such as those behind a cache.
        """
        check_at_least("RotaryPositions", "start", start, 0)
        end = start + tokens
        if not start < end <= self.cos.shape[0]:
            beyond = f" behind {start}" if start else ""
            raise ValueError(
                f"RotaryPositions: tokens must lie in [1, {self.cos.shape[0] - start}]; "
                f"got {tokens}{beyond}"
            )
        return _unturned(prefix, self.cos[start:end], self.sin[start:end])

    def at(self, places: Tensor, *, prefix: int = 0) -> tuple[Tensor, Tensor]:
        """Return the same for tokens at the places `(batch, tokens)`, int64, of the grid.

        The result has the shape `(batch, 1, prefix + tokens, head_dim / 2)`, so that `rotate`
        turns all heads alike. A place of -1 stands for padding, whose turn means nothing.

        Raises:
            ValueError: If the places are not int64, or not of that shape.
            TypeError: If they are not a tensor.
        """
        check_axes("RotaryPositions", "places", places, "batch tokens")
        check_codes("RotaryPositions", "places", places)
        return _unturned(prefix, self.cos[places].unsqueeze(1), self.sin[places].unsqueeze(1))

    def _derive(self) -> dict[str, Tensor]:
        pairs = self.head_dim // (2 * len(self.grid))
        speeds = self.base ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        places = torch.cartesian_prod(*[torch.arange(size) for size in self.grid])
        angles = (places.reshape(-1, len(self.grid), 1) * speeds).flatten(1)
        return {"cos": angles.cos(), "sin": angles.sin()}

    def _derived_options(self) -> dict[str, Any]:
        return {"head_dim": self.head_dim, "axes": len(self.grid), "base": self.base}


def _unturned(prefix: int, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Put `prefix` tokens that are not turned in front."""
    return (
        functional.pad(cos, (0, 0, prefix, 0), value=1.0),
        functional.pad(sin, (0, 0, prefix, 0)),
    )


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs of `x`, `(batch, heads, tokens, head_dim)`, by `(cos, sin)`."""
    cos, sin = (part.to(x.dtype) for part in rotation)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
