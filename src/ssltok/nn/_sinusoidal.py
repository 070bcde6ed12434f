"""Sinusoidal positions: vectors that tell places apart and know no longest sequence."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_positive
from ssltok._shared.numerics import upcast

__all__ = ["positions_like", "sinusoidal_positions"]


def sinusoidal_positions(places: Tensor, dim: int, *, base: float = 10_000.0) -> Tensor:
    r"""Turn places in a sequence into vectors of sines and cosines.

    $$\left[\sin(p\,\theta_0), \ldots, \sin(p\,\theta_{h-1}),
      \cos(p\,\theta_0), \ldots, \cos(p\,\theta_{h-1})\right], \qquad
      \theta_i = \mathrm{base}^{-i / h}, \quad h = \mathrm{dim} / 2$$

    for a place $p$. Sines stand before cosines, as in MAE; the transformer's paper interleaves
    them, which is the same up to the order of the features. Places may be fractions, such as the
    times of irregular samples.

    Args:
        places: Any shape, integers or floats.
        dim: Features of a position; even.
        base: Ratio of the slowest to the fastest wave.

    Returns:
        `(*places.shape, dim)`, float32, or float64 for float64 places.

    Raises:
        ValueError: If `dim` is odd or smaller than 2, or `base` is not positive.
        TypeError: If `places` is no tensor.

    Example:
        >>> import torch
        >>> from ssltok.nn import sinusoidal_positions
        >>> sinusoidal_positions(torch.tensor([0]), 4)
        tensor([[0., 0., 1., 1.]])

    References:
        Vaswani et al., *Attention Is All You Need*, 2017, <https://arxiv.org/abs/1706.03762>,
        section 3.5.
    """
    check_at_least("sinusoidal_positions", "dim", dim, 2)
    check_positive("sinusoidal_positions", "base", base)
    if dim % 2:
        raise ValueError(f"sinusoidal_positions: dim must be even; got {dim}")
    if not isinstance(places, Tensor):
        raise TypeError(
            f"sinusoidal_positions: places must be a tensor; got {type(places).__name__}"
        )
    wide = upcast(places)
    steps = torch.arange(dim // 2, dtype=wide.dtype, device=wide.device)
    angles = wide.unsqueeze(-1) * base ** (-2 * steps / dim)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def positions_like(places: Tensor, like: Tensor) -> Tensor:
    """Make positions as wide as the first axis of a weight, in its dtype, from integer places."""
    wide = places.to(torch.promote_types(like.dtype, torch.float32))  # bfloat16 ends at 256
    return sinusoidal_positions(wide, like.shape[0]).to(like.dtype)
