"""Pseudo-labels: a teacher labels series without labels; sure ones are kept, classes balanced."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_ratio
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["PseudoLabels", "pseudo_labels"]


class PseudoLabels(NamedTuple):
    """What a teacher says of series.

    Attributes:
        probabilities: The soft labels, `(batch, classes)`.
        labels: The hard ones, `(batch,)`.
        confidence: The probability of the hard label, `(batch,)`.
        keep: True for the series to learn from, `(batch,)`.
        weights: `(batch,)`, 0 where not kept; on the kept ones their mean is 1 and their sums over
            the classes that occur are equal.
    """

    probabilities: Tensor
    labels: Tensor
    confidence: Tensor
    keep: Tensor
    weights: Tensor


@torch.no_grad()
def pseudo_labels(
    logits: Tensor, *, threshold: float = 0.3, per_class: int | None = None
) -> PseudoLabels:
    r"""Turn a teacher's logits into labels, soft and hard, and choose the series to keep.

    A series is kept if the probability of its most probable class exceeds `threshold`, and, with
    `per_class`, if it is among the `per_class` most probable ones of that class (the count is
    exact; of ties the first are kept). The teacher sees the series as they are, the student
    augmented ones. Give it the whole unlabelled set, so that balancing sees it all.

    Noisy Student also repeats series of rare classes until every class has `per_class`. Here
    `weights` do the same in expectation and without copies: weigh each series' loss by it, or draw
    batches by it.

    Args:
        logits: The teacher's logits, `(batch, classes)`; of several teachers, the logarithm of
            their mean probability.
        threshold: In [0, 1]. The paper drops images of confidence below 0.3.
        per_class: The most series to keep of a class, 1 or more; all by default. The paper keeps
            130 thousand.

    Returns:
        `PseudoLabels`, without a gradient; floats are float32 or better.

    Raises:
        ValueError: If the logits are not floating point `(batch, classes)`, or are empty, or an
            option is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import pseudo_labels
        >>> teacher = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.5, 0.5]]).log()
        >>> found = pseudo_labels(teacher, threshold=0.6)
        >>> found.labels, found.keep
        (tensor([0, 0, 1, 0]), tensor([ True,  True,  True, False]))
        >>> found.weights  # two of one class weigh as much as one of the other
        tensor([0.7500, 0.7500, 1.5000, 0.0000])

    References:
        Xie et al., *Self-training with noisy student improves ImageNet classification*, 2020,
        <https://arxiv.org/abs/1911.04252>, algorithm 1 and section 3.1.
    """
    who = "pseudo_labels"
    check_axes(who, "logits", logits, "batch classes")
    check_floating(who, "logits", logits)
    check_at_least(who, "logits.numel()", logits.numel(), 1)
    check_ratio(who, "threshold", threshold)
    if per_class is not None:
        check_at_least(who, "per_class", per_class, 1)
    with full_precision(logits):
        probabilities = upcast(logits).softmax(dim=1)
    confidence, labels = probabilities.max(dim=1)
    keep = confidence > threshold
    if per_class is not None:
        keep &= _rank_in_class(confidence, labels, keep) < per_class
    sizes = torch.zeros_like(probabilities[0]).index_add_(0, labels, keep.to(probabilities.dtype))
    share = sizes.sum() / (sizes > 0).sum().clamp(min=1)
    weights = torch.where(keep, share / sizes[labels].clamp(min=1), 0.0)
    return PseudoLabels(probabilities, labels, confidence, keep, weights)


def _rank_in_class(confidence: Tensor, labels: Tensor, among: Tensor) -> Tensor:
    """Number the series of each class from the most confident, 0, on; those not `among` last."""
    order = torch.where(among, -confidence, 1.0).argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]  # by class, then by confidence
    places = torch.arange(len(labels), device=labels.device)
    first = torch.searchsorted(labels[order], labels[order])
    return torch.empty_like(order).scatter_(0, order, places - first)
