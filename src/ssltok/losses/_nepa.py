"""NEPA: each prediction points where the next embedding points."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_bool_mask, check_floating
from ssltok._shared.numerics import full_precision, upcast_pair
from ssltok.losses._regression_error import mean_over_tokens
from ssltok.losses._token_pairs import cosines

__all__ = ["NEPALoss", "check_sequences", "nepa_loss", "next_valid"]


def nepa_loss(pred: Tensor, embeddings: Tensor, valid: Tensor | None = None) -> Tensor:
    r"""Average the negative cosine of each prediction and the embedding one place on.

    $$-\frac{1}{B (T - 1)} \sum_b \sum_{t < T} \cos\bigl(p_{bt},\ \mathrm{sg}(e_{b, t + 1})\bigr)$$

    The predictions must be causal: $p_t$ may see the embeddings up to $e_t$ and no more. The
    embeddings are detached; the network learns through its inputs.

    Args:
        pred: Predictions, `(batch, tokens, dim)`; the last of each sequence is not read.
        embeddings: What goes into the network, of the same shape; the first is no target.
        valid: Which tokens are real, `(batch, tokens)`, boolean; all if None. A pair counts where
            both of it are. What stands elsewhere is not read, and may be NaN.

    Returns:
        The loss, a scalar in [-1, 1]; 0 if no pair counts.

    Raises:
        ValueError: If shapes or dtypes do not fit, or there are fewer than two tokens.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import nepa_loss
        >>> steps = torch.eye(3)[None]
        >>> nepa_loss(steps.roll(-1, 1), steps)  # each names the next
        tensor(-1.)

    References:
        Xu et al., *Next-Embedding Prediction Makes Strong Vision Learners*, 2025,
        <https://arxiv.org/abs/2512.16922>; the form is that of stable-pretraining.
    """
    check_sequences("nepa_loss", pred, embeddings, valid)
    with full_precision(pred):
        ahead, following = upcast_pair(pred[:, :-1], embeddings[:, 1:].detach())
        if valid is None:
            return -cosines(ahead, following).mean()
        counted = next_valid(valid)
        ahead, following = (torch.where(counted.unsqueeze(-1), x, 0) for x in (ahead, following))
        return -mean_over_tokens(cosines(ahead, following), counted)


def next_valid(valid: Tensor) -> Tensor:
    """Return where a token and the next are both real, `(batch, tokens - 1)`."""
    return valid[:, 1:] & valid[:, :-1]


def check_sequences(who: str, pred: Tensor, embeddings: Tensor, valid: Tensor | None) -> None:
    """Ask for two sequences of one shape, two tokens long at least."""
    for name, tensor in (("pred", pred), ("embeddings", embeddings)):
        check_floating(who, name, tensor)
        check_axes(who, name, tensor, "batch tokens dim")
    if pred.shape != embeddings.shape:
        raise ValueError(
            f"{who}: pred and embeddings must share one shape; "
            f"got {tuple(pred.shape)} and {tuple(embeddings.shape)}"
        )
    check_at_least(who, "tokens", pred.shape[1], 2)
    check_at_least(who, "pred.numel()", pred.numel(), 1)
    if valid is not None:
        check_bool_mask(who, "valid", valid, pred.shape[:2])


class NEPALoss(nn.Module):
    """`nepa_loss` as a module."""

    def forward(self, pred: Tensor, embeddings: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the loss of predictions and embeddings, `(batch, tokens, dim)` each."""
        return nepa_loss(pred, embeddings, valid)
