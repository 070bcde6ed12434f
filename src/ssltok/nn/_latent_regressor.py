"""The latent regressor of a context autoencoder: hidden latents read off the visible ones."""

import torch
from torch import Generator, Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_integer,
    check_positive,
    check_ratio,
    check_size,
)
from ssltok.nn._attention import Attention
from ssltok.nn._noise import drop_rows
from ssltok.nn._places import check_places, unless_all
from ssltok.nn._sinusoidal import positions_like
from ssltok.nn._stochastic_depth import stochastic_depth_rates
from ssltok.nn._transformer_layer import readable

__all__ = ["LatentRegressor"]


class LatentRegressor(nn.Module):
    r"""Regress the latents of hidden tokens by cross-attention; the visible ones stay as they are.

    One learned query stands for every hidden token. A layer adds what the queries $z$ read,

    $$z \leftarrow z + \mathrm{attention}\big(N_q(z + p),\; N_k([v, z] + [p_v, p]),\;
      N_v([v, z])\big)$$

    and then what an MLP makes of it. Keys and values are the visible latents $v$ **and the
    queries' own state**, as published; $p$ are sinusoidal positions, which enter the products
    but not what is read. There is no self-attention and $v$ is never updated, so the encoder
    alone must make good latents. Align the result with what the encoder makes of the hidden
    tokens (a mean squared error to a detached target), and decode it.

    Departures: the MLP is pre-norm with a plain residual, where CAE's code adds the MLP to the
    normed tokens; a norm follows the last layer; products of attention have no bias, and there is
    no layer scale.

    Args:
        dim: Features of the latents, even.
        depth: Layers; CAE uses 4.
        heads: Heads; they divide `dim`.
        mlp_ratio: Hidden features of the MLP, over `dim`.
        stochastic_depth: Share of residuals dropped in the last layer, in training.

    Raises:
        ValueError: If a size or ratio is not as described, or a tensor has the wrong shape or
            dtype.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import LatentRegressor
        >>> regressor = LatentRegressor(16, depth=2, heads=4)
        >>> visible = torch.randn(5, 3, 16)
        >>> here, there = torch.tensor([[0, 1, 6]] * 5), torch.tensor([[2, 3, 4, 5]] * 5)
        >>> regressor(visible, here, there).shape
        torch.Size([5, 4, 16])

    References:
        Chen et al., *Context Autoencoder*, 2022, <https://arxiv.org/abs/2202.03026>, section 3.1.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()
        check_at_least("LatentRegressor", "depth", depth, 1)
        check_positive("LatentRegressor", "mlp_ratio", mlp_ratio)
        check_ratio("LatentRegressor", "stochastic_depth", stochastic_depth)
        check_integer("LatentRegressor", "dim", dim)
        if dim < 2 or dim % 2:
            raise ValueError(f"LatentRegressor: dim must be even and >= 2; got {dim}")
        self.dim, self.depth, self.heads = dim, depth, heads
        self.mlp_ratio, self.stochastic_depth = mlp_ratio, stochastic_depth
        self.rates = stochastic_depth_rates(depth, last_ratio=stochastic_depth)
        self.query = nn.Parameter(torch.empty(dim).normal_(std=0.02))
        self.layers = nn.ModuleList(
            CrossLayer(dim, heads=heads, hidden=round(mlp_ratio * dim)) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        visible: Tensor,
        visible_places: Tensor,
        target_places: Tensor,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Regress the latents at `target_places`, `(batch, targets, dim)`.

        Args:
            visible: `(batch, visible, dim)`, the latents that the encoder made.
            visible_places: int64 `(batch, visible)`, their places, -1 for none: not read.
            target_places: int64 `(batch, targets)`, the places of the hidden tokens, -1 for none:
                not read, and its result means nothing.
            generator: Source of stochastic depth in training; None is torch's own.
        """
        check_axes("LatentRegressor", "visible", visible, "batch tokens dim")
        check_size("LatentRegressor", "visible", visible, 2, self.dim)
        check_at_least("LatentRegressor", "batch", visible.shape[0], 1)
        check_places("LatentRegressor", "visible_places", visible_places, len(visible))
        check_places("LatentRegressor", "target_places", target_places, len(visible))
        check_size("LatentRegressor", "visible_places", visible_places, 1, visible.shape[1])
        places = torch.cat([visible_places, target_places], dim=1)
        positions = positions_like(places, self.query)
        real = unless_all(places >= 0)
        allowed = None if real is None else readable(real)
        visible = visible.masked_fill((visible_places < 0).unsqueeze(-1), 0)  # NaN is not read
        x = self.query.expand(*target_places.shape, -1)
        for layer, rate in zip(self.layers, self.rates, strict=True):
            ratio = rate if self.training else 0.0
            x = layer(x, visible, positions, allowed, ratio, generator)
        out: Tensor = self.norm(x)
        return out


class CrossLayer(nn.Module):
    """One layer of `LatentRegressor`."""

    def __init__(self, dim: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.query_norm, self.value_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.key_norm = nn.LayerNorm(dim, bias=False)  # softmax does not see one shift of all keys
        self.mlp_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads=heads)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(
        self,
        x: Tensor,
        visible: Tensor,
        positions: Tensor,
        allowed: Tensor | None,
        ratio: float,
        generator: Generator | None,
    ) -> Tensor:
        """Add what attention and MLP make of the queries `x`, `(batch, targets, dim)`."""
        source = torch.cat([visible, x], dim=1)
        read = self.attention(
            self.query_norm(x + positions[:, visible.shape[1] :]),
            key=self.key_norm(source + positions),
            value=self.value_norm(source),
            allowed=allowed,
        )
        x = x + drop_rows(read, ratio, generator=generator)
        return x + drop_rows(self.mlp(self.mlp_norm(x)), ratio, generator=generator)
