"""DINO's head: from features to the scores of many prototypes."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least, check_floating, check_size
from ssltok._shared.numerics import full_precision, upcast
from ssltok.nn._state_names import store_as

__all__ = ["DINOHead"]


class DINOHead(nn.Module):
    r"""Score features against weight-normalised prototypes, through a bottleneck on the sphere.

    $$s_k = g_k \left\langle \frac{w_k}{\lVert w_k \rVert},
      \frac{h(x)}{\lVert h(x) \rVert} \right\rangle$$

    with an MLP $h$ of `layers` linear layers and GELUs between them. All $g_k$ are 1 at the start,
    so the scores are cosines; with `freeze_norm` they stay so, else they are learned. DINO's code
    freezes them by default, and its paper does for its larger models; a learned norm gains a
    little and may diverge. Linear weights start as a normal of 0.02 cut at two sigma, biases at
    0. The vector is normalised in float32 or better.

    That start is for hidden layers as wide as DINO's. Narrow heads shrink their input with every
    layer and start nearly constant: with features of variance 1, the vector before the sphere has
    an rms of 0.06 in a head 384-2048-2048-256, and of 0.0014 in 64-128-128-32, where one step of
    AdamW at 1e-3 moves every bias by nearly as much. Give a narrow head torch's own start instead
    (there an rms of 0.08): `for layer in head.mlp[::2]: layer.reset_parameters()`.

    DINO also holds the prototypes still for the first epoch: set
    `head.last.parametrizations.weight.original1.grad = None` before the optimizer's step.

    The scores are for `center_and_sharpen` and `dino_loss`; given one row per token, for
    `ibot_patch_loss`.

    Args:
        in_dim: Features of the input.
        out_dim: Prototypes. DINO uses 65536, iBOT 8192.
        hidden_dim: Width of the hidden layers. The paper uses 2048.
        bottleneck_dim: Features on the sphere. The paper uses 256.
        layers: Linear layers of the MLP, 1 or more. The paper uses 3.
        freeze_norm: Whether the norms $g_k$ stay 1.

    Raises:
        ValueError: If a size is smaller than 1, or the input is not floating point with `in_dim`
            features in its last axis.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import DINOHead
        >>> head = DINOHead(8, out_dim=50, hidden_dim=16, bottleneck_dim=4)
        >>> scores = head(torch.randn(3, 8))
        >>> scores.shape, bool((scores.abs() <= 1.0001).all())  # cosines
        (torch.Size([3, 50]), True)

    References:
        Caron et al., *Emerging properties in self-supervised vision transformers*, 2021,
        <https://arxiv.org/abs/2104.14294>, section 3.1 and appendix C, and its code.
    """

    def __init__(
        self,
        in_dim: int,
        *,
        out_dim: int,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        layers: int = 3,
        freeze_norm: bool = True,
    ) -> None:
        super().__init__()
        sizes = {
            "in_dim": in_dim,
            "out_dim": out_dim,
            "hidden_dim": hidden_dim,
            "bottleneck_dim": bottleneck_dim,
            "layers": layers,
        }
        for name, size in sizes.items():
            check_at_least("DINOHead", name, size, 1)
        widths = [in_dim, *[hidden_dim] * (layers - 1), bottleneck_dim]
        parts: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            linear = nn.Linear(fan_in, fan_out)
            nn.init.trunc_normal_(linear.weight, std=0.02, a=-0.04, b=0.04)
            nn.init.zeros_(linear.bias)
            parts += [linear, nn.GELU()]
        self.in_dim, self.out_dim, self.hidden_dim = in_dim, out_dim, hidden_dim
        self.bottleneck_dim, self.layers, self.freeze_norm = bottleneck_dim, layers, freeze_norm
        self.mlp = nn.Sequential(*parts[:-1])
        store_as(self, mlp="layers")
        self.last = Prototypes(bottleneck_dim, out_dim)
        self.last.parametrizations.weight.original0.requires_grad_(not freeze_norm)

    def forward(self, features: Tensor) -> Tensor:
        """Score `(batch, in_dim)`, or `(batch, tokens, in_dim)`: `out_dim` features at the end."""
        check_floating("DINOHead", "features", features)
        check_at_least("DINOHead", "axes of features", features.ndim, 2)
        check_at_least("DINOHead", "elements", features.numel(), 1)
        check_size("DINOHead", "features", features, features.ndim - 1, self.in_dim)
        narrow = self.mlp(features)
        with full_precision(narrow):
            narrow = functional.normalize(upcast(narrow), dim=-1).to(narrow.dtype)
        scores: Tensor = self.last(narrow)
        return scores


class Prototypes(nn.Module):
    """Products with rows of a length of their own: `torch`'s `weight_norm` of a linear map.

    Names in the state are those of `torch.nn.utils.parametrizations.weight_norm`, whose modules
    cannot be pickled.
    """

    parametrizations: Any

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        pair: Any = nn.Module()
        pair.original0 = nn.Parameter(torch.ones(out_dim, 1))
        pair.original1 = nn.Linear(in_dim, out_dim, bias=False).weight
        self.parametrizations = nn.ModuleDict({"weight": pair})

    @property
    def weight(self) -> Tensor:
        """The prototypes, `(out_dim, in_dim)`: directions times lengths."""
        pair = self.parametrizations["weight"]
        length, direction = pair.original0, pair.original1
        scaled: Tensor = direction * (length / direction.norm(dim=1, keepdim=True))
        return scaled

    def forward(self, x: Tensor) -> Tensor:
        """Score `(..., in_dim)` as `(..., out_dim)`."""
        return functional.linear(x, self.weight)
