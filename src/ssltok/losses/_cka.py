"""CKA: two representations of the same rows have the same similarities, however turned."""

from torch import Tensor, nn

from ssltok._shared.alignment import linear_cka
from ssltok._shared.numerics import full_precision
from ssltok.losses._token_pairs import check_token_pair, real_pair

__all__ = ["CKALoss", "cka_loss"]


def cka_loss(tokens: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    r"""Raise the centred kernel alignment with another representation, of any width.

    $$1 - \frac{\lVert X^\top Y \rVert_F^2}{\lVert X^\top X \rVert_F \lVert Y^\top Y \rVert_F}$$

    with linear kernels, and with all real tokens of the batch as the rows of $X$ and $Y$, less
    their means. No projection is needed: neither a rotation nor one scale of all features is
    seen. The target is detached. Where one side is constant the loss is 1 and has no slope.

    Over several processes, give it `gather(z)` of each argument.

    Args:
        tokens: $X$, `(..., dim)`: tokens `(batch, tokens, dim)`, or a vector a series.
        target: $Y$, `(..., other_dim)`, of the same rows; detached.
        valid: Which rows are real, `(...)`, boolean; all if None. What stands elsewhere is not
            read, and may be NaN.

    Returns:
        The loss, a scalar in [0, 1], in float32 (float64 for float64 inputs).

    Raises:
        ValueError: If shapes or dtypes do not fit, or are empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import cka_loss
        >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> round(cka_loss(z, 3 * z.flip(1) + 7).item(), 4)  # turned, stretched, moved
        0.0
        >>> round(cka_loss(z[:, :1], z[:, 1:]).item(), 4)  # not correlated
        1.0

    References:
        Kornblith et al., *Similarity of Neural Network Representations Revisited*, 2019,
        <https://arxiv.org/abs/1905.00414>, section 3.
    """
    check_token_pair("cka_loss", ("tokens", "target"), tokens, target, valid, one_dim=False)
    with full_precision(tokens):
        x, y = (part.flatten(0, -2) for part in real_pair(tokens, target, valid))
        return 1 - linear_cka(x, y, None if valid is None else valid.flatten())


class CKALoss(nn.Module):
    """`cka_loss` as a module."""

    def forward(self, tokens: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the loss of tokens and a target of the same rows, `(..., dim)` each."""
        return cka_loss(tokens, target, valid)
