"""One layer of a transformer, who reads whom in it, and how it is computed again. Private."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

__all__ = ["Layer", "again", "readable", "real_first"]


class Layer(nn.Module):
    """One layer of a transformer: what `attention` mixes, then what an MLP makes, is added."""

    def __init__(
        self,
        dim: int,
        *,
        attention: nn.Module,
        hidden: int,
        norm: Callable[[int], nn.Module],
        condition: int | None = None,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = norm(dim), norm(dim)
        self.attention = attention
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.modulation: nn.Linear | None = None
        if condition is not None:
            self.modulation = nn.Linear(condition, 4 * dim)
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)
        self.attention_scale: nn.Parameter | None = None
        self.mlp_scale: nn.Parameter | None = None
        if layer_scale is not None:
            self.attention_scale = nn.Parameter(torch.full((dim,), float(layer_scale)))
            self.mlp_scale = nn.Parameter(torch.full((dim,), float(layer_scale)))

    def forward(
        self,
        x: Tensor,
        attend: Callable[[nn.Module, Tensor], Tensor],
        drop: Callable[[Tensor], Tensor],
        condition: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Add what attention and MLP make of `x`; return the sum and the MLP's part.

        `attend` applies this layer's attention to the normed tokens, and says who reads whom.
        """
        modulation: tuple[Tensor, ...] = ()
        if self.modulation is not None and condition is not None:
            modulation = self.modulation(functional.silu(condition)).unsqueeze(1).chunk(4, dim=-1)
        mixed = attend(self.attention, _modulate(self.attention_norm(x), modulation[:2]))
        x = x + drop(mixed if self.attention_scale is None else self.attention_scale * mixed)
        mlp = self.mlp(_modulate(self.mlp_norm(x), modulation[2:]))
        mlp = mlp if self.mlp_scale is None else self.mlp_scale * mlp
        return x + drop(mlp), mlp


def _modulate(x: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
    if not modulation:
        return x
    scale, shift = modulation
    return x * (1 + scale) + shift


def readable(valid: Tensor) -> Tensor:
    """Say who may be read, so that every token may read at least one (no empty softmax)."""
    return (valid | ~valid.any(dim=1, keepdim=True))[:, None, None, :]


def real_first(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the order that puts real tokens in front, each as before, and the way back.

    `(batch, tokens)` each. In that order a causal transformer needs no mask for padding: nobody
    reads what stands behind. Padding at the end stays where it is.
    """
    order = (~valid).byte().argsort(dim=1, stable=True)
    return order, order.argsort(dim=1)


def again(layer: nn.Module, *inputs: Any, generator: Generator | None) -> Any:
    """Call a layer and forget what is inside it: its backward pass computes it again.

    What a generator draws is drawn again as well, and its state afterwards is as without.
    """
    if generator is None:
        return checkpoint(layer, *inputs, use_reentrant=False)
    state = generator.get_state()

    @contextmanager
    def replay() -> Iterator[None]:
        later = generator.get_state()
        generator.set_state(state)
        try:
            yield
        finally:
            generator.set_state(later)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), replay()

    return checkpoint(layer, *inputs, use_reentrant=False, context_fn=contexts)
