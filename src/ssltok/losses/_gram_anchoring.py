"""Gram anchoring (DINOv3): tokens keep the similarities that an earlier or other model had."""

from torch import Tensor, nn

from ssltok._shared.numerics import full_precision
from ssltok.losses._products_fast import unit_rows
from ssltok.losses._token_pairs import check_token_pair, mean_over_pairs, real_pair

__all__ = ["GramAnchoringLoss", "gram_anchoring_loss"]


def gram_anchoring_loss(
    tokens: Tensor, anchor: Tensor, valid: Tensor | None = None, *, clip_negative: bool = False
) -> Tensor:
    r"""Keep the similarities of the tokens of a series, not the tokens themselves.

    $$\frac{1}{B T^2} \sum_b \bigl\lVert X_b X_b^\top - Y_b Y_b^\top \bigr\rVert_F^2$$

    on tokens of norm 1. $Y$ is a teacher of an earlier step, or any other encoder: its width is
    its own, for only similarities are compared. The anchor is detached. DINOv3 adds it late in
    training with a weight of 2, against tokens that lose their place; its number has no
    $1 / (B T^2)$ in the paper.

    Args:
        tokens: $X$, `(..., tokens, dim)`, of any length. Of features `(batch, dim)`, a vector a
            series, the similarities are those of series.
        anchor: $Y$, `(..., tokens, other_dim)`; detached.
        valid: Which tokens are real, `(..., tokens)`, boolean; all if None. Pairs of those count.
            What stands elsewhere is not read, and may be NaN.
        clip_negative: Whether a negative similarity counts as 0, on both sides.

    Returns:
        The loss, a scalar in [0, 4]; 0 if no token is real.

    Raises:
        ValueError: If shapes or dtypes do not fit, or are empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import gram_anchoring_loss
        >>> z = torch.eye(2)[None]
        >>> gram_anchoring_loss(z, z.flip(2))  # turned: the same similarities
        tensor(0.)
        >>> gram_anchoring_loss(z, torch.ones(1, 2, 3))  # 1 in place of 0, two of four pairs
        tensor(0.5000)

    References:
        Siméoni et al., *DINOv3*, 2025, <https://arxiv.org/abs/2508.10104>, equation 2.
    """
    check_token_pair(
        "gram_anchoring_loss", ("tokens", "anchor"), tokens, anchor, valid, one_dim=False
    )
    with full_precision(tokens):
        similarities = [unit_rows(part) for part in real_pair(tokens, anchor, valid)]
        x, y = (part @ part.mT for part in similarities)
        if clip_negative:
            x, y = x.relu(), y.relu()
        return mean_over_pairs((x - y).square(), valid)


class GramAnchoringLoss(nn.Module):
    """`gram_anchoring_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, clip_negative: bool = False) -> None:
        super().__init__()
        self.clip_negative = clip_negative

    def forward(self, tokens: Tensor, anchor: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the loss of tokens and an anchor of the same tokens, `(..., tokens, dim)`."""
        return gram_anchoring_loss(tokens, anchor, valid, clip_negative=self.clip_negative)
