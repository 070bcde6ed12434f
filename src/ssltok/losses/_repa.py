"""REPA: a hidden layer of a generator points where the features of a frozen encoder point."""

from torch import Tensor, nn

from ssltok._shared.numerics import full_precision
from ssltok.losses._regression_error import mean_over_tokens
from ssltok.losses._token_pairs import check_token_pair, cosines, real_pair

__all__ = ["REPALoss", "repa_loss"]


def repa_loss(projected: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    r"""Average the negative cosine of projected hidden states and features.

    $$-\frac{1}{B T} \sum_{b,i} \cos\bigl(h_\phi(s_{bi}),\ f_{bi}\bigr)$$

    The hidden states $s$ are those of a layer of the generator, here of the prior: a forward hook
    on `trunk.layers[number]` of a `TokenTransformer` gets `(tokens, mlp)`, the tokens behind the
    class token and the registers; `hidden_states(...)` of a `Transformer` returns all layers. The
    projection $h_\phi$ is a small network that is trained with it and thrown away after. The paper
    adds the loss with a weight of 0.5, at layer 8 of 28. The target is detached.

    Without `valid` it is `negative_cosine_loss`.

    Args:
        projected: $h_\phi(s)$, `(..., tokens, dim)`.
        target: $f$, of the same shape; detached.
        valid: Which tokens are real, `(..., tokens)`, boolean; all if None. What stands elsewhere
            is not read, and may be NaN.

    Returns:
        The loss, a scalar in [-1, 1]; 0 if no token is real.

    Raises:
        ValueError: If shapes or dtypes do not fit, or are empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import repa_loss
        >>> z = torch.eye(2)[None]
        >>> repa_loss(z, torch.stack([5 * z[:, 0], -z[:, 1]], dim=1), torch.tensor([[True, False]]))
        tensor(-1.)

    References:
        Yu et al., *Representation Alignment for Generation*, 2024,
        <https://arxiv.org/abs/2410.06940>, equation 3.
    """
    check_token_pair("repa_loss", ("projected", "target"), projected, target, valid)
    with full_precision(projected):
        along = cosines(*real_pair(projected, target, valid))
        return -(along.mean() if valid is None else mean_over_tokens(along, valid))


class REPALoss(nn.Module):
    """`repa_loss` as a module."""

    def forward(self, projected: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the loss of projections and a target, `(..., tokens, dim)` each."""
        return repa_loss(projected, target, valid)
