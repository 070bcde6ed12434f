"""Inception score: confident on each series, varied over the set, by a classifier's word."""

import math

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_floating

__all__ = ["inception_score"]


def inception_score(
    logits: Tensor, *, splits: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    r"""Measure how confident a classifier is on each series and how varied over all of them.

    $$\exp\Bigl( \tfrac1n \sum_x \mathrm{KL}\bigl( p(y \mid x) \,\|\, p(y) \bigr) \Bigr),
      \qquad p(y) = \tfrac1n \sum_x p(y \mid x)$$

    1 when every series gets the same answer, `classes` when answers are certain and balanced.
    It never sees a real series: higher than the real set is not better, and a generator with one
    perfect series for each class has the best score.

    Every case is used: the splits differ in size by at most one (the published code drops the
    remainder, shuffles its input in place, and adds 1e-16 to the probabilities).

    Args:
        logits: Unnormalised log-probabilities of a classifier, `(cases, classes)`.
        splits: Parts that are scored apart; the field reports 10 and their mean and spread.
        generator: Draws the parts; not used for one split.

    Returns:
        One score for each split, `(splits,)` float64, each in `[1, classes]`; NaN if it holds a
        logit that is NaN.

    Raises:
        ValueError: If `logits` is not `(cases, classes)`, or has fewer cases than splits.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import inception_score
        >>> sure = 1e3 * torch.eye(4)  # four series, four classes, no doubt
        >>> inception_score(sure)
        tensor([4.], dtype=torch.float64)

    References:
        Salimans et al., *Improved techniques for training GANs*, 2016,
        <https://arxiv.org/abs/1606.03498>, section 4.
    """
    who = "inception_score"
    check_floating(who, "logits", logits)
    check_axes(who, "logits", logits, "cases classes")
    check_at_least(who, "classes", logits.shape[1], 1)
    check_at_least(who, "splits", splits, 1)
    check_at_least(who, "cases", logits.shape[0], splits)
    log_p = logits.detach().double().log_softmax(1)
    if splits > 1:
        device = log_p.device if generator is None else generator.device
        order = torch.randperm(len(log_p), generator=generator, device=device)
        log_p = log_p[order.to(log_p.device)]
    return torch.stack([_score(part) for part in log_p.tensor_split(splits)])


def _score(log_p: Tensor) -> Tensor:
    log_marginal = log_p.logsumexp(0) - math.log(len(log_p))
    p = log_p.exp()
    gain = torch.where(p != 0, p * (log_p - log_marginal), 0.0)
    return gain.sum(1).mean().exp()
