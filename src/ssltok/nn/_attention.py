"""Multi-head self-attention over tokens."""

from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least, check_axes, check_size
from ssltok.nn._rotary import rotate

__all__ = ["Attention"]


class Attention(nn.Module):
    r"""Let every token read from the tokens that it may see.

    $$\mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{\mathrm{dim} / \mathrm{heads}}}\right) V$$

    for each head, then a linear map. The products have no bias. `scaled_dot_product_attention`
    computes it without holding the whole matrix of weights where the machine has such a kernel.

    Args:
        dim: Features of a token.
        heads: Heads; they divide `dim`.

    Raises:
        ValueError: If `heads` does not divide `dim`, or the input is not `(batch, tokens, dim)`,
            or `causal` is set beside `allowed`.

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
        equation 1.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        check_at_least("Attention", "dim", dim, 1)
        check_at_least("Attention", "heads", heads, 1)
        if dim % heads:
            raise ValueError(f"Attention: heads must divide dim; got {heads} and {dim}")
        self.heads = heads
        self.inward = nn.Linear(dim, 3 * dim, bias=False)
        self.outward = nn.Linear(dim, dim, bias=False)

    def forward(
        self,
        x: Tensor,
        *,
        allowed: Tensor | None = None,
        causal: bool = False,
        rotation: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Mix the tokens of `x`, `(batch, tokens, dim)`; the shape stays.

        Args:
            x: The tokens.
            allowed: Boolean, broadcast to `(batch, heads, tokens, tokens)`: True where the token
                of the third axis may read the one of the fourth.
            causal: Whether a token reads only itself and those before it.
            rotation: Cosines and sines of `RotaryPositions`.
        """
        check_axes("Attention", "x", x, "batch tokens dim")
        check_size("Attention", "x", x, 2, self.outward.in_features)
        if causal and allowed is not None:
            raise ValueError("Attention: causal must be False beside allowed; got both")
        split = self.inward(x).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)
        query, key, value = split.unbind(2)  # (batch, heads, tokens, head_dim)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=allowed, is_causal=causal
        )
        out: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return out
