"""A pre-norm transformer over embeddings: a stack of attention and MLP blocks."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_integer,
    check_number,
    check_positive,
    check_ratio,
    check_size,
)
from ssltok.nn._attention import Attention
from ssltok.nn._key_value_cache import KeyValueCache, TransformerStep, check_cache, extend_layers
from ssltok.nn._noise import drop_elements, drop_rows
from ssltok.nn._places import gather_tokens
from ssltok.nn._rotary import RotaryPositions
from ssltok.nn._state_names import store_as
from ssltok.nn._stochastic_depth import stochastic_depth_rates
from ssltok.nn._transformer_layer import Layer, again, readable, real_first

__all__ = ["HiddenStates", "Transformer"]


class HiddenStates(NamedTuple):
    """What every layer of a transformer made: `depth` tensors each, `(batch, tokens, dim)`.

    Attributes:
        tokens: The tokens behind each layer, before the last norm.
        mlp: What the MLP of each layer added, before dropout: the targets of data2vec.
    """

    tokens: tuple[Tensor, ...]
    mlp: tuple[Tensor, ...]


class Transformer(nn.Module):
    r"""Let tokens read each other, layer after layer; shape and order stay.

    A layer adds two residuals, $x \leftarrow x + A(N_1(x))$ and $x \leftarrow x + M(N_2(x))$,
    with attention $A$, norms $N$ and an MLP $M$ (linear, GELU, linear). A last norm follows.

    With `condition_dim`, norms are adaptive: $N(x)(1 + s(c)) + t(c)$, with $s$ and $t$ linear in
    $\mathrm{SiLU}(c)$ and 0 at the start (DiT's adaptive layer norm without its gates).

    Dropout acts on what a residual adds; the weights of attention are never dropped, so that
    every draw comes from `generator`. Stochastic depth leaves out a residual for a whole batch
    entry, with a ratio that grows linearly from layer to layer up to `stochastic_depth`.

    A causal transformer needs no mask for padding: real tokens go in front, in their order, and
    come back to their places behind each layer.

    Args:
        dim: Features of a token.
        depth: Layers.
        heads: Heads; they divide `dim`.
        mlp_ratio: Hidden features of the MLP, over `dim`. TimeVQVAE uses 1, most others 4.
        norm: Makes a norm from a number of features, such as `nn.LayerNorm` or `nn.RMSNorm`
            (which TimeVQVAE uses).
        causal: Whether a token reads only itself and those before it (GPT).
        rotary: Rotary positions for heads of `dim / heads` features.
        dropout: Share of elements dropped from a residual, in training.
        stochastic_depth: Share of residuals dropped in the last layer, in training.
        distinct_layers: Layers with weights of their own; each serves `depth / distinct_layers`
            layers in a row. 1 shares one layer (ALBERT); None shares nothing.
        condition_dim: Features of the condition; None makes norms plain.
        qk_norm: Makes norms of queries and keys; see `Attention`.
        layer_scale: Where learned factors of each feature that a residual adds start (CaiT; 1e-5
            in DINOv2); None has none.

    Attributes:
        checkpointing: Whether a layer keeps only its input for the backward pass and is computed
            a second time there (activation checkpointing): memory of one layer instead of
            `depth`, for a third more time. False when built; set it at any time. Results,
            gradients and draws are the same.

    Raises:
        ValueError: If a size, ratio or shape is not as described, or a condition is missing or
            unexpected.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import Transformer
        >>> trunk = Transformer(16, depth=2, heads=4)
        >>> trunk(torch.randn(3, 7, 16)).shape
        torch.Size([3, 7, 16])

    References:
        Vaswani et al., 2017, <https://arxiv.org/abs/1706.03762>; Xiong et al. (pre-norm), 2020,
        <https://arxiv.org/abs/2002.04745>; Huang et al. (stochastic depth), 2016,
        <https://arxiv.org/abs/1603.09382>, equation 4; Lan et al. (ALBERT), 2019,
        <https://arxiv.org/abs/1909.11942>; Touvron et al. (CaiT), 2021,
        <https://arxiv.org/abs/2103.17239>, section 2; Chen et al. (activation checkpointing),
        2016, <https://arxiv.org/abs/1604.06174>; Peebles and Xie (DiT), 2022,
        <https://arxiv.org/abs/2212.09748>, section 3.2.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
        causal: bool = False,
        rotary: RotaryPositions | None = None,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
        distinct_layers: int | None = None,
        condition_dim: int | None = None,
        qk_norm: Callable[[int], nn.Module] | None = None,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        check_at_least("Transformer", "depth", depth, 1)
        check_positive("Transformer", "mlp_ratio", mlp_ratio)
        check_ratio("Transformer", "dropout", dropout)
        check_ratio("Transformer", "stochastic_depth", stochastic_depth)
        distinct = depth if distinct_layers is None else distinct_layers
        check_integer("Transformer", "distinct_layers", distinct)
        if condition_dim is not None:
            check_at_least("Transformer", "condition_dim", condition_dim, 1)
        if layer_scale is not None:
            check_number("Transformer", "layer_scale", layer_scale)
        if distinct < 1 or depth % distinct:
            raise ValueError(
                f"Transformer: distinct_layers must divide depth; got {distinct} and {depth}"
            )
        self.dim, self.depth, self.causal, self.condition_dim = dim, depth, causal, condition_dim
        self.heads, self.mlp_ratio, self.norm = heads, mlp_ratio, norm
        self.dropout, self.stochastic_depth = dropout, stochastic_depth
        self.distinct_layers, self.qk_norm = distinct_layers, qk_norm
        self.layer_scale, self.checkpointing = layer_scale, False
        self.layers = nn.ModuleList(
            Layer(
                dim,
                attention=Attention(dim, heads=heads, qk_norm=qk_norm),
                hidden=round(mlp_ratio * dim),
                norm=norm,
                condition=condition_dim,
                layer_scale=layer_scale,
            )
            for _ in range(distinct)
        )
        if rotary is not None and rotary.head_dim != dim // heads:
            raise ValueError(
                f"Transformer: rotary must have head_dim {dim // heads}; got {rotary.head_dim}"
            )
        self.rotary = rotary
        self.last_norm = norm(dim)
        store_as(self, last_norm="norm")

    def forward(
        self,
        x: Tensor,
        *,
        valid: Tensor | None = None,
        condition: Tensor | None = None,
        prefix: int = 0,
        places: Tensor | None = None,
        allowed: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Transform `x`, `(batch, tokens, dim)`.

        Args:
            x: The tokens.
            valid: Boolean `(batch, tokens)`. Nobody reads a token that is not valid; its own
                result means nothing.
            condition: `(batch, condition_dim)`, if and only if the norms are adaptive.
            prefix: How many leading tokens have no rotary position.
            places: Rotary positions `(batch, tokens - prefix)`, int64, of the other tokens, -1 at
                padding; None counts them from 0.
            allowed: Boolean `(batch, tokens, tokens)`, True where the token of the second axis may
                read that of the third; a token always reads itself. Not of a causal transformer.
            generator: Source of dropout and stochastic depth in training; None is torch's own.
        """
        last = x
        for tokens, _ in self._run(x, valid, condition, prefix, places, generator, allowed):
            last = tokens  # only the newest layer's tokens stay in memory
        out: Tensor = self.last_norm(last)
        return out

    def hidden_states(
        self,
        x: Tensor,
        *,
        valid: Tensor | None = None,
        condition: Tensor | None = None,
        prefix: int = 0,
        places: Tensor | None = None,
        generator: Generator | None = None,
    ) -> HiddenStates:
        """Return what every layer makes of `x`; arguments as in `forward`."""
        states = list(self._run(x, valid, condition, prefix, places, generator))
        return HiddenStates(tuple(x for x, _ in states), tuple(mlp for _, mlp in states))

    def extend(
        self,
        x: Tensor,
        cache: KeyValueCache | None = None,
        *,
        valid: Tensor | None = None,
        condition: Tensor | None = None,
        prefix: int = 0,
    ) -> TransformerStep:
        """Transform the tokens that come next, behind those of `cache`; see `KeyValueCache`.

        Tokens are those of `forward` with all tokens, whose rotary places count the valid ones
        from 0: padding may stand on either side. Nothing is dropped, in training either. Arguments
        as in `forward`, of the new tokens alone; a prefix stands in front of the first ones only.

        Raises:
            ValueError: If it is not causal, or what is given does not fit it or the cache.
            TypeError: If an input is not a tensor, or the cache no `KeyValueCache`.
        """
        if not self.causal:
            raise ValueError("Transformer: causal must be True to extend; got False")
        self._check(x, valid, condition, prefix, None)
        if cache is not None:
            check_cache("Transformer", cache, self, x.shape[0])
            if prefix:
                raise ValueError(f"Transformer: prefix must be 0 beside a cache; got {prefix}")
        layers = [self.layers[i * len(self.layers) // self.depth] for i in range(self.depth)]
        x, cache = extend_layers(
            layers, x, cache, valid=valid, condition=condition, prefix=prefix, rotary=self.rotary
        )
        return TransformerStep(self.last_norm(x), cache)

    def _run(
        self,
        x: Tensor,
        valid: Tensor | None,
        condition: Tensor | None,
        prefix: int,
        places: Tensor | None,
        generator: Generator | None,
        readers: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the tokens behind each layer, and what its MLP added."""
        self._check(x, valid, condition, prefix, places)
        allowed = back = order = None
        if valid is not None:
            x = x.masked_fill(~valid.unsqueeze(-1), 0)  # NaN in padding must not reach a product
            if self.causal:
                order, back = real_first(valid)
                x = gather_tokens(x, order)
            else:
                allowed = readable(valid)
        if readers is not None:
            self._check_readers(x, readers)
            itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
            allowed = (readers[:, None] if allowed is None else readers[:, None] & allowed) | itself
        rotation = None
        rotary = self.rotary if x.shape[1] > prefix else None  # a prefix alone is not turned
        if rotary is not None and places is None:
            rotation = rotary(x.shape[1] - prefix, prefix=prefix)
        elif rotary is not None and places is not None:
            rotation = rotary.at(places, prefix=prefix)
        if rotation is not None and order is not None:
            cos, sin = rotation
            rotation = reordered(cos, order), reordered(sin, order)
        rates = stochastic_depth_rates(self.depth, last_ratio=self.stochastic_depth)

        def attend(attention: nn.Module, normed: Tensor) -> Tensor:
            mixed: Tensor = attention(
                normed, allowed=allowed, causal=self.causal, rotation=rotation
            )
            return mixed

        for index, rate in enumerate(rates):
            layer = self.layers[index * len(self.layers) // self.depth]

            def drop(added: Tensor, rate: float = rate) -> Tensor:
                if not self.training:
                    return added
                added = drop_elements(added, self.dropout, generator=generator)
                return drop_rows(added, rate, generator=generator)

            if self.checkpointing and torch.is_grad_enabled():
                x, mlp = again(layer, x, attend, drop, condition, generator=generator)
            else:
                x, mlp = layer(x, attend, drop, condition)
            if back is None:
                yield x, mlp
            else:
                yield gather_tokens(x, back), gather_tokens(mlp, back)

    def _check(
        self,
        x: Tensor,
        valid: Tensor | None,
        condition: Tensor | None,
        prefix: int,
        places: Tensor | None,
    ) -> None:
        check_axes("Transformer", "x", x, "batch tokens dim")
        check_size("Transformer", "x", x, 2, self.dim)
        check_at_least("Transformer", "batch", x.shape[0], 1)
        wanted = None if self.condition_dim is None else (x.shape[0], self.condition_dim)
        given = None if condition is None else tuple(condition.shape)
        if wanted != given:
            raise ValueError(f"Transformer: condition must have shape {wanted}; got {given}")
        if not 0 <= prefix <= x.shape[1]:
            raise ValueError(f"Transformer: prefix must lie in [0, {x.shape[1]}]; got {prefix}")
        if valid is not None:
            check_bool_mask("Transformer", "valid", valid, x.shape[:2])
        if places is not None:
            if self.rotary is None:
                raise ValueError("Transformer: places must be None without rotary; got a tensor")
            check_axes("Transformer", "places", places, "batch tokens")
            check_size("Transformer", "places", places, 1, x.shape[1] - prefix)

    def _check_readers(self, x: Tensor, readers: Tensor) -> None:
        if self.causal:
            raise ValueError("Transformer: allowed must be None when causal; got a tensor")
        check_bool_mask("Transformer", "allowed", readers, (*x.shape[:2], x.shape[1]))


def reordered(rotation: Tensor, order: Tensor) -> Tensor:
    """Put turns, `(tokens, pairs)` or `(batch, 1, tokens, pairs)`, into the order of each row."""
    if rotation.ndim == 2:
        return rotation[order].unsqueeze(1)
    return rotation.gather(2, order[:, None, :, None].expand(-1, -1, -1, rotation.shape[-1]))


def check_trunk(who: str, trunk: Transformer, *, positions: bool) -> None:
    """Ask for a trunk without adaptive norms, and of even width if positions are added."""
    if trunk.condition_dim is not None:
        raise ValueError(f"{who}: condition_dim must be None; got {trunk.condition_dim}")
    if positions and trunk.dim % 2:
        raise ValueError(f"{who}: dim of trunk must be even for positions; got {trunk.dim}")
