"""Cosine regression: a prediction should point where its target points (BYOL, SimSiam)."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_floating, check_same_shape
from ssltok._shared.numerics import directed, full_precision, upcast_pair

__all__ = [
    "CosineRegressionLoss",
    "NegativeCosineLoss",
    "cosine_regression_loss",
    "negative_cosine_loss",
]


def cosine_regression_loss(pred: Tensor, target: Tensor) -> Tensor:
    r"""Measure the squared distance of a prediction and its target on the unit sphere (BYOL).

    $$\Bigl\lVert \tfrac{p}{\lVert p \rVert} - \tfrac{t}{\lVert t \rVert} \Bigr\rVert^2
      = 2 - 2 \cos(p, t)$$

    averaged over all vectors. The target is detached. This is one direction; BYOL adds both:
    `cosine_regression_loss(pred_a, target_b) + cosine_regression_loss(pred_b, target_a)`.

    Args:
        pred: Predictions, `(batch, ..., dim)`.
        target: Targets, of the same shape.

    Returns:
        The loss, a scalar in [0, 4].

    Raises:
        ValueError: If the shapes differ, are not `(batch, ..., dim)`, or are empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import cosine_regression_loss
        >>> cosine_regression_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 5.0]]))
        tensor(2.)

    References:
        Grill et al., *BYOL*, 2020, <https://arxiv.org/abs/2006.07733>, equation 2.
    """
    return torch.rsub(_mean_cosine("cosine_regression_loss", pred, target), 2, alpha=2)


def negative_cosine_loss(pred: Tensor, target: Tensor) -> Tensor:
    r"""Measure how far a prediction is from pointing where its target points (SimSiam).

    $$-\cos(p, t) = -\frac{p^\top t}{\lVert p \rVert \, \lVert t \rVert}$$

    averaged over all vectors. The target is detached. This is one direction; SimSiam takes half
    of the sum of both. Half of `cosine_regression_loss` less 1: the same optimum, half its slope.

    Args:
        pred: Predictions, `(batch, ..., dim)`.
        target: Targets, of the same shape.

    Returns:
        The loss, a scalar in [-1, 1].

    Raises:
        ValueError: If the shapes differ, are not `(batch, ..., dim)`, or are empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import negative_cosine_loss
        >>> negative_cosine_loss(torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0]]))
        tensor(-1.)

    References:
        Chen and He, *SimSiam*, 2021, <https://arxiv.org/abs/2011.10566>, equation 1.
    """
    return -_mean_cosine("negative_cosine_loss", pred, target)


def _mean_cosine(who: str, pred: Tensor, target: Tensor) -> Tensor:
    check_floating(who, "pred", pred)
    check_floating(who, "target", target)
    check_same_shape(who, "pred and target", pred, target)
    check_at_least(who, "pred.ndim", pred.ndim, 2)
    check_at_least(who, "pred.numel()", pred.numel(), 1)
    with full_precision(pred):
        pred, target = upcast_pair(pred, target.detach())
        (p, p_length), (t, t_length) = directed(pred), directed(target)
        dot: Tensor = torch.linalg.vecdot(p, t)
        cosine: Tensor = dot / (p_length * t_length).squeeze(-1)
        return cosine.mean()


class CosineRegressionLoss(nn.Module):
    """`cosine_regression_loss` as a module."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss of predictions and targets, `(batch, ..., dim)` each."""
        return cosine_regression_loss(pred, target)


class NegativeCosineLoss(nn.Module):
    """`negative_cosine_loss` as a module."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss of predictions and targets, `(batch, ..., dim)` each."""
        return negative_cosine_loss(pred, target)
