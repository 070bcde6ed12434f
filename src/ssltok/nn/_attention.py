"""Multi-head attention over tokens."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least, check_axes, check_same_shape, check_size
from ssltok.nn._key_value_cache import AttentionStep, KeyValues, append, check_memory, earlier
from ssltok.nn._rotary import rotate

__all__ = ["Attention"]


class Attention(nn.Module):
    r"""Let every token read from the tokens that it may see: its own kind, or others.

    $$\mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{\mathrm{dim} / \mathrm{heads}}}\right) V$$

    for each head, then a linear map. The products have no bias. `scaled_dot_product_attention`
    computes it without holding the whole matrix of weights where the machine has such a kernel.

    Args:
        dim: Features of a token.
        heads: Heads; they divide `dim`.
        qk_norm: Makes a norm from the features of a head, such as `nn.RMSNorm` or `nn.LayerNorm`,
            for queries and one for keys, which keeps their products from growing in training;
            None has none.

    Raises:
        ValueError: If `heads` does not divide `dim`, or the input is not `(batch, tokens, dim)`,
            or options exclude each other.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import Attention
        >>> attention = Attention(8, heads=2)
        >>> alone = torch.eye(5, dtype=torch.bool)  # nobody sees anybody else
        >>> x = torch.randn(3, 5, 8)
        >>> values = x @ attention.inward.weight[16:].T
        >>> torch.allclose(attention(x, allowed=alone), attention.outward(values), atol=1e-6)
        True

    References:
        Vaswani et al., *Attention Is All You Need*, 2017, <https://arxiv.org/abs/1706.03762>,
        equation 1; Dehghani et al. (normed queries and keys), 2023,
        <https://arxiv.org/abs/2302.05442>, section 2.
    """

    def __init__(
        self, dim: int, *, heads: int, qk_norm: Callable[[int], nn.Module] | None = None
    ) -> None:
        super().__init__()
        check_at_least("Attention", "dim", dim, 1)
        check_at_least("Attention", "heads", heads, 1)
        if dim % heads:
            raise ValueError(f"Attention: heads must divide dim; got {heads} and {dim}")
        self.dim, self.heads = dim, heads
        self.inward = nn.Linear(dim, 3 * dim, bias=False)
        self.outward = nn.Linear(dim, dim, bias=False)
        self.qk_norm = qk_norm
        self.query_norm = None if qk_norm is None else qk_norm(dim // heads)
        self.key_norm = None if qk_norm is None else qk_norm(dim // heads)

    def forward(
        self,
        x: Tensor,
        *,
        key: Tensor | None = None,
        value: Tensor | None = None,
        allowed: Tensor | None = None,
        bias: Tensor | None = None,
        causal: bool = False,
        rotation: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Mix tokens for each token of `x`, `(batch, tokens, dim)`; the shape stays.

        Args:
            x: The tokens that read, from which queries are made.
            key: The tokens to read from, `(batch, source tokens, dim)`; None is `x` itself.
            value: What is read of them, of the same shape; None is `key`.
            allowed: Boolean, broadcast to `(batch, heads, tokens, source tokens)`: True where the
                token of the third axis may read the one of the fourth.
            bias: Added to the products before the softmax, of the same axes or the last two.
            causal: Whether a token reads only itself and those before it.
            rotation: Cosines and sines of `RotaryPositions`; not beside `key`.
        """
        masked = allowed is not None or bias is not None
        self._check(x, key, value, masked=masked, causal=causal, turned=rotation is not None)
        if key is None:
            query, keys, values = self._split(x)
        else:
            sources = (x, key, key if value is None else value)
            query, keys, values = (
                functional.linear(source, weight).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for source, weight in zip(sources, self.inward.weight.chunk(3), strict=True)
            )
        query, keys = self._ready(query, keys, rotation)
        if bias is not None:
            bias = bias.to(query.dtype)
            allowed = bias if allowed is None else bias.masked_fill(~allowed, -torch.inf)
        mixed = functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=allowed, is_causal=causal
        )
        out: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return out

    def extend(
        self,
        x: Tensor,
        memory: KeyValues | None = None,
        *,
        allowed: Tensor | None = None,
        rotation: tuple[Tensor, Tensor] | None = None,
    ) -> AttentionStep:
        """Mix tokens for each *new* token of `x`, `(batch, tokens, dim)`, causally.

        A new token reads those of the memory and the new ones up to itself: what `forward` with
        `causal=True` returns for the last tokens, without computing the others again.

        Args:
            x: The tokens that come next.
            memory: The keys and values of the tokens before them, from the call before; None if
                there are none. It is not changed.
            allowed: Boolean, broadcast to `(batch, heads, tokens, memory tokens + tokens)`, in the
                place of the causal rule.
            rotation: Cosines and sines of `RotaryPositions` for the new tokens.

        Raises:
            ValueError: If the memory has another batch, heads or dtype.
            TypeError: If `x` is not a tensor, or the memory no `KeyValues`.
        """
        check_axes("Attention", "x", x, "batch tokens dim")
        check_size("Attention", "x", x, 2, self.dim)
        if memory is not None:
            check_memory("Attention", memory, x.shape[0], self.heads, self.dim // self.heads)
        query, keys, values = self._split(x)
        query, keys = self._ready(query, keys, rotation)
        before = 0 if memory is None else memory.keys.shape[2]
        memory = append(memory, keys, values)
        causal = allowed is None and before == 0
        if allowed is None and not causal:
            allowed = earlier(x.shape[1], before, x.device)
        mixed = functional.scaled_dot_product_attention(
            query, memory.keys, memory.values, attn_mask=allowed, is_causal=causal
        )
        return AttentionStep(self.outward(mixed.transpose(1, 2).flatten(2)), memory)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, `(batch, heads, tokens, head_dim)` each."""
        query, keys, values = (
            self.inward(x).unflatten(-1, (3, self.heads, -1)).transpose(1, 3).unbind(2)
        )
        return query, keys, values

    def _ready(
        self, query: Tensor, keys: Tensor, rotation: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Norm queries and keys, and turn them."""
        if self.query_norm is not None and self.key_norm is not None:
            dtype = query.dtype
            query, keys = self.query_norm(query).to(dtype), self.key_norm(keys).to(dtype)
        if rotation is not None:
            query, keys = rotate(query, rotation), rotate(keys, rotation)
        return query, keys

    def _check(
        self,
        x: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        *,
        masked: bool,
        causal: bool,
        turned: bool,
    ) -> None:
        who = "Attention"
        check_axes(who, "x", x, "batch tokens dim")
        check_size(who, "x", x, 2, self.outward.in_features)
        if causal and masked:
            raise ValueError(f"{who}: causal must be False beside allowed or bias; got both")
        if key is None:
            if value is not None:
                raise ValueError(f"{who}: key must be given beside value; got None")
            return
        if causal or turned:
            raise ValueError(f"{who}: key must be None with causal or rotation; got a tensor")
        check_axes(who, "key", key, "batch tokens dim")
        check_size(who, "key", key, 0, x.shape[0])
        check_size(who, "key", key, 2, self.outward.in_features)
        if value is not None:
            check_same_shape(who, "key and value", key, value)
