"""Bound every channel and round it to one of its levels."""

import torch
from torch import Tensor

__all__ = ["FSQ_EPS", "place_digits", "round_to_levels_plain"]

FSQ_EPS = 1e-3
"""How far the bound stays from the outer edges, as in the paper."""


def round_to_levels_plain(
    tokens: Tensor, levels: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    r"""Return the rounded values in [-1, 1], and how many levels they are from the middle one.

    $$f(z) = h \tanh(z + s) - o, \qquad h = \tfrac{1}{2} (L - 1)(1 - \epsilon), \qquad
      q = \mathrm{round}\big(f(z)\big) \Big/ \lfloor L / 2 \rfloor$$

    with $o = 1/2$ for an even number of levels $L$, else 0, and $f(0) = 0$. The gradient goes
    straight through the rounding.

    Args:
        tokens: $z$, `(tokens, dim)`, float32 or float64.
        levels: $L$, `(dim,)`, int64.
        dtype: The dtype of the values.

    Returns:
        The values and, without a gradient, $\mathrm{round}(f(z))$, both `(tokens, dim)`.
    """
    offset = 0.5 - 0.5 * levels.remainder(2).to(tokens.dtype)
    half_range = (levels - 1).to(tokens.dtype) * ((1 - FSQ_EPS) / 2)
    bounded = half_range * torch.tanh(tokens + (offset / half_range).atanh()) - offset
    places = bounded.detach().round()
    values = (bounded + (places - bounded).detach()) / (levels // 2)
    return values.to(dtype), places


def place_digits(digits: Tensor, levels: Tensor) -> Tensor:
    """Turn digits in `[0, levels)` into values in [-1, 1]; training and decoding share this."""
    half = (levels // 2).to(digits.dtype)
    return (digits - half).div_(half)
